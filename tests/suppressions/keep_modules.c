/* keep_modules.c — for the leak checker: modules that MPI opens stay loaded until the end.
 *
 * What a module leaked would otherwise be reported after it is gone, without its name, and could
 * not be told from a leak of our own (tests/suppressions/lsan.txt names libraries only).
 */
int dlclose(void *module);

int dlclose(void *module)
{
    (void)module;
    return 0;
}

/* cmocka_all.h — cmocka with the headers that it wants included before it. */
#ifndef BN_TESTS_COMMON_CMOCKA_ALL_H
#define BN_TESTS_COMMON_CMOCKA_ALL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define BN_COUNT(array) (sizeof(array) / sizeof(array)[0])

#endif

# The verbs that folders use; each list of sources is explicit.

add_library(bn_flags INTERFACE)
target_include_directories(bn_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_definitions(bn_flags INTERFACE _GNU_SOURCE)
target_compile_options(bn_flags INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla
  -ffp-contract=off -fno-math-errno)
if(BN_WERROR)
  target_compile_options(bn_flags INTERFACE -Werror)
endif()
if(BN_SANITIZE)
  # What a sanitizer adds makes gcc warn of conversions that the plain builds do not have; so the
  # sanitizer presets (and -O0, where intrinsics are macros) leave -Werror to the plain ones.
  target_compile_options(bn_flags INTERFACE -Wno-conversion -Wno-sign-conversion)
  target_compile_options(bn_flags INTERFACE -fsanitize=${BN_SANITIZE} -fno-sanitize-recover=all
    -fno-omit-frame-pointer)
  target_link_options(bn_flags INTERFACE -fsanitize=${BN_SANITIZE})
endif()

# bn_keep_modules(NAME): the leak checker can name what foreign modules have lost.
function(bn_keep_modules name)
  if(BN_SANITIZE MATCHES address)
    target_sources(${name} PRIVATE ${BN_KEEP_MODULES})
  endif()
endfunction()

# bn_library(NAME SOURCES a.c b.c LINKS other libraries)
function(bn_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC bn_flags ${ARG_LINKS})
endfunction()

# bn_program(NAME SOURCES main.c LINKS libraries): an installed executable
function(bn_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE bn_flags ${ARG_LINKS})
  bn_keep_modules(${name})
  install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endfunction()

# bn_isa_sources(FLAGS "-mavx2 -mfma" FILES a.c): nothing else gets -m flags
function(bn_isa_sources)
  cmake_parse_arguments(ARG "" "FLAGS" "FILES" ${ARGN})
  separate_arguments(flags UNIX_COMMAND "${ARG_FLAGS}")
  set_source_files_properties(${ARG_FILES} PROPERTIES COMPILE_OPTIONS "${flags}")
endfunction()

# What every test gets. Its folder below tests/ is a label of its own: the suite. Others: serial
# (alone on the machine), mpi, bench, long (not in the sanitizer stages of an ordinary run).
function(bn_test_properties name timeout labels)
  if(NOT timeout)
    set(timeout 120)
  endif()
  get_filename_component(suite ${CMAKE_CURRENT_SOURCE_DIR} NAME)
  list(APPEND labels ${suite})
  list(REMOVE_DUPLICATES labels)
  set(is_serial OFF)
  if("serial" IN_LIST labels OR "bench" IN_LIST labels)
    set(is_serial ON)
  endif()
  set(suppressions ${CMAKE_SOURCE_DIR}/tests/suppressions)
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT ${timeout}
    RUN_SERIAL ${is_serial} LABELS "${labels}" ENVIRONMENT
    "BN_SOURCE_DIR=${CMAKE_SOURCE_DIR};BN_BIN_DIR=${CMAKE_BINARY_DIR}/bin;BN_ALLOC_GUARD=1;\
BN_SANITIZE=${BN_SANITIZE};ASAN_OPTIONS=fast_unwind_on_malloc=0;\
LSAN_OPTIONS=suppressions=${suppressions}/lsan.txt:print_suppressions=0;\
TSAN_OPTIONS=suppressions=${suppressions}/tsan.txt")
endfunction()

# bn_test(NAME SOURCES a_test.c LINKS libraries [ARGS …] [TIMEOUT s] [LABELS x y]): a cmocka program
# run by ctest; exit code 77 is a skip.
function(bn_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LINKS;ARGS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE bn_flags ${ARG_LINKS} bn_cmocka)
  bn_keep_modules(${name})
  # bin/ holds what people run, and nothing else.
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/bin)
  add_test(NAME ${name} COMMAND ${name} ${ARG_ARGS})
  bn_test_properties(${name} "${ARG_TIMEOUT}" "${ARG_LABELS}")
endfunction()

# bn_script_test(NAME COMMAND python3 script.py … [TIMEOUT s] [LABELS x y]): the same for a script.
function(bn_script_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "COMMAND;LABELS" ${ARGN})
  add_test(NAME ${name} COMMAND ${ARG_COMMAND})
  bn_test_properties(${name} "${ARG_TIMEOUT}" "${ARG_LABELS}")
endfunction()

# Every foreign library, found once, named bn_<library>; deploy/install-deps.sh lists the packages.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

# bn_find(TARGET pkg-config-module): through pkg-config, so a prefix outside /usr works with
# PKG_CONFIG_PATH or CMAKE_PREFIX_PATH.
function(bn_find target module)
  pkg_check_modules(${target}_pc REQUIRED IMPORTED_TARGET ${module})
  add_library(${target} INTERFACE)
  target_link_libraries(${target} INTERFACE PkgConfig::${target}_pc)
endfunction()

bn_find(bn_zmq libzmq)
bn_find(bn_protobuf_c libprotobuf-c)
bn_find(bn_jansson jansson)
bn_find(bn_xxhash libxxhash)
bn_find(bn_utf8proc libutf8proc)
bn_find(bn_edit libedit)
find_program(BN_PROTOC_C protoc-c REQUIRED)
if(BN_TESTS)
  bn_find(bn_cmocka cmocka)
endif()

set(BN_HAVE_MPI OFF)
if(NOT BN_MPI STREQUAL "OFF")
  if(BN_MPI STREQUAL "ON")
    find_package(MPI REQUIRED COMPONENTS C)
  else()
    find_package(MPI COMPONENTS C)
  endif()
  if(MPI_C_FOUND)
    set(BN_HAVE_MPI ON)
  endif()
endif()

# Every foreign library, found once, named bn_<library>; deploy/install-deps.sh lists the packages.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

# bn_find(TARGET pkg-config-module): through pkg-config, so a prefix outside /usr works with
# PKG_CONFIG_PATH or CMAKE_PREFIX_PATH.
function(bn_find target module)
  pkg_check_modules(${target}_pc QUIET IMPORTED_TARGET ${module})
  if(NOT ${target}_pc_FOUND)
    message(FATAL_ERROR "${module} is missing: ./deploy/install-deps.sh --check names its package; "
      "for a prefix of your own set CMAKE_PREFIX_PATH or PKG_CONFIG_PATH.")
  endif()
  add_library(${target} INTERFACE)
  target_link_libraries(${target} INTERFACE PkgConfig::${target}_pc)
endfunction()

bn_find(bn_zmq libzmq)
bn_find(bn_protobuf_c libprotobuf-c)
bn_find(bn_jansson jansson)
bn_find(bn_xxhash libxxhash)
bn_find(bn_utf8proc libutf8proc)
bn_find(bn_edit libedit)
find_program(BN_PROTOC_C protoc-c)
if(NOT BN_PROTOC_C)
  message(FATAL_ERROR "protoc-c is missing: ./deploy/install-deps.sh --check names its package.")
endif()
if(BN_TESTS)
  bn_find(bn_cmocka cmocka)
endif()

set(BN_HAVE_MPI OFF)
if(NOT BN_MPI MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "BN_MPI must be AUTO, ON or OFF, not '${BN_MPI}'.")
endif()
if(NOT BN_MPI STREQUAL "OFF")
  find_package(MPI QUIET COMPONENTS C)
  if(MPI_C_FOUND)
    set(BN_HAVE_MPI ON)
  elseif(BN_MPI STREQUAL "ON")
    message(FATAL_ERROR "No MPI was found: ./deploy/install-deps.sh --check names its package, "
      "and -DBN_MPI=OFF builds without.")
  endif()
endif()
message(STATUS "MPI links: ${BN_HAVE_MPI} (BN_MPI=${BN_MPI})")

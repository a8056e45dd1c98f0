# What every part of the tree is built with: options, warnings, and the three functions
# mobo_library, mobo_plugin and mobo_test.

set(MOBO_TESTS AUTO CACHE STRING "build the tests: ON, OFF, or AUTO: if cmocka is installed")
set(MOBO_SANITIZE "" CACHE STRING "sanitizers for all code, such as address,undefined")
set(MOBO_PARTS
    lib/virtqueue lib/aml
    accel-soft
    bus-isa bus-mmio
    dev-pc dev-virtio
    block-file char-stdio char-file char-socket
    boot-linux fw-acpi
    CACHE STRING "the folders below plugins/ to build; accel-kvm is not among them yet (its README)")

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# The tree runs in place: bin/mobo finds lib/mobo/*.so and share/mobo beside itself.
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(MOBO_PLUGIN_OUTPUT ${CMAKE_BINARY_DIR}/lib/mobo)
# Installed, the plugins lie in a private folder named after the ABI's major version.
set(MOBO_PLUGIN_DIR ${CMAKE_INSTALL_LIBDIR}/mobo/1)
set(MOBO_DATA_DIR ${CMAKE_INSTALL_DATADIR}/mobo)

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
if(MOBO_TESTS STREQUAL AUTO)
  find_path(MOBO_CMOCKA cmocka.h)
  if(NOT MOBO_CMOCKA)
    message(STATUS "cmocka is not installed: the tests are not built")
    set(MOBO_TESTS OFF)
  endif()
endif()

add_library(mobo_options INTERFACE)
target_compile_options(mobo_options INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror
    -fno-strict-aliasing -fstack-protector-strong)
# Replies to the guest start as zeros even where an author forgot (clang 14 hides the flag).
include(CheckCCompilerFlag)
check_c_compiler_flag(-ftrivial-auto-var-init=zero MOBO_HAS_ZERO_INIT)
if(MOBO_HAS_ZERO_INIT)
  target_compile_options(mobo_options INTERFACE -ftrivial-auto-var-init=zero)
endif()
target_compile_definitions(mobo_options INTERFACE _GNU_SOURCE)
if(MOBO_SANITIZE)
  target_compile_options(mobo_options INTERFACE
      -fsanitize=${MOBO_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(mobo_options INTERFACE -fsanitize=${MOBO_SANITIZE})
  if(MOBO_SANITIZE STREQUAL thread AND CMAKE_C_COMPILER_ID STREQUAL GNU)
    # Fences order accesses against the guest, which the sanitizer does not see anyway.
    target_compile_options(mobo_options INTERFACE -Wno-tsan)
  endif()
else()
  target_compile_options(mobo_options INTERFACE $<$<CONFIG:Release>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2>)
endif()

# Conversions are errors in core/ and plugin-api/ and wherever guest data is parsed.
add_library(mobo_strict INTERFACE)
target_compile_options(mobo_strict INTERFACE -Wconversion)
target_link_libraries(mobo_strict INTERFACE mobo_options)

# mobo_library(NAME SOURCES... [LIBS ...]): a small static library linked into several plugins.
function(mobo_library name)
  cmake_parse_arguments(arg "" "" "LIBS" ${ARGN})
  add_library(${name} STATIC ${arg_UNPARSED_ARGUMENTS})
  target_include_directories(${name} PUBLIC ${CMAKE_CURRENT_SOURCE_DIR}/..)
  target_link_libraries(${name} PUBLIC mobo-plugin-api PRIVATE mobo_options ${arg_LIBS})
endfunction()

# mobo_plugin(NAME SOURCES... [LIBS ...]): lib/mobo/NAME.so, one exported symbol, no lazy binding.
function(mobo_plugin name)
  cmake_parse_arguments(arg "" "" "LIBS" ${ARGN})
  add_library(${name} MODULE ${arg_UNPARSED_ARGUMENTS})
  set_target_properties(${name} PROPERTIES PREFIX "" SUFFIX ".so"
      LIBRARY_OUTPUT_DIRECTORY ${MOBO_PLUGIN_OUTPUT})
  target_link_libraries(${name} PRIVATE mobo-plugin-api mobo_options ${arg_LIBS})
  target_link_options(${name} PRIVATE -Wl,-z,now -Wl,-z,relro
      -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/plugin.map)
  if(NOT MOBO_SANITIZE)
    target_link_options(${name} PRIVATE -Wl,-z,defs)
  endif()
  set_target_properties(${name} PROPERTIES LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/plugin.map)
  install(TARGETS ${name} LIBRARY DESTINATION ${MOBO_PLUGIN_DIR})
endfunction()

# mobo_test(NAME SOURCES... [LIBS ...] [LABELS ...] [ARGS ...] [TIMEOUT s]): a cmocka program.
function(mobo_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "LIBS;LABELS;ARGS" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 60)
  endif()
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${name} PRIVATE mobo_options cmocka ${arg_LIBS})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/plugin-api)
  add_test(NAME ${name} COMMAND ${name} ${arg_ARGS})
  set_tests_properties(${name} PROPERTIES LABELS "unit;${arg_LABELS}" TIMEOUT ${arg_TIMEOUT})
endfunction()

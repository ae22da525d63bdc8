# How every target of the project is built. Sources are listed by name: no globbing.

find_program(REPREFILL_CCACHE ccache)
if(REPREFILL_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${REPREFILL_CCACHE}")
endif()
if(REPREFILL_CCACHE AND NOT CMAKE_CUDA_COMPILER_LAUNCHER)
  set(CMAKE_CUDA_COMPILER_LAUNCHER "${REPREFILL_CCACHE}")
endif()

add_library(reprefill_options INTERFACE)
target_compile_features(reprefill_options INTERFACE cxx_std_20)
target_include_directories(reprefill_options INTERFACE "${PROJECT_SOURCE_DIR}")
# Results are byte-identical across machines: no fused multiply-add that the source does not ask for.
target_compile_options(reprefill_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wconversion;-Wno-sign-conversion;-ffp-contract=off>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${REPREFILL_WERROR}>>:-Werror>)
# What a program does not call stays out of it; so do symbols.
if(REPREFILL_CARRIED)
  target_link_options(reprefill_options INTERFACE LINKER:--gc-sections,--strip-all)
endif()

# reprefill_library(NAME SOURCES a.cpp ... DEPENDS other ...)
function(reprefill_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC reprefill_options ${ARG_DEPENDS})
endfunction()

# reprefill_test(NAME SOURCES a_test.cpp ... DEPENDS lib ... LABELS fast)
# One executable per folder of tests/; each TEST is registered with CTest under the given label (default: fast).
function(reprefill_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;LABELS" ${ARGN})
  if(NOT ARG_LABELS)
    set(ARG_LABELS fast)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE reprefill_options ${ARG_DEPENDS} GTest::gmock GTest::gtest_main)
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
    WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}" PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 300)
endfunction()

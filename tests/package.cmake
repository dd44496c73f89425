# The library as its users get it: found by find_package after an install, added as a subdirectory, fetched by FetchContent;
# and two translation units that both include everything link.
foreach(way IN ITEMS find_package add_subdirectory FetchContent)
  add_test(NAME package.${way}
           COMMAND ${CMAKE_COMMAND} "-DWAY=${way}" "-DSOURCE_DIR=${PROJECT_SOURCE_DIR}" "-DBINARY_DIR=${PROJECT_BINARY_DIR}"
                   "-DWORK_DIR=${CMAKE_CURRENT_BINARY_DIR}/consumer_${way}" "-DCOMPILER=${CMAKE_CXX_COMPILER}"
                   "-DGENERATOR=${CMAKE_GENERATOR}" "-DVERSION=${PROJECT_VERSION}"
                   -P "${CMAKE_CURRENT_SOURCE_DIR}/check_package.cmake")
  set_tests_properties(package.${way} PROPERTIES TIMEOUT 600)
endforeach()

add_executable(two_units two_units_a.cpp two_units_b.cpp)
target_link_libraries(two_units PRIVATE qwen3vl_test_options qwen3vl::processing)
target_compile_options(two_units PRIVATE -O1)
add_test(NAME two_units COMMAND two_units)

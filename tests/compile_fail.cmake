# Wrong code must not compile, and the compiler's first error must name the mistake: each tests/compile_fail/*.cpp has in its
# first line what that error matches. The file "control.cpp" must compile, so that a broken include path cannot make the others pass.
file(GLOB cases CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/compile_fail/*.cpp")
foreach(case IN LISTS cases)
  get_filename_component(name "${case}" NAME_WE)
  add_test(NAME compile_fail.${name}
           COMMAND ${CMAKE_COMMAND} "-DSOURCE=${case}" "-DCOMPILER=${CMAKE_CXX_COMPILER}"
                   "-DINCLUDES=${PROJECT_SOURCE_DIR}/include,$<JOIN:$<TARGET_PROPERTY:Eigen3::Eigen,INTERFACE_INCLUDE_DIRECTORIES>,$<COMMA>>"
                   -P "${CMAKE_CURRENT_SOURCE_DIR}/check_compile_fail.cmake")
endforeach()

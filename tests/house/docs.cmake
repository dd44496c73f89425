# The documentation is right: links, names of files and options, lengths; every snippet compiles; the README's program
# prints what the README says; the picture of the rooms is that of the table.
find_package(Python3 QUIET COMPONENTS Interpreter)
if(Python3_FOUND)
  set(check_docs "${CMAKE_CURRENT_LIST_DIR}/check_docs.py")
  add_test(NAME docs.text COMMAND Python3::Interpreter "${check_docs}" "${PROJECT_SOURCE_DIR}" text)
  add_test(NAME docs.snippets COMMAND Python3::Interpreter "${check_docs}" "${PROJECT_SOURCE_DIR}" snippets
           "${CMAKE_CURRENT_BINARY_DIR}/snippets" "${CMAKE_COMMAND}" "${CMAKE_GENERATOR}" "${CMAKE_CXX_COMPILER}"
           "$<TARGET_PROPERTY:qwen3vl_processing,INTERFACE_INCLUDE_DIRECTORIES>"
           "$<TARGET_PROPERTY:Eigen3::Eigen,INTERFACE_INCLUDE_DIRECTORIES>"
           "$<TARGET_PROPERTY:qwen3vl::stb,INTERFACE_INCLUDE_DIRECTORIES>" COMMAND_EXPAND_LISTS)
  set_tests_properties(docs.snippets PROPERTIES TIMEOUT 600)
  add_test(NAME docs.rooms_picture COMMAND Python3::Interpreter "${PROJECT_SOURCE_DIR}/docs/draw_rooms.py" --check)
endif()

# The first program of the README, over the model that quantisation_error has compiled anyway.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/README.md")
file(READ "${PROJECT_SOURCE_DIR}/README.md" readme)
if(NOT readme MATCHES "```cpp\n([^`]*)```\n```text\n([^`]*)\n```")
  message(FATAL_ERROR "README.md has no program that is followed by its output")
endif()
set(program "${CMAKE_MATCH_1}")
set(output "${CMAKE_MATCH_2}")
set(folder "${CMAKE_CURRENT_BINARY_DIR}/readme")
file(CONFIGURE OUTPUT "${folder}/readme.cpp" CONTENT "${program}" @ONLY)
file(CONFIGURE OUTPUT "${folder}/include/qwen3vl/variants/my-model.hpp" CONTENT [[
#include "qwen3vl/variants/rounded-tiny-shapes_model.hpp"
namespace qwen3vl::variants {
using MyModel = rounded_tiny_shapes;
}
]] @ONLY)
file(CREATE_LINK "${PROJECT_SOURCE_DIR}" "${folder}/qwen3vl" SYMBOLIC)
add_executable(readme_program "${folder}/readme.cpp")
target_include_directories(readme_program PRIVATE "${folder}/include")
target_compile_options(readme_program PRIVATE ${qwen3vl_quick_options})
target_link_libraries(readme_program PRIVATE qwen3vl_options qwen3vl::processing rounded-tiny-shapes_model)
add_test(NAME docs.readme_program COMMAND readme_program WORKING_DIRECTORY "${folder}")
set_tests_properties(docs.readme_program PROPERTIES PASS_REGULAR_EXPRESSION "^${output}\n$" TIMEOUT 300
                                                    ENVIRONMENT OMP_WAIT_POLICY=passive)

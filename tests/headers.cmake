# Every header compiles alone (and twice in one file), and layers pull in no JSON, tokenizer or image library.
file(GLOB_RECURSE headers RELATIVE "${PROJECT_SOURCE_DIR}/include" CONFIGURE_DEPENDS
     "${PROJECT_SOURCE_DIR}/include/qwen3vl/*.hpp")
if(NOT TARGET qwen3vl::video)
  list(FILTER headers EXCLUDE REGEX "^qwen3vl/io/video/libav_")
endif()
if(NOT TARGET qwen3vl::jpeg)
  list(FILTER headers EXCLUDE REGEX "^qwen3vl/io/image/turbojpeg_")
endif()
set(units "")
foreach(header IN LISTS headers)
  string(MAKE_C_IDENTIFIER "${header}" id)
  set(unit "${CMAKE_CURRENT_BINARY_DIR}/headers/${id}.cpp")
  file(CONFIGURE OUTPUT "${unit}" CONTENT "#include \"@header@\"\n#include \"@header@\"  // the guard works\n" @ONLY)
  list(APPEND units "${unit}")
endforeach()
add_library(headers_compile_alone OBJECT ${units})
target_link_libraries(headers_compile_alone PRIVATE qwen3vl_options qwen3vl::processing
                      $<TARGET_NAME_IF_EXISTS:qwen3vl::libav> $<TARGET_NAME_IF_EXISTS:qwen3vl::turbojpeg>)
# Unoptimised: only whether they compile is asked.
target_compile_options(headers_compile_alone PRIVATE -O0)

# With QWEN3VL_CLANG it is Clang that reads each of them, and two whole models: the tests compile everything with the
# build's own compiler anyway. Debian has one omp.h for all of its Clangs, in the folder of one of them (libomp-dev).
set(QWEN3VL_CLANG "" CACHE STRING "A Clang, such as clang++-16, that must understand every header and two whole models")
if(QWEN3VL_CLANG)
  set_target_properties(headers_compile_alone PROPERTIES EXCLUDE_FROM_ALL ON)
  set(flags -std=c++20 -fopenmp -fsyntax-only -Wall -Wextra -Werror)
  file(GLOB omp_headers /usr/lib/llvm-*/lib/clang/*/include/omp.h)
  foreach(header IN LISTS omp_headers)
    get_filename_component(folder "${header}" DIRECTORY)
    list(APPEND flags -idirafter "${folder}")
  endforeach()
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(APPEND flags -march=x86-64-v4 -mavx512vnni -mavx512bf16)
  endif()
  set(libraries "$<TARGET_PROPERTY:headers_compile_alone,INCLUDE_DIRECTORIES>")
  set(libraries "$<FILTER:$<REMOVE_DUPLICATES:${libraries}>,EXCLUDE,^/usr/include$|^${PROJECT_SOURCE_DIR}/include$>")
  set(stamps "")
  foreach(unit IN LISTS units ITEMS "${CMAKE_CURRENT_SOURCE_DIR}/compilers/whole_model.cpp")
    get_filename_component(id "${unit}" NAME_WE)
    set(stamp "${CMAKE_CURRENT_BINARY_DIR}/headers/${id}.read_by_clang")
    add_custom_command(OUTPUT "${stamp}" DEPENDS "${unit}" DEPFILE "${stamp}.d" COMMAND_EXPAND_LISTS VERBATIM
      COMMAND ${QWEN3VL_CLANG} ${flags} "-I${PROJECT_SOURCE_DIR}/include" "-isystem$<JOIN:${libraries},;-isystem>"
              -MD -MF "${stamp}.d" -MT "${stamp}" "${unit}"
      COMMAND ${CMAKE_COMMAND} -E touch "${stamp}"
      COMMENT "Clang reads ${id}")
    list(APPEND stamps "${stamp}")
  endforeach()
  add_custom_target(headers_read_by_clang ALL DEPENDS ${stamps})
endif()

# Which room may include which.
add_test(NAME rooms COMMAND ${CMAKE_COMMAND} "-DROOMS=${PROJECT_SOURCE_DIR}/docs/rooms.txt"
                            "-DINCLUDE_DIR=${PROJECT_SOURCE_DIR}/include" -P "${CMAKE_CURRENT_SOURCE_DIR}/check_rooms.cmake")

set(includes "-DINCLUDES=${PROJECT_SOURCE_DIR}/include,$<JOIN:$<TARGET_PROPERTY:Eigen3::Eigen,INTERFACE_INCLUDE_DIRECTORIES>,$<COMMA>>")
set(layer_headers ${headers})
list(FILTER layer_headers INCLUDE REGEX "^qwen3vl/(base|tensor|inputs|backend|layers|vision|text|model|generation)/|^qwen3vl/config/(config|released|runtime_config|generation_config)\\.hpp")
list(JOIN layer_headers "," layer_headers)
# Layers and models need no JSON, tokenizer or image library; text and pictures need neither OpenMP nor Eigen.
add_test(NAME layers_include_nothing_above
         COMMAND ${CMAKE_COMMAND} "-DHEADERS=${layer_headers}" "-DCOMPILER=${CMAKE_CXX_COMPILER}"
                 "${includes}" "-DFORBIDDEN=nlohmann|pcre2|utf8proc|stb_image|qwen3vl/(processing|io|json)/"
                 -P "${CMAKE_CURRENT_SOURCE_DIR}/check_includes.cmake")
set(text_headers ${headers})
list(FILTER text_headers INCLUDE REGEX "^qwen3vl/(json|inputs|config|processing|io)/")
list(FILTER text_headers EXCLUDE REGEX "/(libav|turbojpeg)_|/packed_file\\.hpp")  # packed weights are read in parallel
list(JOIN text_headers "," text_headers)
add_test(NAME processing_includes_no_backend
         COMMAND ${CMAKE_COMMAND} "-DHEADERS=${text_headers}" "-DCOMPILER=${CMAKE_CXX_COMPILER}"
                 "${includes}" "-DFORBIDDEN=/omp\\.h|Eigen/|qwen3vl/(backend|layers|vision|text|model|generation)/"
                 -P "${CMAKE_CURRENT_SOURCE_DIR}/check_includes.cmake")

# qwen3vl.hpp brings every header, directly or not, but the readers that need a library of their own.
set(all_headers ${headers})
list(FILTER all_headers EXCLUDE REGEX "^qwen3vl/io/(video/libav|image/turbojpeg)_")
list(JOIN all_headers "," all_headers)
add_test(NAME qwen3vl_hpp_brings_everything
         COMMAND ${CMAKE_COMMAND} "-DHEADERS=${all_headers}" "-DCOMPILER=${CMAKE_CXX_COMPILER}"
                 "${includes}"
                 -P "${CMAKE_CURRENT_SOURCE_DIR}/check_everything.cmake")

# The API reference has no warnings: comments that Doxygen cannot read are comments that say something else than was meant.
find_program(QWEN3VL_DOXYGEN doxygen)
if(QWEN3VL_DOXYGEN)
  add_test(NAME doxygen COMMAND ${CMAKE_COMMAND} "-DDOXYGEN=${QWEN3VL_DOXYGEN}" "-DOUT=${CMAKE_CURRENT_BINARY_DIR}/api"
                                -P "${CMAKE_CURRENT_SOURCE_DIR}/check_doxygen.cmake"
           WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
endif()

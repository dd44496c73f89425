# The library as its users get it: found by find_package or pkg-config after an install that was moved, in a Debian package,
# added as a subdirectory, fetched by FetchContent; and two translation units that both include everything link.
set(ways find_package add_subdirectory FetchContent)
find_program(QWEN3VL_PKG_CONFIG pkg-config)
find_program(QWEN3VL_DPKG_DEB dpkg-deb)
mark_as_advanced(QWEN3VL_PKG_CONFIG QWEN3VL_DPKG_DEB)
if(QWEN3VL_PKG_CONFIG)
  list(APPEND ways pkg-config)
endif()
if(QWEN3VL_DPKG_DEB)
  list(APPEND ways deb)
endif()
if(QWEN3VL_CUDA)
  list(APPEND ways cuda)  # find_package(qwen3vl COMPONENTS cuda), compiled by nvcc
endif()
set(installed_program "")
if(TARGET qwen3vl-tiny-shapes)
  set(installed_program qwen3vl-tiny-shapes)
endif()
foreach(way IN LISTS ways)
  add_test(NAME package.${way}
           COMMAND ${CMAKE_COMMAND} "-DWAY=${way}" "-DSOURCE_DIR=${PROJECT_SOURCE_DIR}" "-DBINARY_DIR=${PROJECT_BINARY_DIR}"
                   "-DWORK_DIR=${CMAKE_CURRENT_BINARY_DIR}/consumer_${way}" "-DCOMPILER=${CMAKE_CXX_COMPILER}"
                   "-DGENERATOR=${CMAKE_GENERATOR}" "-DVERSION=${PROJECT_VERSION}" "-DPKG_CONFIG=${QWEN3VL_PKG_CONFIG}" "-DNVCC=${QWEN3VL_NVCC}"
                   "-DPROGRAM=${installed_program}" "-DCHECKPOINT=${PROJECT_SOURCE_DIR}/examples/assets/tiny-shapes"
                   -P "${CMAKE_CURRENT_SOURCE_DIR}/check_package.cmake")
  set_tests_properties(package.${way} PROPERTIES TIMEOUT 600)
endforeach()

# QWEN3VL_STATIC: a program that needs no shared library.
find_program(QWEN3VL_READELF readelf)
mark_as_advanced(QWEN3VL_READELF)
if(QWEN3VL_READELF AND installed_program AND NOT QWEN3VL_SANITIZE)
  add_test(NAME package.static
           COMMAND ${CMAKE_COMMAND} "-DSOURCE_DIR=${PROJECT_SOURCE_DIR}" "-DWORK_DIR=${CMAKE_CURRENT_BINARY_DIR}/static"
                   "-DCOMPILER=${CMAKE_CXX_COMPILER}" "-DGENERATOR=${CMAKE_GENERATOR}" "-DREADELF=${QWEN3VL_READELF}"
                   "-DCHECKPOINT=${PROJECT_SOURCE_DIR}/examples/assets/tiny-shapes"
                   -P "${CMAKE_CURRENT_SOURCE_DIR}/check_static.cmake")
  set_tests_properties(package.static PROPERTIES TIMEOUT 600)
endif()

# A config.json that is no Qwen3-VL ends the configuration with a message that says so.
file(WRITE "${CMAKE_CURRENT_BINARY_DIR}/configs/llama.json" "{\"model_type\": \"llama\"}")
file(WRITE "${CMAKE_CURRENT_BINARY_DIR}/configs/broken.json" "{\"model_type\": ")
file(WRITE "${CMAKE_CURRENT_BINARY_DIR}/configs/negative.json"
     "{\"model_type\": \"qwen3_vl\", \"vision_config\": {\"depth\": -3}}")
foreach(case IN ITEMS "${CMAKE_CURRENT_BINARY_DIR}/configs/llama.json=describes a 'llama' model"
        "${CMAKE_CURRENT_BINARY_DIR}/configs/broken.json=is not valid JSON"
        "${CMAKE_CURRENT_BINARY_DIR}/configs/negative.json=vision_config.depth is '-3'"
        "${CMAKE_CURRENT_BINARY_DIR}/configs/absent.json=does not exist")
  string(REGEX REPLACE "=.*" "" config "${case}")
  string(REGEX REPLACE ".*=" "" message "${case}")
  get_filename_component(name "${config}" NAME_WE)
  add_test(NAME add_variant.refuses_${name}
           COMMAND ${CMAKE_COMMAND} -S "${PROJECT_SOURCE_DIR}/tests/consumer" -B "${CMAKE_CURRENT_BINARY_DIR}/refused_${name}"
                   -G "${CMAKE_GENERATOR}" "-DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER}" -DWAY=add_subdirectory
                   "-DQWEN3VL_SOURCE_DIR=${PROJECT_SOURCE_DIR}" "-DCONFIG=${config}")
  # CMake breaks lines of messages anywhere between words.
  string(REPLACE " " "[ \n]+" message "${message}")
  set_tests_properties(add_variant.refuses_${name} PROPERTIES PASS_REGULAR_EXPRESSION "${message}")
endforeach()

add_executable(two_units two_units_a.cpp two_units_b.cpp)
target_link_libraries(two_units PRIVATE qwen3vl_test_options qwen3vl::processing)
target_compile_options(two_units PRIVATE -O1)
add_test(NAME two_units COMMAND two_units)

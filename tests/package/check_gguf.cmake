# A variant made of GGUF files is that of the folder that they were converted from; files that do not make a model end the
# configuration with a clear message.
file(REMOVE_RECURSE "${WORK_DIR}")
set(golden "${SOURCE_DIR}/tests/golden")
set(header "${WORK_DIR}/qwen3vl_variants/my-model/qwen3vl/variants/my-model.hpp")

function(configure config)
  execute_process(COMMAND ${CMAKE_COMMAND} -S "${SOURCE_DIR}/tests/package/consumer" -B "${WORK_DIR}" -G "${GENERATOR}"
                          "-DCMAKE_CXX_COMPILER=${COMPILER}" -DWAY=add_subdirectory -DQWEN3VL_CUDA=OFF
                          "-DQWEN3VL_SOURCE_DIR=${SOURCE_DIR}" "-DCONFIG=${config}" ${ARGN}
                  RESULT_VARIABLE result OUTPUT_QUIET ERROR_VARIABLE errors)
  set(result "${result}" PARENT_SCOPE)
  string(REGEX REPLACE "[ \n]+" " " errors "${errors}")
  set(errors "${errors}" PARENT_SCOPE)
endfunction()

foreach(pair IN ITEMS "dense_small-Q4_K_M-00001-of-00002.gguf=dense_small" "sha256-moe_small=moe_small")
  string(REGEX REPLACE "=.*" "" file "${pair}")
  string(REGEX REPLACE ".*=" "" model "${pair}")
  foreach(config IN ITEMS "gguf/${file}" "models/${model}/config.json")
    configure("${golden}/${config}")
    if(result)
      message(FATAL_ERROR "${config}: ${errors}")
    endif()
    if(config MATCHES "^gguf/")
      file(READ "${header}" of_gguf)
    else()
      file(READ "${header}" of_folder)
    endif()
  endforeach()
  if(NOT of_gguf STREQUAL of_folder)
    message(FATAL_ERROR "${file} is another variant than ${model}:\n${of_gguf}\n${of_folder}")
  endif()
endforeach()

foreach(pair IN ITEMS "mmproj-moe_small-F16.gguf=is the vision tower of a model (mmproj)"
                      "dense_small-Q4_K_M-00002-of-00002.gguf=give the first"
                      "tiny-shapes-vocab.gguf=several vision towers lie beside")
  string(REGEX REPLACE "=.*" "" file "${pair}")
  string(REGEX REPLACE ".*=" "" message "${pair}")
  configure("${golden}/gguf/${file}")
  string(FIND "${errors}" "${message}" found)
  if(NOT result OR found EQUAL -1)
    message(FATAL_ERROR "${file} is no error that says '${message}': ${errors}")
  endif()
endforeach()
configure("${golden}/gguf/moe_small-F16.gguf" "-DQWEN3VL_MMPROJ=${golden}/gguf/mmproj-dense_small-F16.gguf")
if(NOT result OR NOT errors MATCHES "is the vision tower of another model than")
  message(FATAL_ERROR "a wrong QWEN3VL_MMPROJ is no error: ${errors}")
endif()

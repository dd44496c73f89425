# A build folder follows its last configuration: one configured for the tests builds a single program once it is given a
# QWEN3VL_CHECKPOINT, and the tests again without it. Without Boost.Test there are no tests, unless requested.
file(REMOVE_RECURSE "${WORK_DIR}")

# configure(<option>... WANTS <target>... WITHOUT <target>...)
function(configure)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "" "WANTS;WITHOUT")
  execute_process(COMMAND ${CMAKE_COMMAND} -S "${SOURCE_DIR}" -B "${WORK_DIR}" -G Ninja "-DCMAKE_CXX_COMPILER=${COMPILER}"
                          -DQWEN3VL_CUDA=OFF ${arg_UNPARSED_ARGUMENTS}
                  COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)
  file(STRINGS "${WORK_DIR}/build.ninja" targets REGEX "^build [a-z0-9_-]+: phony")
  foreach(target IN LISTS arg_WANTS)
    if(NOT targets MATCHES "build ${target}: phony")
      message(FATAL_ERROR "${arg_UNPARSED_ARGUMENTS}: ${target} is not built")
    endif()
  endforeach()
  foreach(target IN LISTS arg_WITHOUT)
    if(targets MATCHES "build ${target}: phony")
      message(FATAL_ERROR "${arg_UNPARSED_ARGUMENTS}: ${target} is built, too")
    endif()
  endforeach()
endfunction()

set(tests config_json_test c_api_test)
configure(WANTS qwen3vl-tiny-shapes qwen3vl-tiny-shapes-moe ${tests})
configure("-DQWEN3VL_CHECKPOINT=${CHECKPOINT}" WANTS qwen3vl-tiny-shapes WITHOUT qwen3vl-tiny-shapes-moe ${tests})
configure(-DQWEN3VL_CHECKPOINT= WANTS qwen3vl-tiny-shapes-moe ${tests})
configure(-DCMAKE_DISABLE_FIND_PACKAGE_Boost=ON WANTS qwen3vl-tiny-shapes-moe WITHOUT ${tests})

execute_process(COMMAND ${CMAKE_COMMAND} -DQWEN3VL_BUILD_TESTS=ON "${WORK_DIR}" RESULT_VARIABLE result
                OUTPUT_QUIET ERROR_VARIABLE errors)
if(NOT result OR NOT errors MATCHES "libboost-test-dev")
  message(FATAL_ERROR "tests without Boost.Test are no error that names its package: ${errors}")
endif()

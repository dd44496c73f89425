# Builds and runs tests/consumer in one of the ways in which a project can use the library.
file(REMOVE_RECURSE "${WORK_DIR}")
set(prefix "${WORK_DIR}/installed")
set(consumer "${SOURCE_DIR}/tests/consumer")
if(WAY STREQUAL "cuda")
  set(consumer "${SOURCE_DIR}/tests/consumer_cuda")
  set(nvcc "-DCMAKE_CUDA_COMPILER=${NVCC}" -DCMAKE_CUDA_ARCHITECTURES=90)
endif()
if(WAY MATCHES "find_package|cuda")
  execute_process(COMMAND ${CMAKE_COMMAND} --install "${BINARY_DIR}" --prefix "${prefix}" COMMAND_ERROR_IS_FATAL ANY
                  OUTPUT_QUIET)
endif()
execute_process(COMMAND ${CMAKE_COMMAND} -S "${consumer}" -B "${WORK_DIR}/build" -G "${GENERATOR}"
                        "-DCMAKE_CXX_COMPILER=${COMPILER}" -DCMAKE_BUILD_TYPE=None "-DWAY=${WAY}" "-DQWEN3VL_VERSION=${VERSION}"
                        "-DCMAKE_PREFIX_PATH=${prefix}" "-DQWEN3VL_SOURCE_DIR=${SOURCE_DIR}" ${nvcc}
                COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_COMMAND} --build "${WORK_DIR}/build" COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND "${WORK_DIR}/build/consumer" COMMAND_ERROR_IS_FATAL ANY)

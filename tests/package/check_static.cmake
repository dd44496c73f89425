# A program linked with QWEN3VL_STATIC needs no shared library, and answers. Unoptimised: only linking is tested.
execute_process(COMMAND ${CMAKE_COMMAND} -S "${SOURCE_DIR}" -B "${WORK_DIR}" -G "${GENERATOR}" "-DCMAKE_CXX_COMPILER=${COMPILER}"
                        -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS=-O0 -DQWEN3VL_STATIC=ON -DQWEN3VL_BUILD_TESTS=OFF -DQWEN3VL_CUDA=OFF
                        -DQWEN3VL_VARIANTS=tiny-shapes
                COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_COMMAND} --build "${WORK_DIR}" --target qwen3vl-tiny-shapes COMMAND_ERROR_IS_FATAL ANY)
set(program "${WORK_DIR}/examples/qwen3vl-tiny-shapes")
execute_process(COMMAND "${READELF}" --wide --program-headers --dynamic "${program}" COMMAND_ERROR_IS_FATAL ANY OUTPUT_VARIABLE headers)
if(headers MATCHES "INTERP|NEEDED")
  message(FATAL_ERROR "the program still needs shared libraries:\n${headers}")
endif()
execute_process(COMMAND "${program}" --model "${CHECKPOINT}" --threads 1 --prompt "Describe this image."
                        --image "${CHECKPOINT}/expected/images/01.png"
                COMMAND_ERROR_IS_FATAL ANY OUTPUT_VARIABLE answer)
if(NOT answer STREQUAL "A large green star on the right and a small purple heart at the bottom.\n")
  message(FATAL_ERROR "the static program says '${answer}'")
endif()

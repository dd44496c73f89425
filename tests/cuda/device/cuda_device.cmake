# The tests of the CUDA backend as programs of nvcc, for a GPU: the same sources as in ../CMakeLists.txt, without the emulator.
# All are built by the target cuda_device_tests; benchmarks/gpu_check.sh runs them, ctest -L cuda-device, too. Without a
# GPU they say so and are skipped (exit code 77).
add_custom_target(cuda_device_tests)

# qwen3vl_add_cuda_device_program(<target> <source> [LIBRARIES <target>...])
function(qwen3vl_add_cuda_device_program target source)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "" "LIBRARIES")
  # A separate file: the emulator's program compiles the other one as C++.
  set(unit "${CMAKE_CURRENT_BINARY_DIR}/cuda_device/${target}.cu")
  file(CONFIGURE OUTPUT "${unit}" CONTENT
       "#include \"${CMAKE_CURRENT_SOURCE_DIR}/${source}\"\n#include \"${CMAKE_CURRENT_SOURCE_DIR}/device/cuda_device.hpp\"\n")
  add_executable(${target} EXCLUDE_FROM_ALL "${unit}")
  target_link_libraries(${target} PRIVATE qwen3vl_test_options qwen3vl::cuda ${arg_LIBRARIES})
  add_dependencies(cuda_device_tests ${target})
endfunction()

# qwen3vl_add_cuda_device_test(<name> SOURCE <file> [LIBRARIES <target>...]): the program device_<name> and the test
# cuda-device.<name>.
function(qwen3vl_add_cuda_device_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "SOURCE" "LIBRARIES")
  qwen3vl_add_cuda_device_program(device_${name} ${arg_SOURCE} LIBRARIES Boost::unit_test_framework ${arg_LIBRARIES})
  add_test(NAME cuda-device.${name} COMMAND device_${name})
  set_tests_properties(cuda-device.${name} PROPERTIES TIMEOUT 300 LABELS cuda-device SKIP_RETURN_CODE 77)
endfunction()

foreach(test IN ITEMS operations attention bf16_attention gemv linear f8 f8_blocks f8_cache f8_experts sampling random stored)
  qwen3vl_add_cuda_device_test(${test}_test SOURCE operations/cuda_${test}_test.cpp)
endforeach()
qwen3vl_add_cuda_device_test(handle_test SOURCE cuda_handle_test.cpp)
foreach(checkpoint IN ITEMS tiny-shapes tiny-shapes-moe)
  qwen3vl_add_cuda_device_test(checkpoint_test_${checkpoint} SOURCE model/cuda_checkpoint_test.cpp
                               LIBRARIES cuda-${checkpoint} qwen3vl::processing)
  target_compile_definitions(device_checkpoint_test_${checkpoint} PRIVATE
    QWEN3VL_CHECKPOINT="${checkpoint}" QWEN3VL_VARIANT_HEADER="qwen3vl/variants/cuda-${checkpoint}.hpp"
    QWEN3VL_VARIANT_TYPE=qwen3vl::variants::cuda_checkpoint)
endforeach()

# All golden cases of two models, dense and mixture of experts, in f32: one process for each model.
foreach(model IN ITEMS dense_small moe_small)
  if(NOT TARGET golden-shape-${model})
    continue()
  endif()
  qwen3vl_add_cuda_device_program(device_parity-${model} ../parity/parity_model.cpp LIBRARIES golden-shape-${model})
  target_compile_definitions(device_parity-${model} PRIVATE
    QWEN3VL_VARIANT_HEADER="qwen3vl/variants/golden-shape-${model}.hpp"
    QWEN3VL_VARIANT_TYPE=qwen3vl::variants::golden_shape QWEN3VL_PRECISION=F32
    QWEN3VL_BACKEND=Cuda QWEN3VL_BACKEND_HEADER="qwen3vl/backend/cuda.cuh")
  file(GLOB cases CONFIGURE_DEPENDS "${QWEN3VL_GOLDEN_DIR}/cases/*/${model}_*.json")
  add_test(NAME cuda-device.parity.${model} COMMAND device_parity-${model} ${cases})
  set_tests_properties(cuda-device.parity.${model} PROPERTIES TIMEOUT 300 LABELS cuda-device SKIP_RETURN_CODE 77)
endforeach()

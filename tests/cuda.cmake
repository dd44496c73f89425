# The CUDA backend, tested without a GPU and without CUDA: the same kernel sources run on the host (cuda_on_host/).
# Where nvcc is found they are compiled for real, too.
add_library(cuda_on_host STATIC cuda_on_host/access.cpp cuda_on_host/blaslt.cpp cuda_on_host/block.cpp
            cuda_on_host/fiber.cpp cuda_on_host/instructions.cpp cuda_on_host/memory.cpp cuda_on_host/runtime.cpp)
target_include_directories(cuda_on_host BEFORE PUBLIC "${CMAKE_CURRENT_SOURCE_DIR}/cuda_on_host")
target_compile_definitions(cuda_on_host PUBLIC QWEN3VL_CUDA_ON_HOST)
target_compile_options(cuda_on_host PUBLIC -Wno-unknown-pragmas   # "unroll" is the device compiler's
                       -fno-strict-aliasing)  # kernels load several neighbours as one word
target_link_libraries(cuda_on_host PUBLIC qwen3vl::qwen3vl ${CMAKE_DL_LIBS} PRIVATE qwen3vl_options)

# qwen3vl_add_cuda_program(<target> <source>): a program whose kernels run on the host. The compiler reports every access
# to memory (-fsanitize=thread) to cuda_on_host/access.cpp; ThreadSanitizer itself is not linked.
function(qwen3vl_add_cuda_program target source)
  add_executable(${target} ${source})
  target_link_libraries(${target} PRIVATE qwen3vl_test_options cuda_on_host)
  # GCC does not see that threads beyond a row's end use nothing of what they did not load. Kernels take registers and
  # shared memory as words, as they may on a device.
  target_compile_options(${target} PRIVATE -O1 -fsanitize=thread -fno-strict-aliasing -Wno-maybe-uninitialized)
  set_target_properties(${target} PROPERTIES ENABLE_EXPORTS ON  # messages name kernels
                                             EXPORT_COMPILE_COMMANDS OFF)  # clang-tidy reads the CPU's programs
endfunction()

# qwen3vl_add_cuda_test(<name> [SOURCE <file>] [LIBRARIES <target>...]): tests/cuda_<name>.cpp (or SOURCE) as the test
# cuda.<name>.
function(qwen3vl_add_cuda_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "SOURCE" "LIBRARIES")
  if(NOT arg_SOURCE)
    set(arg_SOURCE cuda_${name}.cpp)
  endif()
  qwen3vl_add_cuda_program(cuda_${name} ${arg_SOURCE})
  target_link_libraries(cuda_${name} PRIVATE Boost::unit_test_framework ${arg_LIBRARIES})
  add_test(NAME cuda.${name} COMMAND cuda_${name})
  set_tests_properties(cuda.${name} PROPERTIES TIMEOUT 300 ENVIRONMENT OMP_WAIT_POLICY=passive)
endfunction()

qwen3vl_add_cuda_test(emulator_test)
qwen3vl_add_cuda_test(instructions_test)
qwen3vl_add_cuda_test(operations_test)
qwen3vl_add_cuda_test(attention_test)
qwen3vl_add_cuda_test(bf16_attention_test)
qwen3vl_add_cuda_test(gemv_test)
qwen3vl_add_cuda_test(f8_test)
qwen3vl_add_cuda_test(f8_cache_test)
qwen3vl_add_cuda_test(f8_experts_test)
qwen3vl_add_cuda_test(f8_model_test)
qwen3vl_add_cuda_test(handle_test)
qwen3vl_add_cuda_test(memory_plan_test)
qwen3vl_add_cuda_test(linear_test)
qwen3vl_add_cuda_test(random_test)
qwen3vl_add_cuda_test(sampling_test)
qwen3vl_add_cuda_test(model_test)
qwen3vl_add_cuda_test(generation_test)
# The trained checkpoints, in bf16.
foreach(checkpoint IN ITEMS tiny-shapes tiny-shapes-moe)
  qwen3vl_add_variant(TARGET cuda-${checkpoint} CONFIG "${PROJECT_SOURCE_DIR}/examples/assets/${checkpoint}/config.json"
                      TYPE cuda_checkpoint)
  qwen3vl_add_cuda_test(checkpoint_test_${checkpoint} SOURCE cuda_checkpoint_test.cpp
                        LIBRARIES cuda-${checkpoint} qwen3vl::processing)
  target_compile_definitions(cuda_checkpoint_test_${checkpoint} PRIVATE
    QWEN3VL_CHECKPOINT="${checkpoint}" QWEN3VL_VARIANT_HEADER="qwen3vl/variants/cuda-${checkpoint}.hpp"
    QWEN3VL_VARIANT_TYPE=qwen3vl::variants::cuda_checkpoint)
endforeach()

# The same in FP8; of the mixture of experts keys and values, too.
set(precision_tiny-shapes "Fp8")
set(precision_tiny-shapes-moe "WithKv<Fp8, f8_e4m3>")
foreach(checkpoint IN ITEMS tiny-shapes tiny-shapes-moe)
  qwen3vl_add_cuda_test(fp8_checkpoint_test_${checkpoint} SOURCE cuda_checkpoint_test.cpp
                        LIBRARIES cuda-${checkpoint} qwen3vl::processing)
  target_compile_definitions(cuda_fp8_checkpoint_test_${checkpoint} PRIVATE
    QWEN3VL_CHECKPOINT="${checkpoint}" QWEN3VL_VARIANT_HEADER="qwen3vl/variants/cuda-${checkpoint}.hpp"
    QWEN3VL_VARIANT_TYPE=qwen3vl::variants::cuda_checkpoint "QWEN3VL_PRECISION=${precision_${checkpoint}}")
endforeach()

# Golden cases on the CUDA backend, in f32 so that the tolerances of the CPU hold: parity/parity_model.cpp with another
# backend. All of two models, dense and mixture of experts, but only some that generate: every multiplication is done by
# hand here.
set(cuda_generation dense_small_batch_left_pad dense_small_beams_3_batch dense_small_video dense_small_text_only
    moe_small_batch_left_pad)
foreach(model IN ITEMS dense_small moe_small)
  if(NOT TARGET golden-shape-${model})
    continue()
  endif()
  qwen3vl_add_cuda_program(parity-cuda-${model} parity/parity_model.cpp)
  target_link_libraries(parity-cuda-${model} PRIVATE golden-shape-${model})
  target_compile_definitions(parity-cuda-${model} PRIVATE
    QWEN3VL_VARIANT_HEADER="qwen3vl/variants/golden-shape-${model}.hpp"
    QWEN3VL_VARIANT_TYPE=qwen3vl::variants::golden_shape QWEN3VL_PRECISION=F32
    QWEN3VL_BACKEND=Cuda QWEN3VL_BACKEND_HEADER="qwen3vl/backend/cuda.cuh")
  file(GLOB cuda_cases RELATIVE "${QWEN3VL_GOLDEN_DIR}/cases" CONFIGURE_DEPENDS
       "${QWEN3VL_GOLDEN_DIR}/cases/*/${model}_*.json")
  foreach(case IN LISTS cuda_cases)
    get_filename_component(name "${case}" NAME_WE)
    if(case MATCHES "^generation/" AND NOT name IN_LIST cuda_generation)
      continue()
    endif()
    string(REGEX REPLACE "\\.json$" "" test "cuda.parity.${case}")
    string(REPLACE "/" "." test "${test}")
    add_test(NAME ${test} COMMAND parity-cuda-${model} "${QWEN3VL_GOLDEN_DIR}/cases/${case}")
    set_tests_properties(${test} PROPERTIES TIMEOUT 300 ENVIRONMENT OMP_WAIT_POLICY=passive)
  endforeach()
endforeach()

# The program itself: its answer, and its plan of the device's memory.
if(TARGET qwen3vl_commit)
  qwen3vl_add_cuda_program(cuda_program-tiny-shapes "${PROJECT_SOURCE_DIR}/examples/qwen3vl.cpp")
  target_sources(cuda_program-tiny-shapes PRIVATE $<TARGET_OBJECTS:qwen3vl_roof>)
  target_link_libraries(cuda_program-tiny-shapes PRIVATE cuda-tiny-shapes qwen3vl::processing CLI11::CLI11 qwen3vl_commit)
  target_compile_definitions(cuda_program-tiny-shapes PRIVATE QWEN3VL_PROGRAM_CUDA
    QWEN3VL_VARIANT_HEADER="qwen3vl/variants/cuda-tiny-shapes.hpp" QWEN3VL_VARIANT_TYPE=qwen3vl::variants::cuda_checkpoint
    QWEN3VL_VARIANT_NAME="tiny-shapes" QWEN3VL_PRECISION=Bf16 QWEN3VL_VERSION="${PROJECT_VERSION}")
  set(assets "${PROJECT_SOURCE_DIR}/examples/assets/tiny-shapes")
  add_test(NAME cuda.program.answer COMMAND cuda_program-tiny-shapes --model "${assets}" --image
           "${assets}/expected/images/01.png" --prompt "Describe this image." --temperature 0)
  set_tests_properties(cuda.program.answer PROPERTIES PASS_REGULAR_EXPRESSION
    "^A large green star on the right and a small purple heart at the bottom")
  add_test(NAME cuda.program.memory_plan COMMAND cuda_program-tiny-shapes --memory-plan --image-size 640x480)
  set_tests_properties(cuda.program.memory_plan PROPERTIES PASS_REGULAR_EXPRESSION
    "weights +5\\.9 MB.*workspace of cuBLASLt +33\\.6 MB.*at most at one time +[0-9.]+ MB.*the device has free +68719\\.[0-9] MB.*buffers of copies +33\\.6 MB")
  add_test(NAME cuda.program.trace COMMAND cuda_program-tiny-shapes --model "${assets}" --prompt x --trace trace.json)
  set_tests_properties(cuda.program.trace PROPERTIES PASS_REGULAR_EXPRESSION "error: --trace is for the CPU's programs")
  set_tests_properties(cuda.program.answer cuda.program.memory_plan cuda.program.trace PROPERTIES TIMEOUT 300
    ENVIRONMENT OMP_WAIT_POLICY=passive)
endif()

# The benchmark of layers, whose figures mean nothing here: that it runs, and what it prints.
find_package(CLI11 QUIET)
if(TARGET CLI11::CLI11)
  foreach(checkpoint IN ITEMS tiny-shapes tiny-shapes-moe)
    qwen3vl_add_cuda_program(cuda_bench_layers-${checkpoint} "${PROJECT_SOURCE_DIR}/benchmarks/bench_layers_cuda.cpp")
    target_include_directories(cuda_bench_layers-${checkpoint} PRIVATE "${PROJECT_SOURCE_DIR}/benchmarks")
    target_link_libraries(cuda_bench_layers-${checkpoint} PRIVATE cuda-${checkpoint} CLI11::CLI11
                                                                  nlohmann_json::nlohmann_json)
    target_compile_definitions(cuda_bench_layers-${checkpoint} PRIVATE
      QWEN3VL_VARIANT_HEADER="qwen3vl/variants/cuda-${checkpoint}.hpp"
      QWEN3VL_VARIANT_TYPE=qwen3vl::variants::cuda_checkpoint QWEN3VL_VARIANT_NAME="${checkpoint}"
      QWEN3VL_PRECISION=qwen3vl::Bf16)
  endforeach()
  add_test(NAME cuda.bench_layers_moe COMMAND cuda_bench_layers-tiny-shapes-moe --quick --filter moe --tokens 1,9)
  set_tests_properties(cuda.bench_layers_moe PROPERTIES TIMEOUT 120 ENVIRONMENT OMP_WAIT_POLICY=passive
    PASS_REGULAR_EXPRESSION "text/moe/tokens:1 .*text/moe/tokens:9 +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+\n$")
endif()

# The script for machines with a GPU, without one: its steps, and its table from programs that only pretend.
if(Python3_FOUND)
  set(layers "")
  if(TARGET cuda_bench_layers-tiny-shapes)
    set(layers "$<TARGET_FILE:cuda_bench_layers-tiny-shapes>")
  endif()
  add_test(NAME cuda.gpu_check
           COMMAND Python3::Interpreter "${CMAKE_CURRENT_SOURCE_DIR}/gpu_check_test.py" ${layers})
  set_tests_properties(cuda.gpu_check PROPERTIES TIMEOUT 120
    ENVIRONMENT "PYTHONDONTWRITEBYTECODE=1;OMP_WAIT_POLICY=passive")
endif()

add_test(NAME cuda.occupancy COMMAND "${CMAKE_CURRENT_SOURCE_DIR}/cuda_occupancy_test.sh")

# All kernels of whole models for real: none may spill registers, and as many blocks fit as each asks for.
if(QWEN3VL_NVCC)
  get_target_property(eigen_include Eigen3::Eigen INTERFACE_INCLUDE_DIRECTORIES)
  foreach(kernels IN ITEMS 80:Qwen3VL_2B 90:Qwen3VL_2B 100:Qwen3VL_2B 90:Qwen3VL_30B_A3B
                           90:Qwen3VL_2B:Fp8 100:Qwen3VL_2B:Fp8 90:Qwen3VL_30B_A3B:Fp8)
    string(REGEX MATCH "^([0-9]+):(.*)$" matched "${kernels}")
    set(architecture ${CMAKE_MATCH_1})
    set(variant ${CMAKE_MATCH_2})
    string(REPLACE ":" "_" name "cuda.kernels_sm_${architecture}_${variant}")
    add_test(NAME ${name} COMMAND "${CMAKE_CURRENT_SOURCE_DIR}/check_cuda_kernels.sh" "${QWEN3VL_NVCC}" ${architecture}
                                  ${variant} "${PROJECT_SOURCE_DIR}/include" ${eigen_include})
    set_tests_properties(${name} PROPERTIES TIMEOUT 600)
  endforeach()
endif()

# The program on the CUDA backend: the expected answer, or one clear line where there is no GPU.
if(TARGET qwen3vl-tiny-shapes-cuda)
  add_test(NAME cuda.program
           COMMAND qwen3vl-tiny-shapes-cuda --model "${PROJECT_SOURCE_DIR}/examples/assets/tiny-shapes" --image
                   "${PROJECT_SOURCE_DIR}/examples/assets/tiny-shapes/expected/images/01.png" --prompt "Describe this image." --temperature 0)
  set_tests_properties(cuda.program PROPERTIES PASS_REGULAR_EXPRESSION
    "qwen3vl-tiny-shapes-cuda: error: CUDA: looking for devices|A large green star on the right and a small purple heart at the bottom")
endif()

if(QWEN3VL_CUDA_DEVICE_TESTS)
  include(cuda_device.cmake)
endif()

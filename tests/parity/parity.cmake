# One test for every golden case: parity.<group>.<case>. Models in QWEN3VL_GOLDEN_DIR/models become variants, so a model and
# its cases are added by adding files.
set(golden_dir "${QWEN3VL_GOLDEN_DIR}")
file(GLOB model_dirs CONFIGURE_DEPENDS "${golden_dir}/models/*")
foreach(dir IN LISTS model_dirs)
  get_filename_component(model "${dir}" NAME)
  if(NOT EXISTS "${dir}/config.json")
    continue()
  endif()
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${dir}/config.json")
  file(READ "${dir}/config.json" config)
  string(JSON type ERROR_VARIABLE error GET "${config}" model_type)
  if(NOT type MATCHES "^qwen3_vl(_moe)?$")
    message(FATAL_ERROR "${dir}/config.json describes a '${type}' model")
  endif()
  # bf16 checkpoints run with bf16 weights: widening them is exact, so the same tolerance holds.
  string(JSON dtype ERROR_VARIABLE error GET "${config}" text_config dtype)
  if(dtype STREQUAL "bfloat16")
    set(precision Bf16)
  else()
    set(precision F32)
  endif()
  # Checkpoints of one shape (the same model as two versions of transformers save it) share a program.
  qwen3vl_add_variant(TARGET golden-shape-${model} CONFIG "${dir}/config.json" TYPE golden_shape)
  file(MD5 "${CMAKE_CURRENT_BINARY_DIR}/qwen3vl_variants/golden-shape-${model}/qwen3vl/variants/golden-shape-${model}.hpp" shape)
  if(DEFINED program_of_${precision}_${shape})
    set(program_of_model_${model} ${program_of_${precision}_${shape}})
    continue()
  endif()
  set(program_of_${precision}_${shape} parity-${model})
  set(program_of_model_${model} parity-${model})
  # The model is compiled in a library of its own, as a user with several source files would have it.
  qwen3vl_add_variant(TARGET golden-${model} CONFIG "${dir}/config.json" TYPE golden_${model} INSTANTIATE ${precision})
  target_link_libraries(golden-${model}_model PRIVATE qwen3vl_options)
  add_executable(parity-${model} parity/parity_model.cpp)
  target_link_libraries(parity-${model} PRIVATE golden-${model}_model qwen3vl_test_options)
  if(CMAKE_BUILD_TYPE MATCHES "^(Release|None)$")
    target_compile_options(parity-${model} PRIVATE ${qwen3vl_quick_options})  # what counts is in the library
  endif()
  target_compile_definitions(parity-${model} PRIVATE
    QWEN3VL_VARIANT_HEADER="qwen3vl/variants/golden-${model}_model.hpp"
    QWEN3VL_VARIANT_TYPE=qwen3vl::variants::golden_${model} QWEN3VL_PRECISION=${precision})
endforeach()

# Cases without a model are tables that the tests of the parts read whole; the case is such a test's run.
set(table_tests
  "generation/processors=generation_logits_processors_test"
  "chat/render=processing_chat_test"
  "tokenizer/encode=processing_tokenizer_test"
  "tokenizer/padding=processing_tokenizer_test"
  "tokenizer/streaming=processing_tokenizer_test"
  "tokenizer/token_bytes=processing_tokenizer_test"
  "processing/image_options=processing_image_processor_test"
  "processing/images_batch=processing_image_processor_test"
  "processing/images_hub_settings=processing_image_processor_test"
  "processing/images_small=processing_image_processor_test"
  "processing/patch_counts=processing_image_processor_test"
  "processing/smart_resize_image=processing_image_processor_test"
  "processing/processor=processing_processor_test"
  "processing/smart_resize_video=processing_video_processor_test"
  "processing/timestamps=processing_video_processor_test"
  "processing/video_pixels=processing_video_processor_test"
  "processing/video_sampling=processing_video_processor_test")

# The rope types' table: one test for each of its sets.
set(rope_types "${golden_dir}/cases/rope/types.json")
if(EXISTS "${rope_types}")
  add_executable(parity-rope parity/parity_rope.cpp)
  target_link_libraries(parity-rope PRIVATE qwen3vl_test_options qwen3vl::io)
  file(READ "${rope_types}" json)
  string(JSON count LENGTH "${json}" sets)
  math(EXPR last "${count} - 1")
  foreach(i RANGE ${last})
    string(JSON set MEMBER "${json}" sets ${i})
    add_test(NAME parity.rope.types.${set} COMMAND parity-rope "${rope_types}" ${set})
    set_tests_properties(parity.rope.types.${set} PROPERTIES SKIP_RETURN_CODE 77)
  endforeach()
endif()

file(GLOB cases RELATIVE "${golden_dir}/cases" CONFIGURE_DEPENDS "${golden_dir}/cases/*/*.json")
list(REMOVE_ITEM cases rope/types.json)
foreach(case IN LISTS cases)
  string(REGEX REPLACE "\\.json$" "" name "${case}")
  set(table "${table_tests}")
  list(FILTER table INCLUDE REGEX "^${name}=")
  string(REPLACE "/" "." test "parity.${name}")
  file(READ "${golden_dir}/cases/${case}" json LIMIT 4000)
  if(json MATCHES "\"model\": *\"([^\"]+)\"")
    set(program "${program_of_model_${CMAKE_MATCH_1}}")
    if(NOT program)
      message(FATAL_ERROR "${golden_dir}/cases/${case} is of the model ${CMAKE_MATCH_1}, which ${golden_dir}/models lacks")
    endif()
    add_test(NAME ${test} COMMAND ${program} "${golden_dir}/cases/${case}")
    if(program STREQUAL "parity-dense_small")
      set_tests_properties(${test} PROPERTIES LABELS sanitized)
    endif()
  elseif(table)
    string(REGEX REPLACE "^.*=" "" program "${table}")
    add_test(NAME ${test} COMMAND ${program})
  else()
    message(FATAL_ERROR "${golden_dir}/cases/${case} is a table that no test reads; see table_tests in parity.cmake")
  endif()
  set_tests_properties(${test} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 120 ENVIRONMENT OMP_WAIT_POLICY=passive)
endforeach()

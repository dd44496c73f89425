# qwen3vl_add_quantisation_error(<name> <config.json>): the program quantisation_error-<name>.
function(qwen3vl_add_quantisation_error name config)
  qwen3vl_add_variant(TARGET rounded-${name} CONFIG "${config}" INSTANTIATE F32 Bf16 Bf16Dot Q8 Q4 Q8Dot Q4Dot)
  target_link_libraries(rounded-${name}_model PRIVATE qwen3vl_options)
  add_executable(quantisation_error-${name} "${PROJECT_SOURCE_DIR}/benchmarks/quantisation_error.cpp")
  target_link_libraries(quantisation_error-${name} PRIVATE rounded-${name}_model qwen3vl::processing qwen3vl_options)
  string(MAKE_C_IDENTIFIER "rounded-${name}" type)
  target_include_directories(quantisation_error-${name} PRIVATE "${PROJECT_SOURCE_DIR}/tests/parity")
  target_compile_definitions(quantisation_error-${name} PRIVATE
    QWEN3VL_VARIANT_HEADER="qwen3vl/variants/rounded-${name}_model.hpp" QWEN3VL_VARIANT_TYPE=qwen3vl::variants::${type})
endfunction()

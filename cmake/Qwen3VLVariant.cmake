# qwen3vl_add_variant(TARGET <name> CONFIG <config.json or GGUF file> [TYPE <TypeName>] [INSTANTIATE <precision>...])
#
# Makes a variant out of a checkpoint's config.json (transformers 4.57 or 5.x style), or of a GGUF file with its vision
# tower (mmproj) beside it, with no code written:
#   target <name>          an interface library; link it and
#   #include <qwen3vl/variants/<name>.hpp>   which defines   qwen3vl::variants::<TypeName>
# TypeName defaults to <name> with every character that C++ does not allow replaced by '_'.
# With INSTANTIATE and any of F32, Bf16, Bf16Dot, Q8, Q4, Q8Dot, Q4Dot and Stored (the precisions of qwen3vl/backend/contract/precision.hpp), the model is also
# compiled once for each, into the library <name>_model, on the CPU backend; the header <qwen3vl/variants/<name>_model.hpp>
# declares it extern, so that files which include it need not compile it again.
#
# The header is written at configure time and again when the config changes. Fields that are missing get transformers'
# defaults, as in config_json.hpp, which reads the same file at run time and compares.

include("${CMAKE_CURRENT_LIST_DIR}/Qwen3VLGguf.cmake")

# Sets <out> to the value at a path of keys, or to <default> if there is none (or null).
function(_qwen3vl_json out json default)
  string(JSON value ERROR_VARIABLE error GET "${json}" ${ARGN})
  if(error OR value STREQUAL "")
    set(value "${default}")
  endif()
  set(${out} "${value}" PARENT_SCOPE)
endfunction()

# Sets <out> to an integer field; anything else ends the configuration.
function(_qwen3vl_json_int out json default)
  _qwen3vl_json(value "${json}" "${default}" ${ARGN})
  if(NOT value MATCHES "^[0-9]+$")
    list(JOIN ARGN "." field)
    message(FATAL_ERROR "qwen3vl_add_variant: ${_qwen3vl_config}: ${field} is '${value}', wanted a size")
  endif()
  set(${out} "${value}" PARENT_SCOPE)
endfunction()

function(_qwen3vl_json_bool out json default)
  _qwen3vl_json(value "${json}" "${default}" ${ARGN})
  if(value)
    set(${out} true PARENT_SCOPE)
  else()
    set(${out} false PARENT_SCOPE)
  endif()
endfunction()

# Sets <out> to a list of integers as "1, 2, 3".
function(_qwen3vl_json_list out json default)
  string(JSON count ERROR_VARIABLE error LENGTH "${json}" ${ARGN})
  if(error)
    set(${out} "${default}" PARENT_SCOPE)
    return()
  endif()
  set(values "")
  if(count GREATER 0)
    math(EXPR last "${count} - 1")
    foreach(i RANGE ${last})
      _qwen3vl_json_int(value "${json}" "" ${ARGN} ${i})
      list(APPEND values ${value})
    endforeach()
  endif()
  list(JOIN values ", " values)
  set(${out} "${values}" PARENT_SCOPE)
endfunction()

function(_qwen3vl_json_activation out json default)
  _qwen3vl_json(value "${json}" "${default}" ${ARGN})
  if(NOT value MATCHES "^(silu|gelu|gelu_pytorch_tanh)$")
    list(JOIN ARGN "." field)
    message(FATAL_ERROR "qwen3vl_add_variant: ${_qwen3vl_config}: ${field} is '${value}', wanted silu, gelu or gelu_pytorch_tanh")
  endif()
  set(${out} "Activation::${value}" PARENT_SCOPE)
endfunction()

function(qwen3vl_add_variant)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "TARGET;CONFIG;TYPE" "INSTANTIATE")
  if(NOT arg_TARGET OR NOT arg_CONFIG OR arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "usage: qwen3vl_add_variant(TARGET name CONFIG path/to/config.json-or-file.gguf [TYPE TypeName] [INSTANTIATE F32 Bf16 Q8 Q4 Stored...])")
  endif()
  get_filename_component(_qwen3vl_config "${arg_CONFIG}" ABSOLUTE)
  if(NOT EXISTS "${_qwen3vl_config}")
    message(FATAL_ERROR "qwen3vl_add_variant: ${_qwen3vl_config} does not exist")
  endif()
  if(NOT arg_TYPE)
    string(MAKE_C_IDENTIFIER "${arg_TARGET}" arg_TYPE)
  endif()
  _qwen3vl_is_gguf("${_qwen3vl_config}" is_gguf)
  if(is_gguf)
    _qwen3vl_gguf_config("${_qwen3vl_config}" json)
  elseif(IS_DIRECTORY "${_qwen3vl_config}")
    message(FATAL_ERROR "qwen3vl_add_variant: ${_qwen3vl_config} is a folder, wanted a config.json or a GGUF file")
  else()
    file(READ "${_qwen3vl_config}" json)
  endif()
  if(NOT IS_DIRECTORY "${_qwen3vl_config}")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${_qwen3vl_config}")
  endif()
  string(JSON kind ERROR_VARIABLE error TYPE "${json}")
  if(error)
    message(FATAL_ERROR "qwen3vl_add_variant: ${_qwen3vl_config} is not valid JSON: ${error}")
  endif()
  _qwen3vl_json(model_type "${json}" "" model_type)
  # Mixtures of experts have different defaults, as in transformers.
  if(model_type STREQUAL "qwen3_vl_moe")
    set(moe true)
    set(t_hidden 2048)
    set(t_inner 5632)
    set(t_layers 24)
    set(t_heads 16)
    set(t_kv_heads 16)
  elseif(model_type STREQUAL "qwen3_vl")
    set(moe false)
    set(t_hidden 4096)
    set(t_inner 22016)
    set(t_layers 32)
    set(t_heads 32)
    set(t_kv_heads 32)
  else()
    message(FATAL_ERROR "qwen3vl_add_variant: ${_qwen3vl_config} describes a '${model_type}' model, wanted qwen3_vl or qwen3_vl_moe")
  endif()

  set(vision vision_config)
  _qwen3vl_json_int(v_depth "${json}" 27 ${vision} depth)
  _qwen3vl_json_int(v_hidden "${json}" 1152 ${vision} hidden_size)
  _qwen3vl_json_int(v_inner "${json}" 4304 ${vision} intermediate_size)
  _qwen3vl_json_int(v_heads "${json}" 16 ${vision} num_heads)
  _qwen3vl_json_int(v_channels "${json}" 3 ${vision} in_channels)
  _qwen3vl_json_int(v_patch "${json}" 16 ${vision} patch_size)
  _qwen3vl_json_int(v_merge "${json}" 2 ${vision} spatial_merge_size)
  _qwen3vl_json_int(v_temporal "${json}" 2 ${vision} temporal_patch_size)
  _qwen3vl_json_int(v_out "${json}" 3584 ${vision} out_hidden_size)
  _qwen3vl_json_int(v_positions "${json}" 2304 ${vision} num_position_embeddings)
  _qwen3vl_json_list(v_deepstack "${json}" "8, 16, 24" ${vision} deepstack_visual_indexes)
  _qwen3vl_json_activation(v_act "${json}" gelu_pytorch_tanh ${vision} hidden_act)
  set(text text_config)
  _qwen3vl_json_int(t_vocab "${json}" 151936 ${text} vocab_size)
  _qwen3vl_json_int(t_hidden "${json}" ${t_hidden} ${text} hidden_size)
  _qwen3vl_json_int(t_inner "${json}" ${t_inner} ${text} intermediate_size)
  _qwen3vl_json_int(t_layers "${json}" ${t_layers} ${text} num_hidden_layers)
  _qwen3vl_json_int(t_heads "${json}" ${t_heads} ${text} num_attention_heads)
  _qwen3vl_json_int(t_kv_heads "${json}" ${t_kv_heads} ${text} num_key_value_heads)
  set(t_head_dim 128)
  if(moe AND t_heads GREATER 0)
    math(EXPR t_head_dim "${t_hidden} / ${t_heads}")
  endif()
  _qwen3vl_json_int(t_head_dim "${json}" ${t_head_dim} ${text} head_dim)
  _qwen3vl_json_bool(t_bias "${json}" false ${text} attention_bias)
  _qwen3vl_json_activation(t_act "${json}" silu ${text} hidden_act)
  # If both exist, rope_scaling wins, as in transformers.
  _qwen3vl_json_list(t_mrope "${json}" "24, 20, 20" ${text} rope_parameters mrope_section)
  _qwen3vl_json_list(t_mrope "${json}" "${t_mrope}" ${text} rope_scaling mrope_section)
  set(t_moe "")
  if(moe)
    _qwen3vl_json_int(m_experts "${json}" 60 ${text} num_experts)
    _qwen3vl_json_int(m_experts "${json}" ${m_experts} ${text} num_local_experts)  # the name of transformers 5
    _qwen3vl_json_int(m_top_k "${json}" 4 ${text} num_experts_per_tok)
    _qwen3vl_json_int(m_inner "${json}" 1408 ${text} moe_intermediate_size)
    _qwen3vl_json_int(m_step "${json}" 1 ${text} decoder_sparse_step)
    _qwen3vl_json_list(m_dense "${json}" "" ${text} mlp_only_layers)
    set(t_moe ",
               .moe = {.num_experts = ${m_experts},
                       .num_experts_per_tok = ${m_top_k},
                       .moe_intermediate_size = ${m_inner},
                       .decoder_sparse_step = ${m_step},
                       .mlp_only_layers = {${m_dense}}}")
  endif()
  # Only the top-level field counts in transformers; the one in text_config is ignored.
  _qwen3vl_json_bool(tie "${json}" false tie_word_embeddings)

  set(include_dir "${CMAKE_CURRENT_BINARY_DIR}/qwen3vl_variants/${arg_TARGET}")
  set(header "${include_dir}/qwen3vl/variants/${arg_TARGET}.hpp")
  file(CONFIGURE OUTPUT "${header}" CONTENT [[
/// Written by qwen3vl_add_variant() from a config.json; changes are lost.
#pragma once

#include "qwen3vl/config/config.hpp"

namespace qwen3vl::variants {

struct @arg_TYPE@ {
  static constexpr ModelConfig config{
      .vision = {.depth = @v_depth@,
                 .hidden_size = @v_hidden@,
                 .intermediate_size = @v_inner@,
                 .num_heads = @v_heads@,
                 .in_channels = @v_channels@,
                 .patch_size = @v_patch@,
                 .spatial_merge_size = @v_merge@,
                 .temporal_patch_size = @v_temporal@,
                 .out_hidden_size = @v_out@,
                 .num_position_embeddings = @v_positions@,
                 .deepstack_visual_indexes = {@v_deepstack@},
                 .hidden_act = @v_act@},
      .text = {.vocab_size = @t_vocab@,
               .hidden_size = @t_hidden@,
               .intermediate_size = @t_inner@,
               .num_hidden_layers = @t_layers@,
               .num_attention_heads = @t_heads@,
               .num_key_value_heads = @t_kv_heads@,
               .head_dim = @t_head_dim@,
               .attention_bias = @t_bias@,
               .hidden_act = @t_act@,
               .mrope_section = {@t_mrope@}@t_moe@},
      .tie_word_embeddings = @tie@};
  static_assert(validate(config) == nullptr, "this config.json breaks a rule of qwen3vl/config/config.hpp");
};

}  // namespace qwen3vl::variants
]] @ONLY)
  add_library(${arg_TARGET} INTERFACE)
  target_include_directories(${arg_TARGET} INTERFACE "${include_dir}")
  target_link_libraries(${arg_TARGET} INTERFACE qwen3vl::qwen3vl)

  if(arg_INSTANTIATE)
    set(model_header "${include_dir}/qwen3vl/variants/${arg_TARGET}_model.hpp")
    set(externs "")
    set(sources "")
    foreach(precision IN LISTS arg_INSTANTIATE)
      if(NOT precision MATCHES "^(F32|Bf16|Bf16Dot|Q8|Q4|Q8Dot|Q4Dot|Stored)$")
        message(FATAL_ERROR "qwen3vl_add_variant: INSTANTIATE ${precision}, wanted F32, Bf16, Bf16Dot, Q8, Q4, Q8Dot, Q4Dot or Stored")
      endif()
      set(type "qwen3vl::ForConditionalGeneration<qwen3vl::variants::${arg_TYPE}, qwen3vl::Cpu, qwen3vl::${precision}>")
      set(instances "template class ${type};\n")
      foreach(prompts IN ITEMS Prompts ModelInputs)
        string(APPEND instances "template qwen3vl::GenerateOutput qwen3vl::generate(${type}&, const qwen3vl::${prompts}&, "
                                "const qwen3vl::GenerateOptions&, qwen3vl::PromptCache<${type}>*);\n")
      endforeach()
      string(REGEX REPLACE "(^|\n)template" "\\1extern template" declarations "${instances}")
      string(APPEND externs "${declarations}")
      # A file for each: they compile in parallel, and the compiler needs memory for one at a time.
      set(source "${include_dir}/${arg_TARGET}_model_${precision}.cpp")
      file(CONFIGURE OUTPUT "${source}" CONTENT [[
#include "qwen3vl/variants/@arg_TARGET@_model.hpp"

@instances@]] @ONLY)
      list(APPEND sources "${source}")
    endforeach()
    file(CONFIGURE OUTPUT "${model_header}" CONTENT [[
/// Written by qwen3vl_add_variant(): the model and its generate() are compiled in the library @arg_TARGET@_model.
#pragma once

#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/generation/generate.hpp"
#include "qwen3vl/loading/pretrained.hpp"
#include "qwen3vl/variants/@arg_TARGET@.hpp"

@externs@]] @ONLY)
    add_library(${arg_TARGET}_model STATIC ${sources})
    target_link_libraries(${arg_TARGET}_model PUBLIC ${arg_TARGET} qwen3vl::io)
  endif()
endfunction()

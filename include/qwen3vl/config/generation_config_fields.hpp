/// The fields of generation_config.json in transformers that are no options here: what each does. Together with
/// for_each_generation_option these are all fields of its GenerationConfig.
#pragma once

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string_view>

#include "qwen3vl/config/generation_config.hpp"

namespace qwen3vl {

struct GenerationField {
  std::string_view name;
  std::string_view effect;  ///< as docs/options.md has it
  bool (*changes_nothing)(
      const nlohmann::json&);  ///< whether answers are those of a file without it; others are refused
  RefusedSetting::When refused = RefusedSetting::When::always;
};

namespace detail {

inline bool any_value(const nlohmann::json&) { return true; }
inline bool no_value(const nlohmann::json&) { return false; }
inline bool is_boolean(const nlohmann::json& value) { return value.is_boolean(); }
inline bool is_false(const nlohmann::json& value) { return value == false; }
inline bool is_number(const nlohmann::json& value) { return value.is_number(); }

/// Where keys and values are, not what they are.
inline bool is_plain_cache(const nlohmann::json& value) {
  constexpr std::array<std::string_view, 10> names{
      "dynamic", "offloaded",      "static",           "offloaded_static",         "sliding_window",
      "hybrid",  "hybrid_chunked", "offloaded_hybrid", "offloaded_hybrid_chunked", "paged"};
  return std::ranges::any_of(names, [&](std::string_view name) { return value == name; });
}

inline bool is_share(const nlohmann::json& value) {
  return value.is_number() && value.get<double>() > 0.0 && value.get<double>() < 1.0;
}

}  // namespace detail

/// What no field of the file may be called: arguments of generate(), as in transformers.
inline constexpr std::array<std::string_view, 8> generate_arguments{
    "logits_processor", "stopping_criteria", "prefix_allowed_tokens_fn", "synced_gpus",
    "assistant_model",  "streamer",          "negative_prompt_ids",      "negative_prompt_attention_mask"};

/// What the file says about itself.
inline constexpr std::array<std::string_view, 3> generation_metadata{"transformers_version", "_from_model_config",
                                                                     "_commit_hash"};

inline constexpr std::array generation_fields{
    GenerationField{"use_cache", "Keys and values are always kept; answers are the same", detail::is_boolean},
    GenerationField{"cache_implementation",
                    "No effect where it only says in what memory the cache is; \"quantized\" is an error: the cache's "
                    "type is part of the model's (WithKv)",
                    detail::is_plain_cache},
    GenerationField{"cache_config", "No effect: of a quantized cache only", detail::any_value},
    GenerationField{"max_cache_len", "No effect: the cache grows with the answer", detail::is_number},
    GenerationField{"prefill_chunk_size", "No effect: GenerateOptions::prefill_chunk bounds the memory",
                    detail::is_number},
    GenerationField{"compile_config", "An error, as in transformers, where the file cannot have it", detail::no_value},
    GenerationField{"disable_compile", "No effect: nothing is compiled while it runs", detail::is_boolean},
    GenerationField{"low_memory", "true is an error with beams, as in transformers", detail::is_false,
                    RefusedSetting::When::beams},
    GenerationField{"return_dict_in_generate", "No effect: results are always a struct", detail::is_boolean},
    GenerationField{"decoder_start_token_id", "No effect: of models with an encoder", detail::any_value},
    GenerationField{"is_assistant", "true is an error: there is no assistant model", detail::is_false},
    GenerationField{"num_assistant_tokens", "No effect: of an assistant model", detail::is_number},
    GenerationField{"num_assistant_tokens_schedule", "No effect: of an assistant model", detail::any_value},
    GenerationField{"assistant_confidence_threshold", "No effect: of an assistant model", detail::is_number},
    GenerationField{"assistant_lookbehind", "No effect: of an assistant model", detail::is_number},
    GenerationField{"target_lookbehind", "No effect: of an assistant model", detail::is_number},
    GenerationField{"assistant_ensemble_weight",
                    "No effect: of an assistant model; must be between 0 and 1, as in transformers", detail::is_share},
    GenerationField{"assistant_early_exit", "An error: this model has no early exit", detail::no_value},
    GenerationField{"speculation_type", "No effect: of an assistant model", detail::any_value},
    GenerationField{"use_mtp", "true is an error: this model has no heads for further tokens", detail::is_false},
    GenerationField{
        "penalty_alpha",
        "Above 0 an error in greedy search with top_k above 1: contrastive search, which transformers takes "
        "from the Hub",
        [](const nlohmann::json& value) { return value.is_number() && value.get<double>() <= 0.0; },
        RefusedSetting::When::greedy_top_k},
    GenerationField{"dola_layers", "An error but with beams: DoLa, which transformers takes from the Hub",
                    detail::no_value, RefusedSetting::When::one_beam},
    GenerationField{"num_beam_groups",
                    "Above 1 an error with beams: group beam search, which transformers takes from the Hub",
                    [](const nlohmann::json& value) { return value.is_number() && value.get<double>() <= 1.0; },
                    RefusedSetting::When::beams},
    GenerationField{"diversity_penalty", "No effect: of group beam search", detail::is_number},
    GenerationField{"constraints", "An error: constrained beam search, which transformers takes from the Hub",
                    detail::no_value},
    GenerationField{"force_words_ids", "An error: constrained beam search, which transformers takes from the Hub",
                    detail::no_value},
    GenerationField{"continuous_batching_config", "No effect: of generate_batch", detail::any_value}};

}  // namespace qwen3vl

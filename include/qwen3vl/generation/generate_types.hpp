/// Options and result of generate().
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "qwen3vl/backend/host_tensor.hpp"
#include "qwen3vl/config/generation_config.hpp"
#include "qwen3vl/generation/logits_processors.hpp"
#include "qwen3vl/generation/sampler.hpp"

namespace qwen3vl {

/// Why a row ended.
enum class FinishReason {
  stop,       ///< an eos token
  length,     ///< max_new_tokens
  cancelled,  ///< the streamer said so
};

constexpr const char* name_of(FinishReason reason) {
  return reason == FinishReason::stop ? "stop" : reason == FinishReason::length ? "length" : "cancelled";
}

/// Arguments of generate(). What is not set comes from the model's generation_config, as in transformers.
struct GenerateOptions {
  std::optional<index_t> max_new_tokens{};
  std::optional<bool> do_sample{};
  std::optional<float> temperature{};
  std::optional<index_t> top_k{};
  std::optional<float> top_p{};
  std::optional<float> min_p{};
  std::optional<float> repetition_penalty{};
  std::optional<index_t> no_repeat_ngram_size{};
  std::optional<std::vector<TokenId>> eos_token_id{};
  std::optional<TokenId> pad_token_id{};
  std::optional<std::uint64_t> seed{};
  /// Called with every new token (eos too) of a row as it is chosen; false ends the row.
  std::function<bool(index_t row, TokenId token)> streamer{};
  std::vector<LogitsProcessor> logits_processors{};  ///< the caller's own, after the configured ones
  bool output_logits = false;                        ///< keep the raw logits of every step
  /// Prompt tokens of a row that are computed at once; bounds the memory of activations, does not change the result.
  index_t prefill_chunk = 512;

  /// `config` with what is set here.
  GenerationConfig applied_to(GenerationConfig config) const {
    const auto set = [](const auto& option, auto& field) {
      if (option) field = *option;
    };
    if (max_new_tokens) config.max_new_tokens = max_new_tokens;
    set(do_sample, config.do_sample);
    set(temperature, config.temperature);
    set(top_k, config.top_k);
    set(top_p, config.top_p);
    set(min_p, config.min_p);
    set(repetition_penalty, config.repetition_penalty);
    set(no_repeat_ngram_size, config.no_repeat_ngram_size);
    set(eos_token_id, config.eos_token_id);
    if (pad_token_id) config.pad_token_id = pad_token_id;
    if (seed) config.seed = seed;
    return config;
  }
};

/// How long the parts took, and of how many tokens.
struct GenerationTimings {
  index_t prompt_tokens = 0;    ///< of all rows, pictures included
  index_t computed_tokens = 0;  ///< of them not in the prompt cache
  index_t new_tokens = 0;
  double vision_seconds = 0.0;   ///< vision tower
  double prefill_seconds = 0.0;  ///< text model over the prompt, and the first new token
  double decode_seconds = 0.0;   ///< all further tokens
};

struct GenerateOutput {
  HostMatrix<TokenId> sequences;                 ///< [B, S + n]: prompts, new tokens, pad tokens behind finished rows
  std::vector<std::vector<TokenId>> new_tokens;  ///< of each row, its eos included
  std::vector<FinishReason> finish_reasons;      ///< of each row
  HostCube<float> logits;                        ///< [B, n, vocab_size] if asked for
  GenerationTimings timings;
};

}  // namespace qwen3vl

/// Logits processors about certain tokens: eos, forced, suppressed and biased ones.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <map>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "qwen3vl/config/generation_config.hpp"
#include "qwen3vl/generation/logits/logits_processor.hpp"

namespace qwen3vl {

/// Removes the eos tokens until the answer has `minimum` tokens.
class MinNewTokensLengthLogitsProcessor {
 public:
  static constexpr std::string_view name = "MinNewTokensLengthLogitsProcessor";

  MinNewTokensLengthLogitsProcessor(index_t minimum, std::vector<TokenId> eos)
      : minimum_(static_cast<std::size_t>(minimum)), eos_(std::move(eos)) {
    if (minimum < 0) fail("min_new_tokens is ", minimum, "; give 0 to turn it off");
  }

  void operator()(std::span<const TokenId> ids, std::size_t prompt_tokens, std::span<float> scores) const {
    if (ids.size() - prompt_tokens >= minimum_) return;
    detail::remove_tokens(eos_, scores);
  }

 private:
  std::size_t minimum_;
  std::vector<TokenId> eos_;
};

/// Adds a bias to tokens that would complete a run of tokens. Of equal runs the last bias counts.
class SequenceBiasLogitsProcessor {
 public:
  static constexpr std::string_view name = "SequenceBiasLogitsProcessor";

  explicit SequenceBiasLogitsProcessor(const std::vector<SequenceBias>& sequence_bias)
      : SequenceBiasLogitsProcessor(sequence_bias, "sequence_bias") {
    if (sequence_bias.empty()) fail("sequence_bias is empty; leave it out");
  }

  void operator()(std::span<const TokenId> ids, std::span<float> scores) const {
    std::unordered_map<std::size_t, float> sums;  // of the biased tokens
    for (const auto& [run, bias] : biases_) {
      const std::size_t last = detail::score_index(run.back(), scores, name_);
      const auto before = std::span(run).first(run.size() - 1);
      if (before.size() > ids.size() || !std::ranges::equal(before, ids.last(before.size()))) continue;
      sums[last] += bias;
    }
    for (const auto& [i, bias] : sums) scores[i] += bias;
  }

 protected:
  SequenceBiasLogitsProcessor(const std::vector<SequenceBias>& sequence_bias, std::string_view option) : name_(option) {
    for (const SequenceBias& entry : sequence_bias) {
      if (entry.ids.empty()) fail(option, " has a run of no tokens");
      for (const TokenId id : entry.ids)
        if (id < 0) fail(option, " has token ", id, "; a token id is at least 0");
      if (std::isnan(entry.bias)) fail(option, " has a bias that is NaN");
      biases_[entry.ids] = entry.bias;
    }
  }

 private:
  std::string_view name_;
  std::map<std::vector<TokenId>, float> biases_;
};

/// Removes tokens that would complete one of some runs of tokens; an eos token alone is not removed.
class NoBadWordsLogitsProcessor : public SequenceBiasLogitsProcessor {
 public:
  static constexpr std::string_view name = "NoBadWordsLogitsProcessor";

  NoBadWordsLogitsProcessor(const std::vector<std::vector<TokenId>>& bad_words_ids, std::span<const TokenId> eos)
      : SequenceBiasLogitsProcessor(biases(bad_words_ids, eos), "bad_words_ids") {
    if (bad_words_ids.empty()) fail("bad_words_ids is empty; leave it out");
  }

 private:
  static std::vector<SequenceBias> biases(const std::vector<std::vector<TokenId>>& bad_words_ids,
                                          std::span<const TokenId> eos) {
    std::vector<SequenceBias> all;
    for (const std::vector<TokenId>& run : bad_words_ids)
      if (run.size() != 1 || std::ranges::find(eos, run.front()) == eos.end()) all.push_back({run, removed_score});
    return all;
  }
};

/// Removes some tokens.
class SuppressTokensLogitsProcessor {
 public:
  static constexpr std::string_view name = "SuppressTokensLogitsProcessor";

  explicit SuppressTokensLogitsProcessor(std::vector<TokenId> tokens) : tokens_(std::move(tokens)) {}

  void operator()(std::span<const TokenId>, std::span<float> scores) const { detail::remove_tokens(tokens_, scores); }

 private:
  std::vector<TokenId> tokens_;
};

/// Removes some tokens where an answer has `begin` tokens.
class SuppressTokensAtBeginLogitsProcessor {
 public:
  static constexpr std::string_view name = "SuppressTokensAtBeginLogitsProcessor";

  explicit SuppressTokensAtBeginLogitsProcessor(std::vector<TokenId> tokens, std::size_t begin = 0)
      : tokens_(std::move(tokens)), begin_(begin) {}

  void operator()(std::span<const TokenId> ids, std::size_t prompt_tokens, std::span<float> scores) const {
    if (ids.size() - prompt_tokens == begin_) detail::remove_tokens(tokens_, scores);
  }

 private:
  std::vector<TokenId> tokens_;
  std::size_t begin_;
};

/// Leaves only some tokens, with a score of 0, where an answer has `place` tokens.
class ForcedTokensLogitsProcessor {
 public:
  ForcedTokensLogitsProcessor(std::size_t place, std::vector<TokenId> tokens, std::string_view option)
      : place_(place), tokens_(std::move(tokens)), option_(option) {}

  void operator()(std::span<const TokenId> ids, std::size_t prompt_tokens, std::span<float> scores) const {
    if (ids.size() - prompt_tokens != place_) return;
    std::ranges::fill(scores, removed_score);
    for (const TokenId id : tokens_) scores[detail::score_index(id, scores, option_)] = 0.0f;
  }

 private:
  std::size_t place_;
  std::vector<TokenId> tokens_;
  std::string_view option_;
};

/// Forces the first token of the answer to a prompt of one token.
class ForcedBOSTokenLogitsProcessor : public ForcedTokensLogitsProcessor {
 public:
  static constexpr std::string_view name = "ForcedBOSTokenLogitsProcessor";

  explicit ForcedBOSTokenLogitsProcessor(TokenId token)
      : ForcedTokensLogitsProcessor(0, {token}, "forced_bos_token_id") {}
};

/// Forces the last token of an answer of `limit` tokens, to one of some.
class ForcedEOSTokenLogitsProcessor : public ForcedTokensLogitsProcessor {
 public:
  static constexpr std::string_view name = "ForcedEOSTokenLogitsProcessor";

  ForcedEOSTokenLogitsProcessor(index_t limit, std::vector<TokenId> tokens)
      : ForcedTokensLogitsProcessor(static_cast<std::size_t>(limit - 1), std::move(tokens), "forced_eos_token_id") {}
};

/// See LengthDecay.
class ExponentialDecayLengthPenalty {
 public:
  static constexpr std::string_view name = "ExponentialDecayLengthPenalty";

  ExponentialDecayLengthPenalty(LengthDecay decay, std::vector<TokenId> eos) : decay_(decay), eos_(std::move(eos)) {
    if (eos_.empty()) fail("exponential_decay_length_penalty needs an eos token");
    std::ranges::sort(eos_);
    eos_.erase(std::unique(eos_.begin(), eos_.end()), eos_.end());
  }

  void operator()(std::span<const TokenId> ids, std::size_t prompt_tokens, std::span<float> scores) const {
    const auto further = static_cast<index_t>(ids.size() - prompt_tokens) - decay_.start_index;
    if (further <= 0) return;
    const auto growth =
        static_cast<float>(std::pow(static_cast<double>(decay_.decay_factor), static_cast<double>(further)) - 1.0);
    for (const TokenId id : eos_) {
      float& score = scores[detail::score_index(id, scores, name)];
      if (std::isfinite(score)) score += std::abs(score) * growth;
    }
  }

 private:
  LengthDecay decay_;
  std::vector<TokenId> eos_;
};

/// NaN becomes 0, infinities the largest numbers of their sign.
class InfNanRemoveLogitsProcessor {
 public:
  static constexpr std::string_view name = "InfNanRemoveLogitsProcessor";

  void operator()(std::span<const TokenId>, std::span<float> scores) const {
    constexpr float most = std::numeric_limits<float>::max();
    for (float& score : scores) score = std::isnan(score) ? 0.0f : std::clamp(score, -most, most);
  }
};

/// Scores become log-probabilities.
class LogitNormalization {
 public:
  static constexpr std::string_view name = "LogitNormalization";

  void operator()(std::span<const TokenId>, std::span<float> scores) const { detail::log_softmax(scores); }
};

/// Which tokens may follow `ids` (the prompt and the answer so far) in an answer to the prompt of that number; at least
/// one.
using PrefixAllowedTokens = std::function<std::vector<TokenId>(index_t prompt, std::span<const TokenId> ids)>;

/// Removes all tokens that a function does not allow. If earlier processors have left none of them to any beam of the
/// prompt, the allowed ones get a score of 0.
class PrefixConstrainedLogitsProcessor {
 public:
  static constexpr std::string_view name = "PrefixConstrainedLogitsProcessor";

  explicit PrefixConstrainedLogitsProcessor(PrefixAllowedTokens allowed) : allowed_(std::move(allowed)) {
    if (!allowed_) fail("prefix_allowed_tokens_fn is an empty function");
  }

  void operator()(std::span<const LogitsRow> rows) const {
    std::vector<std::vector<TokenId>> allowed;
    bool satisfiable = false;
    for (const LogitsRow& row : rows) {
      allowed.push_back(allowed_(row.prompt, row.ids));
      if (allowed.back().empty())
        fail("prefix_allowed_tokens_fn allows no token after ", row.new_ids().size(),
             " tokens of the answer to prompt ", row.prompt);
      std::vector<float> kept(row.scores.size(), removed_score);
      for (const TokenId id : allowed.back()) {
        const std::size_t i = detail::score_index(id, row.scores, "prefix_allowed_tokens_fn");
        kept[i] = row.scores[i];
        satisfiable |= kept[i] != removed_score;
      }
      std::ranges::copy(kept, row.scores.begin());
    }
    if (satisfiable) return;
    for (std::size_t r = 0; r < rows.size(); ++r)
      for (const TokenId id : allowed[r]) rows[r].scores[static_cast<std::size_t>(id)] = 0.0f;
  }

 private:
  PrefixAllowedTokens allowed_;
};

}  // namespace qwen3vl

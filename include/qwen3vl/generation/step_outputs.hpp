/// The attention weights and hidden states of a generation, step by step, in the padded form of transformers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "qwen3vl/generation/generate_types.hpp"
#include "qwen3vl/inputs/packing.hpp"
#include "qwen3vl/model/for_conditional_generation.hpp"

namespace qwen3vl::detail {

/// Writes what the layers record of each pass to GenerateOutput::attentions and hidden_states. Step 0 has the tokens of
/// the prompts, step k > 0 new token k - 1 of each row, whatever passes they were computed in.
template <class Model>
class StepOutputs {
  using V = typename Model::VariantType;
  using B = typename Model::BackendType;
  static constexpr index_t hidden = V::config.text.hidden_size, heads = V::config.text.num_attention_heads;
  static constexpr auto layers = static_cast<std::size_t>(V::config.text.num_hidden_layers);

 public:
  using Record = TextRecord<V, B, typename Model::PrecisionType>;

  /// `prompts`: where the prompts' tokens are in their padded form; each has `copies` rows of the output.
  StepOutputs(const GenerationConfig& config, const PackedTokens& prompts, index_t copies, GenerateOutput& output)
      : attentions_(config.output_attentions),
        hidden_states_(config.output_hidden_states),
        prompts_(prompts),
        copies_(copies),
        output_(output) {}

  /// To be filled by a pass.
  Record record() const { return text_record<V, B, typename Model::PrecisionType>(hidden_states_, attentions_); }

  /// Before the prompts are computed: `cached` tokens of each are not.
  void begin(std::span<const index_t> cached) {
    first_column_ = prompts_.length;
    for (index_t b = 0; b < prompts_.batch; ++b)
      first_column_ = std::min(first_column_, column(b, cached[static_cast<std::size_t>(b)]));
    allocate(0);
  }

  /// Keeps the record of a pass over `sequences`, which had `before` tokens each. Sequence s is row s * rows_each.
  void add(Context<B>& ctx, const Record& record, const Segments& sequences, std::span<const index_t> before,
           index_t rows_each) {
    std::vector<std::vector<float>> states;             // [layer][tokens * hidden_size]
    std::vector<std::vector<HostCube<float>>> weights;  // [layer][sequence], [heads, new tokens, all tokens]
    for (const auto& of_layer : record.hidden_states) states.push_back(download_floats(ctx, of_layer.view()));
    for (const auto& of_layer : record.attentions) weights.push_back(to_host(ctx, of_layer));
    for (index_t s = 0; s < sequences.count(); ++s) {
      const index_t row = s * rows_each, prompt = row / copies_, first = before[static_cast<std::size_t>(s)];
      std::vector<index_t> columns;
      if (sequences.length(s) > 0)
        for (index_t place = 0; place < first + sequences.length(s); ++place) columns.push_back(column(prompt, place));
      for (index_t i = 0; i < sequences.length(s); ++i) {
        const index_t place = first + i, behind = place + 1 - prompts_.sequences.length(prompt);
        const auto step = static_cast<std::size_t>(std::max<index_t>(0, behind));
        const index_t query = step == 0 ? columns[static_cast<std::size_t>(place)] - first_column_ : 0;
        while (steps_ <= step) allocate(steps_);
        for (std::size_t layer = 0; layer < states.size(); ++layer)
          std::copy_n(states[layer].data() + (sequences.offset(s) + i) * hidden, hidden,
                      &output_.hidden_states[step][layer](row, query, index_t{0}));
        for (std::size_t layer = 0; layer < weights.size(); ++layer)
          for (index_t h = 0; h < heads; ++h) {
            const float* const from = &weights[layer][static_cast<std::size_t>(s)](h, i, index_t{0});
            float* const to = &output_.attentions[step][layer](row, h, query, index_t{0});
            for (std::size_t key = 0; key <= static_cast<std::size_t>(place); ++key) to[columns[key]] = from[key];
          }
      }
    }
  }

  /// After the prompts have been computed, each in its first row: the others are equal.
  void share() {
    each_tensor(0, [&](auto& tensor) {
      for (index_t row = 0; row < tensor.rows(); ++row)
        if (const index_t first = row / copies_ * copies_; first != row)
          std::ranges::copy(tensor[first].span(), tensor[row].span().begin());
    });
  }

  /// Clears what followed wrong guesses: a row has as many steps as `new_tokens`.
  void finish(std::span<const std::vector<TokenId>> new_tokens) {
    std::size_t most = 0;
    for (const auto& of_row : new_tokens) most = std::max(most, of_row.size());
    if (attentions_) output_.attentions.resize(most);
    if (hidden_states_) output_.hidden_states.resize(most);
    for (std::size_t row = 0; row < new_tokens.size(); ++row)
      for (std::size_t step = new_tokens[row].size(); step < most; ++step)
        each_tensor(step, [&](auto& tensor) { std::ranges::fill(tensor[static_cast<index_t>(row)].span(), 0.0f); });
  }

 private:
  /// Of a token of a prompt, or behind it: the place-th of its sequence.
  index_t column(index_t prompt, index_t place) const {
    const index_t length = prompts_.sequences.length(prompt);
    if (place >= length) return prompts_.length + place - length;
    return prompts_.source[static_cast<std::size_t>(prompts_.sequences.offset(prompt) + place)] % prompts_.length;
  }

  void allocate(std::size_t step) {
    const index_t rows = prompts_.batch * copies_;
    const index_t queries = step == 0 ? prompts_.length - first_column_ : 1;
    const index_t keys = prompts_.length + static_cast<index_t>(step);
    if (attentions_) {
      auto& of_step = output_.attentions.emplace_back();
      for (std::size_t layer = 0; layer < layers; ++layer) of_step.emplace_back(rows, heads, queries, keys);
    }
    if (hidden_states_) {
      auto& of_step = output_.hidden_states.emplace_back();
      for (std::size_t layer = 0; layer <= layers; ++layer) of_step.emplace_back(rows, queries, hidden);
    }
    ++steps_;
  }

  template <class F>
  void each_tensor(std::size_t step, F&& f) {
    if (attentions_) std::ranges::for_each(output_.attentions[step], f);
    if (hidden_states_) std::ranges::for_each(output_.hidden_states[step], f);
  }

  bool attentions_, hidden_states_;
  const PackedTokens& prompts_;
  index_t copies_, first_column_ = 0;
  std::size_t steps_ = 0;
  GenerateOutput& output_;
};

}  // namespace qwen3vl::detail

/// Qwen3-VL-Reranker: how well a document answers a query, from 0 to 1.
///
///   using Model = qwen3vl::ForReranker<qwen3vl::Qwen3VL_2B, qwen3vl::Cpu, qwen3vl::Bf16>;
///   const RerankerProcessor processor(Processor::from_pretrained(folder)); //
///   processing/retrieval/reranker_prompts.hpp auto model = Model::from_pretrained(folder, cpu, processor.tokens()); //
///   loading/pretrained_retrieval.hpp auto scores = model(processor.prompts(input));
#pragma once

#include <cmath>
#include <cstddef>
#include <filesystem>
#include <numeric>
#include <utility>
#include <vector>

#include "qwen3vl/inputs/reranker_tokens.hpp"
#include "qwen3vl/model/for_conditional_generation.hpp"

namespace qwen3vl {

/// sigmoid((row of "yes" - row of "no") x last hidden state of the last token), as QwenLM/Qwen3-VL-Embedding computes
/// it: the probability of "yes" beside "no". Of the head only the difference of the two rows is kept, in f32.
template <Variant V, Backend B, class P>
class ForReranker {
  static constexpr index_t hidden = V::config.text.hidden_size;
  ForConditionalGeneration<V, B, P> base_;
  std::vector<float> yes_minus_no_;

 public:
  using VariantType = V;
  using BackendType = B;
  using PrecisionType = P;

  /// `base` may have no head. Throws Error unless `yes_minus_no` has hidden_size values.
  ForReranker(ForConditionalGeneration<V, B, P> base, std::vector<float> yes_minus_no)
      : base_(std::move(base)), yes_minus_no_(std::move(yes_minus_no)) {
    if (yes_minus_no_.size() != std::size_t{hidden})
      fail("a row of the head has ", yes_minus_no_.size(), " values, wanted ", hidden);
  }

  /// Loads a checkpoint folder, or a name in the Hub's cache, as ForConditionalGeneration does; the two rows as they
  /// are stored, whatever the precision. Defined in loading/pretrained_retrieval.hpp, which reads files.
  static ForReranker from_pretrained(const std::filesystem::path& checkpoint, B& backend, const RerankerTokens& tokens,
                                     const PretrainedOptions& options = {});

  /// The score of each prompt, in one pass over all of them, packed. Throws Error for prompts without tokens.
  std::vector<float> operator()(const Prompts& prompts) {
    const HostMatrix<float> states = base_.last_token_states(prompts);
    std::vector<float> scores;
    for (index_t b = 0; b < states.rows(); ++b) {
      const double difference = std::inner_product(yes_minus_no_.begin(), yes_minus_no_.end(), states[b].data(), 0.0);
      scores.push_back(static_cast<float>(1.0 / (1.0 + std::exp(-difference))));
    }
    return scores;
  }

  Context<B>& context() { return base_.context(); }
  const RuntimeConfig& config() const { return base_.config(); }
  const Qwen3VLModel<V, B, P>& model() const { return base_.model(); }
};

}  // namespace qwen3vl

/// Qwen3-VL-Embedding (Qwen3VLForEmbedding): texts, images and videos to vectors whose scalar products say how alike
/// they are.
///
///   using Model = qwen3vl::ForEmbedding<qwen3vl::Qwen3VL_2B, qwen3vl::Cpu, qwen3vl::Bf16>;
///   auto model = Model::from_pretrained("path/to/Qwen3-VL-Embedding-2B", cpu);   // loading/pretrained_retrieval.hpp
///   auto vectors = model(prompts);               // prompts: processing/retrieval/embedding_prompts.hpp
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <span>
#include <utility>

#include "qwen3vl/model/for_conditional_generation.hpp"

namespace qwen3vl {

/// What is made of the last hidden state.
struct EmbeddingOptions {
  index_t dimensions = 0;  ///< the first so many only (MRL), cut before they are normalised; 0: all, hidden_size
  bool normalize = true;   ///< to a length (L2) of 1
};

/// The last hidden state of a prompt's last token, as QwenLM/Qwen3-VL-Embedding pools it. There is no head: a
/// checkpoint may have none, and the memory of one is not taken.
template <Variant V, Backend B, class P>
class ForEmbedding {
  static constexpr index_t hidden = V::config.text.hidden_size;
  ForConditionalGeneration<V, B, P> base_;

 public:
  using VariantType = V;
  using BackendType = B;
  using PrecisionType = P;

  /// Of a model that is loaded, with or without a head.
  explicit ForEmbedding(ForConditionalGeneration<V, B, P> base) : base_(std::move(base)) {}

  /// Loads a checkpoint folder, or a name in the Hub's cache, as ForConditionalGeneration does. Defined in
  /// loading/pretrained_retrieval.hpp, which reads files.
  static ForEmbedding from_pretrained(const std::filesystem::path& checkpoint, B& backend,
                                      const PretrainedOptions& options = {});

  /// The embeddings [B, dimensions] of prompts, in one pass over all of them, packed. Throws Error for prompts without
  /// tokens and for more dimensions than there are.
  HostMatrix<float> operator()(const Prompts& prompts, const EmbeddingOptions& options = {}) {
    if (options.dimensions < 0 || options.dimensions > hidden)
      fail("dimensions is ", options.dimensions, "; this model has embeddings of ", hidden);
    const HostMatrix<float> states = base_.last_token_states(prompts);
    HostMatrix<float> embeddings(states.rows(), options.dimensions == 0 ? hidden : options.dimensions);
    for (index_t b = 0; b < states.rows(); ++b) {
      const std::span<float> row = embeddings[b].span();
      std::copy_n(states[b].data(), row.size(), row.data());
      if (!options.normalize) continue;
      double squares = 0.0;
      for (const float value : row) squares += static_cast<double>(value) * static_cast<double>(value);
      const double length = std::max(std::sqrt(squares), 1e-12);  // as torch.nn.functional.normalize
      for (float& value : row) value = static_cast<float>(static_cast<double>(value) / length);
    }
    return embeddings;
  }

  Context<B>& context() { return base_.context(); }
  const RuntimeConfig& config() const { return base_.config(); }
  const Qwen3VLModel<V, B, P>& model() const { return base_.model(); }
};

}  // namespace qwen3vl

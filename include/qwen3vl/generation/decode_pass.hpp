/// One more token for each of some sequences, on a backend that decodes on its device (backend/contract/decoding.hpp):
/// ids, positions and lengths stay there between passes, a pass is recorded once per shape and then repeated, and the
/// host waits for one id per token.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "qwen3vl/backend/contract/decoding.hpp"
#include "qwen3vl/generation/sampler.hpp"
#include "qwen3vl/layers/attention.hpp"
#include "qwen3vl/model/for_conditional_generation.hpp"

namespace qwen3vl {

/// A sequence to continue by one token.
struct DecodeRow {
  index_t sequence = 0;            ///< of the cache
  TokenId token = 0;               ///< its last token, not in the cache yet
  std::int32_t positions[3] = {};  ///< of that token
};

/// Counts of recordings and repeated passes.
struct DecodeCounts {
  index_t passes = 0;
  index_t recordings = 0;  ///< passes that were recorded
  index_t repeated = 0;    ///< passes that ran a recording, including its first run
};

template <class Model>
requires DecodesOnDevice<typename Model::BackendType>
class DecodePass {
  using B = typename Model::BackendType;
  static constexpr index_t vocab = Model::vocab_size;
  template <class T>
  using Mailbox = typename B::template Mailbox<T>;

 public:
  using Cache = typename Model::Cache;

  /// Whether passes of this model can be recorded: rope frequencies are fixed, and attention's memory does not depend
  /// on the length.
  static bool takes(const Model& model) {
    const std::string& rope = model.config().rope.rope_type;
    return attention_policy::records<attention_t<typename Model::PrecisionType>> && vocab <= largest_sampled_vocab &&
           rope != "dynamic" && rope != "longrope";
  }

  /// Passes over at most `most` sequences of `cache`. Model and cache must outlive it.
  DecodePass(Model& model, Cache& cache, index_t most)
      : model_(model),
        cache_(cache),
        ctx_(model.context().backend()),
        most_(most),
        ids_(most),
        positions_(3 * most),
        uniforms_(most),
        settings_(most),
        logits_(most) {}

  /// Sets the rows of the following passes, in ascending order of their sequences, and their sampling settings.
  void begin(std::span<const DecodeRow> rows, const SamplingSettings& settings) {
    if (sending_) ctx_.backend().synchronize();  // the previous call's values may still be in flight
    sending_ = true;
    rows_ = static_cast<index_t>(rows.size());
    if (rows_ < 1 || rows_ > most_) fail("a decoding pass over ", rows_, " sequences, made for 1 to ", most_);
    new_tokens_.assign(static_cast<std::size_t>(cache_.sequences()), 0);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (i > 0 && rows[i].sequence <= rows[i - 1].sequence)
        fail("the sequences of a decoding pass are not in ascending order");
      new_tokens_.at(static_cast<std::size_t>(rows[i].sequence)) = 1;
      ids_.host()[i] = rows[i].token;
      for (std::size_t axis = 0; axis < 3; ++axis) positions_.host()[axis * rows.size() + i] = rows[i].positions[axis];
      settings_.host()[i] = settings;
    }
    sequences_ = Segments(new_tokens_);
    ids_.send(ctx_, rows_);
    positions_.send(ctx_, 3 * rows_);
    settings_.send(ctx_, rows_);
    forget();
  }

  /// Appends each row's last token to the cache and chooses its next one; `uniforms` [rows] are the random numbers, if
  /// the rows sample. The ids [rows] are valid until the next call. Throws Error for unusable scores.
  std::span<const TokenId> operator()(std::span<const double> uniforms) {
    cache_.prepare(new_tokens_);
    cache_.upload(ctx_);
    if (cache_.capacity() != capacity_) forget();
    capacity_ = cache_.capacity();
    std::ranges::copy(uniforms, uniforms_.host().begin());
    if (recording_.recorded()) {
      recording_.start(ctx_);
      cache_.commit();
      cache_.advanced();
      ++counts_.repeated;
    } else if (warm_) {
      ctx_.workspace().settle();
      recording_.record(ctx_, [&] { pass(); });
      ++counts_.recordings;
      ++counts_.repeated;
    } else {
      pass();  // allocates scratch memory and loads kernels and algorithms
      warm_ = true;
    }
    ++counts_.passes;
    ctx_.backend().synchronize();
    sending_ = false;
    const auto ids = std::span<const TokenId>(ids_.host()).first(static_cast<std::size_t>(rows_));
    for (index_t i = 0; i < rows_; ++i)
      if (ids[static_cast<std::size_t>(i)] < 0) complain(i);
    return ids;
  }

  const DecodeCounts& counts() const { return counts_; }
  /// The logits [rows, vocab_size] that the last pass chose from.
  View<const float, B, dynamic, vocab> logits() const { return logits_.view().slice(0, rows_); }

 private:
  void pass() {
    const View<TokenId, B, dynamic> ids(ids_.device().data(), rows_);
    const View<std::int32_t, B, 3, dynamic> positions(positions_.device().data(), rows_);
    const View<float, B, dynamic, vocab> logits(logits_.data(), rows_);
    uniforms_.send(ctx_, rows_);
    model_.next_logits(ctx_, ids, positions, sequences_, cache_, logits);
    sample(ctx_, logits, View<const SamplingSettings, B, dynamic>(settings_.device().data(), rows_),
           View<const double, B, dynamic>(uniforms_.device().data(), rows_), ids);
    ids_.receive(ctx_, rows_);
    advance(ctx_, sequences_, cache_, positions);
  }

  /// The recording is no longer valid.
  void forget() {
    recording_.clear();
    warm_ = false;
  }

  [[noreturn]] void complain(index_t row) {
    detail::best_score(download_floats(ctx_, logits_.view().slice(row, 1)));  // throws the reason
    fail("no token could be chosen for row ", row, " of the pass");
  }

  Model& model_;
  Cache& cache_;
  Context<B> ctx_;  // separate, because a recorded pass keeps using its scratch memory
  const index_t most_;
  index_t rows_ = 0;
  std::vector<index_t> new_tokens_;  // of each sequence of the cache
  Segments sequences_;               // the same
  Mailbox<TokenId> ids_;
  Mailbox<std::int32_t> positions_;  // [3, rows]
  Mailbox<double> uniforms_;
  Mailbox<SamplingSettings> settings_;
  Tensor<float, B, dynamic, vocab> logits_;
  typename B::Recording recording_;
  bool sending_ = false;  // the values of begin() may still be in flight
  bool warm_ = false;     // a pass of this shape has run
  index_t capacity_ = 0;  // the cache's, when the pass was prepared
  DecodeCounts counts_;
};

}  // namespace qwen3vl

/// An optional extension of ops.hpp for decoding on a device: tokens are sampled on the device, and a pass is recorded
/// once and then replayed, so that the host receives only token ids and waits once per token. Used by
/// generation/decode_pass.hpp if present; the CPU has none of it.
#pragma once

#include <concepts>
#include <cstdint>
#include <span>

#include "qwen3vl/backend/contract/ops.hpp"
#include "qwen3vl/inputs/token_id.hpp"

namespace qwen3vl {

/// How the next token of a sequence is chosen; names and meanings as in GenerationConfig. One per row, in device
/// memory: the sequences of a batch may differ, and a recorded pass picks up changes.
struct SamplingSettings {
  std::int32_t do_sample = 0;  ///< 0: the best token, the lowest id among equals
  std::int32_t top_k = 0;      ///< 0: off
  float temperature = 1.0f;    ///< positive
  float top_p = 1.0f;          ///< 1: off
  float min_p = 0.0f;          ///< 0: off
};

/// What `sample` stores instead of an id: broken_scores if a score is NaN or +infinity, no_token_left if every score is
/// -infinity.
inline constexpr std::int32_t broken_scores = -1, no_token_left = -2;

/// The largest vocabulary that `sample` supports.
inline constexpr std::int64_t largest_sampled_vocab = std::int64_t{1} << 21;

/// A backend with
///   sample(ctx, logits, settings, uniforms, ids)
///       logits f32 [n, V], V at most largest_sampled_vocab; settings [n]; uniforms f64 [n] in [0, 1), for rows that
///       sample; ids int32 [n], or broken_scores or no_token_left.
///   advance(ctx, sequences, cache, positions)
///       After a pass that appended sequences.length(s) tokens to sequence s: adds as many to its length in the cache
///       on the device and to the positions int32 [3, tokens] of its rows.
///   cache.upload(ctx)   after prepare(): copies what the kernels need to know of the prepared tokens to the device
///   cache.capacity()    a recorded pass is valid until this changes
///   cache.advanced()    after commit(): a replayed pass has advanced the lengths on the device
///   B::Mailbox<T>(n)    n values on the host, host(), and on the device, device(). send(ctx, count) and receive(ctx,
///                       count) copy the first `count` of them in the order of operations, also when recorded. Sent
///                       values must not change, nor received ones be read, before backend.synchronize()
///   B::Recording        record(ctx, pass) records the operations of pass() and starts them; start(ctx) starts them
///                       again, on the same memory; recorded(); clear()
template <class B>
concept DecodesOnDevice = Backend<B> &&
    requires(detail::OpsProbe<B> p, typename B::Recording& recording, typename B::template Mailbox<double>& uniforms,
             typename B::template Mailbox<SamplingSettings>& settings, View<std::int32_t, B, 3, dynamic> positions,
             void (*pass)()) {
  sample(p.ctx, p.logits, settings.device(), uniforms.device(), p.index_mutable);
  advance(p.ctx, p.segments, p.cache, positions);
  p.cache.upload(p.ctx);
  { p.cache.capacity() } -> std::same_as<index_t>;
  p.cache.advanced();
  { uniforms.host() } -> std::same_as<std::span<double>>;
  uniforms.send(p.ctx, index_t{1});
  uniforms.receive(p.ctx, index_t{1});
  recording.record(p.ctx, pass);
  recording.start(p.ctx);
  { recording.recorded() } -> std::same_as<bool>;
  recording.clear();
  p.ctx.backend().synchronize();
};

}  // namespace qwen3vl

/// Rotary positions: the tables of cosines and sines.
#pragma once

#include <cmath>
#include <cstdint>

#include "qwen3vl/backend/host/expressions.hpp"

namespace qwen3vl {

/// Frequency i rotates by the position on its axis. The angle is rounded to float32, as in transformers: at large
/// positions that rounding is part of the result.
template <index_t S0, index_t S1, index_t S2, HostBackend B>
void rope_tables(Context<B>& ctx, eigen::In<std::int32_t, 3, dynamic> position_ids,
                 eigen::In<float, S0 + S1 + S2> inv_freq, float scaling, eigen::Out<float, dynamic, S0 + S1 + S2> cos,
                 eigen::Out<float, dynamic, S0 + S1 + S2> sin) {
  constexpr index_t frequencies = S0 + S1 + S2;
  using Scalar = eigen::scalar_t<B>;
  const index_t tokens = position_ids.extent(1);
  const TraceScope scope(ctx.trace(), [&] { return traced::by_row("rope_tables", tokens, 3, 2 * frequencies); });
  // A cosine and a sine cost as much as sixteen numbers of other operations.
  eigen::for_rows(ctx, tokens, 16 * tokens * frequencies, [&](index_t token) {
    for (index_t i = 0; i < frequencies; ++i) {
      const index_t axis = i % 3 == 1 && i < 3 * S1 ? 1 : i % 3 == 2 && i < 3 * S2 ? 2 : 0;
      const Scalar angle = static_cast<float>(position_ids(axis, token)) * inv_freq(i);
      cos(token, i) = static_cast<float>(std::cos(angle) * static_cast<Scalar>(scaling));
      sin(token, i) = static_cast<float>(std::sin(angle) * static_cast<Scalar>(scaling));
    }
  });
}

}  // namespace qwen3vl

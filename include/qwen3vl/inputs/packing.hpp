/// Converts between the padded form [B, S] of transformers and the packed form used for all computation: a single list
/// of the real tokens. Host code.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "qwen3vl/tensor/host.hpp"
#include "qwen3vl/tensor/segments.hpp"

namespace qwen3vl {

/// Which tokens of a padded batch are real, and which sequence each belongs to.
struct PackedTokens {
  index_t batch = 0;            ///< B
  index_t length = 0;           ///< S
  std::vector<index_t> source;  ///< [tokens] index b * S + s of each packed token
  Segments sequences;           ///< one per row, or more where a row holds packed sequences

  index_t tokens() const { return static_cast<index_t>(source.size()); }
};

/// Packs B rows of S tokens. `attention_mask` is empty or [B, past + S] with 1 for real tokens; only its last S columns
/// are used.
inline PackedTokens pack(index_t batch, index_t length, const HostMatrix<std::uint8_t>& attention_mask) {
  PackedTokens packed{.batch = batch, .length = length, .source = {}, .sequences = {}};
  const bool masked = attention_mask.allocated();
  if (masked && (attention_mask.rows() != batch || attention_mask.extent(1) < length))
    fail("attention_mask is [", attention_mask.rows(), ", ", attention_mask.extent(1), "], the tokens are [", batch,
         ", ", length, "]; it needs one row each, and a column for each cached and each new token");
  const index_t past = masked ? attention_mask.extent(1) - length : 0;
  for (index_t b = 0; b < batch; ++b) {
    index_t real = 0;
    for (index_t s = 0; s < length; ++s) {
      if (masked && attention_mask(b, past + s) == 0) continue;
      packed.source.push_back(b * length + s);
      ++real;
    }
    packed.sequences.append(real);
  }
  return packed;
}

/// The places of packed rows in their padded form, padded on the left.
inline PackedTokens padded_left(const Segments& rows) {
  PackedTokens packed{.batch = rows.count(), .length = rows.longest(), .source = {}, .sequences = rows};
  for (index_t b = 0; b < packed.batch; ++b)
    for (index_t s = packed.length - rows.length(b); s < packed.length; ++s)
      packed.source.push_back(b * packed.length + s);
  return packed;
}

/// Splits rows where position axis 0 does not grow by one: packed sequences, which do not attend to each other. The
/// reference does this for [4, B, S] (and [B, S]) positions without mask and cache. positions [B, S]: axis 0.
inline void split_packed_sequences(PackedTokens& packed, std::span<const std::int32_t> positions) {
  Segments split;
  for (index_t b = 0; b < packed.batch; ++b) {
    index_t run = 0;
    for (index_t s = 0; s < packed.length; ++s) {
      const auto i = static_cast<std::size_t>(b * packed.length + s);
      if (s > 0 && positions[i] != positions[i - 1] + 1) {
        split.append(run);
        run = 0;
      }
      ++run;
    }
    split.append(run);
  }
  packed.sequences = split;
}

/// Gathers the values of the packed tokens from a padded [B * S] list.
template <class T>
std::vector<T> gather(const PackedTokens& packed, std::span<const T> padded) {
  std::vector<T> values;
  values.reserve(packed.source.size());
  for (const index_t i : packed.source) values.push_back(padded[static_cast<std::size_t>(i)]);
  return values;
}

/// Rows [tokens, columns] of the packed tokens from a padded [B, S, columns].
inline HostMatrix<float> gather(const PackedTokens& packed, const HostCube<float>& padded) {
  const index_t columns = padded.extent(2);
  HostMatrix<float> rows(packed.tokens(), columns);
  for (index_t i = 0; i < packed.tokens(); ++i)
    std::copy_n(padded.data() + packed.source[static_cast<std::size_t>(i)] * columns, columns,
                rows.data() + i * columns);
  return rows;
}

/// Packed positions [3, tokens] in padded form [3, B, S]; 0 where padded.
inline HostCube<std::int32_t> unpack_positions(const PackedTokens& packed, std::span<const std::int32_t> positions) {
  HostCube<std::int32_t> padded(3, packed.batch, packed.length);
  for (index_t axis = 0; axis < 3; ++axis)
    for (index_t i = 0; i < packed.tokens(); ++i)
      padded.data()[axis * packed.batch * packed.length + packed.source[static_cast<std::size_t>(i)]] =
          positions[static_cast<std::size_t>(axis * packed.tokens() + i)];
  return padded;
}

/// Packed rows [tokens, columns] back in padded form [B, S, columns]; padded positions are 0.
inline HostCube<float> unpack(const PackedTokens& packed, std::span<const float> rows, index_t columns) {
  HostCube<float> padded(packed.batch, packed.length, columns);
  for (std::size_t i = 0; i < packed.source.size(); ++i)
    std::copy_n(rows.data() + static_cast<index_t>(i) * columns, columns, padded.data() + packed.source[i] * columns);
  return padded;
}

}  // namespace qwen3vl

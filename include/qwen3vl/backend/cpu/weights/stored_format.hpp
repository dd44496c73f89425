/// How weights of type `stored` are laid out in CPU memory where a file has them as integers with factors: in panels of
/// two strips (block_format.hpp), with the file's own integers and factors, so that nothing is rounded. Over 256
/// columns (a superblock) a panel is stored as
///
///   scales    f16 [2][width]                            (K-quants)
///   minimums  f16 [2][width]                            (q4_k, q5_k)
///   for each block of 32 columns
///     scales   f32, bf16 or f16 [2][width]              (bytes, nibbles)
///     steps    u8 or i8 [groups][2][width]              (K-quants), a group being 32 columns, of q6_k 16
///     offsets  u8 [2][width]                            (q4_k, q5_k, nibbles whose offsets differ)
///     for each group
///       high   u32 [2][width]                           (q5_k, q6_k) the bits above the lower four
///       words  u16 [vectors][2][width][2]               as in block_format.hpp: the bytes, or the lower four bits
///
/// The 16 bits of a lane of `high` that belong to the columns of one parity are those of its pairs, in order.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "qwen3vl/backend/cpu/weights/block_format.hpp"
#include "qwen3vl/tensor/dtype.hpp"
#include "qwen3vl/tensor/encoded_rows.hpp"

namespace qwen3vl::cpu_kernels {

/// What the formats have in common. `zero` is subtracted from every stored integer.
struct StoredFormat {
  static constexpr index_t group_columns = block_columns;
  static constexpr int high_bits = 0, zero = 0;
  /// Whether each block has a scale, rather than a superblock with integer steps.
  static constexpr bool has_block_scales = false;
  static constexpr bool has_minimums = false, has_offsets = false;
  using Step = std::uint8_t;
};
template <class S>
struct FlatFormat : StoredFormat {
  using Scale = S;
  static constexpr bool has_block_scales = true;
};
/// w = scale * q.
template <class S>
struct BytesFormat : FlatFormat<S> {
  using Words = BlockFormat<q8>;
};
/// w = scale * (q - 8).
template <class S>
struct NibblesFormat : FlatFormat<S> {
  using Words = BlockFormat<q4>;
  static constexpr int zero = 8;
};
/// w = scale * (q - offset).
template <class S>
struct OffsetNibblesFormat : FlatFormat<S> {
  using Words = BlockFormat<q4>;
  static constexpr bool has_offsets = true;
};
/// w = scale * step * q - minimum * offset.
struct Q4KFormat : StoredFormat {
  using Words = BlockFormat<q4>;
  using Scale = f16;
  static constexpr bool has_minimums = true, has_offsets = true;
};
struct Q5KFormat : Q4KFormat {
  static constexpr int high_bits = 1;
};
/// w = scale * step * (q - 32).
struct Q6KFormat : StoredFormat {
  using Words = BlockFormat<q4>;
  using Scale = f16;
  using Step = std::int8_t;
  static constexpr index_t group_columns = 16;
  static constexpr int high_bits = 2, zero = 32;
};

/// The largest |step * q| of all formats with steps, that of q6_k: bounds the sums of a superblock.
inline constexpr index_t largest_stored_weight = 128 * 32;

/// Places in bytes inside a superblock.
template <class F>
struct StoredLayout {
  using Format = F;
  static constexpr index_t width = simd::width;
  static constexpr index_t vector_bytes = width * 4;
  static constexpr index_t groups = block_columns / F::group_columns;  ///< of a block
  /// Vectors of words of a block and of a group.
  static constexpr index_t vectors = block_columns / (2 * F::Words::per_word), group_vectors = vectors / groups;

  static constexpr index_t head_bytes =
      F::has_block_scales ? 0 : 2 * width * static_cast<index_t>(sizeof(typename F::Scale)) * (F::has_minimums ? 2 : 1);
  static constexpr index_t steps_at =
      F::has_block_scales ? 2 * width * static_cast<index_t>(sizeof(typename F::Scale)) : 0;
  static constexpr index_t offsets_at = steps_at + (F::has_block_scales ? 0 : groups * 2 * width);
  static constexpr index_t words_at = offsets_at + (F::has_offsets ? 2 * width : 0);
  static constexpr index_t high_bytes = F::high_bits > 0 ? 2 * vector_bytes : 0;
  static constexpr index_t group_bytes = high_bytes + group_vectors * 2 * vector_bytes;
  static constexpr index_t block_bytes = words_at + groups * group_bytes;

  static constexpr index_t bytes(index_t blocks) { return head_bytes + blocks * block_bytes; }
  static constexpr index_t block(index_t b) { return bytes(b); }
  static constexpr index_t minimums(index_t strip) {
    return (2 + strip) * width * static_cast<index_t>(sizeof(typename F::Scale));
  }
  static constexpr index_t scales(index_t b, index_t strip) {
    return (F::has_block_scales ? block(b) : 0) + strip * width * static_cast<index_t>(sizeof(typename F::Scale));
  }
  static constexpr index_t steps(index_t b, index_t group, index_t strip) {
    return block(b) + steps_at + (group * 2 + strip) * width;
  }
  static constexpr index_t offsets(index_t b, index_t strip) { return block(b) + offsets_at + strip * width; }
  /// Vector `vector` of a group.
  static constexpr index_t words(index_t b, index_t group, index_t vector, index_t strip) {
    return block(b) + words_at + group * group_bytes + high_bytes + (vector * 2 + strip) * vector_bytes;
  }
  static constexpr index_t high(index_t b, index_t group, index_t strip) {
    return block(b) + words_at + group * group_bytes + strip * vector_bytes;
  }

  static QWEN3VL_INLINE Floats scale(const std::byte* superblock, index_t b, index_t strip) {
    return simd::load(reinterpret_cast<const typename F::Scale*>(superblock + scales(b, strip)));
  }
  static QWEN3VL_INLINE Floats minimum(const std::byte* superblock, index_t strip) {
    return simd::load(reinterpret_cast<const typename F::Scale*>(superblock + minimums(strip)));
  }
  static QWEN3VL_INLINE Ints step(const std::byte* superblock, index_t b, index_t group, index_t strip) {
    std::conditional_t<std::is_signed_v<typename F::Step>, simd::SBytes, simd::Bytes> lanes;
    std::memcpy(&lanes, superblock + steps(b, group, strip), sizeof lanes);
    return simd::widen(lanes);
  }
  static QWEN3VL_INLINE Ints offset(const std::byte* superblock, index_t b, index_t strip) {
    simd::Bytes lanes;
    std::memcpy(&lanes, superblock + offsets(b, strip), sizeof lanes);
    return simd::widen(lanes);
  }
};

/// Pair i of a word of format F, with what `high` has of it, as stored: `zero` is not yet subtracted.
template <class F, int i>
QWEN3VL_INLINE Shorts stored_pair(Shorts words, Shorts high) {
  Shorts pair = F::Words::template pair<i>(words);
  if constexpr (F::high_bits > 0) {
    constexpr int shift = 4 - F::high_bits * i;
    const auto bits = reinterpret_cast<simd::UShorts>(high);
    const simd::UShorts moved = shift >= 0 ? bits << (shift >= 0 ? shift : 0) : bits >> (shift < 0 ? -shift : 0);
    pair |= reinterpret_cast<Shorts>(moved & static_cast<std::uint16_t>(F::high_bits == 1 ? 0x10 : 0x30));
  }
  return pair;
}
/// What `high` is for the next word.
template <class F>
QWEN3VL_INLINE Shorts next_high(Shorts high) {
  return reinterpret_cast<Shorts>(reinterpret_cast<simd::UShorts>(high) >> (F::high_bits * F::Words::per_word));
}

namespace packing {

/// Bits `first` to `first + count - 1` of the eight bytes of x: of the even ones in the lower half of the result, of
/// the odd ones in its upper half, each beside the one before it.
template <int first, int count>
inline std::uint32_t gathered(std::uint64_t x) {
  constexpr std::uint64_t mask = 0x0001000100010001u * ((1u << count) - 1);
  const auto half = [](std::uint64_t bits) {
    bits |= bits >> (16 - count);
    bits &= 0x0000000100000001u * ((1u << (2 * count)) - 1);
    bits |= bits >> (32 - 2 * count);
    return static_cast<std::uint32_t>(bits & ((1u << (4 * count)) - 1));
  };
  return half(x >> first & mask) | half(x >> (8 + first) & mask) << 16;
}

template <class T>
inline void put(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof value);
}
template <class T>
inline T get(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

}  // namespace packing

/// Packs the factors of a row into a lane of a panel of format F, and makes its integers those that are packed.
/// `source` says how the row's numbers are to be read; bytes and nibbles with offsets may come from nibbles, q5_k from
/// q4_k.
template <class F>
void pack_stored_factors(const BlockLayout& source, const BlockRow& row, index_t columns, index_t lane_of_panel,
                         std::byte* panel) {
  using namespace packing;
  using Layout = StoredLayout<F>;
  using Scale = typename F::Scale;
  const index_t strip = lane_of_panel / Layout::width, lane = lane_of_panel % Layout::width;
  for (index_t first = 0; first < columns; first += superblock_columns, panel += Layout::bytes(superblock_blocks)) {
    if constexpr (!F::has_block_scales) {
      put(panel + Layout::scales(0, strip) + lane * 2, Scale(row.scales[first / superblock_columns]));
      if constexpr (F::has_minimums)
        put(panel + Layout::minimums(strip) + lane * 2, Scale(row.minimums[first / superblock_columns]));
    }
    for (index_t b = 0; b < superblock_blocks && first + b * block_columns < columns; ++b) {
      const index_t k0 = first + b * block_columns;
      if constexpr (F::has_block_scales) {
        const index_t group = k0 / source.group;
        put(panel + Layout::scales(b, strip) + lane * static_cast<index_t>(sizeof(Scale)), Scale(row.scales[group]));
        if (source.form != BlockForm::nibbles) continue;
        const int offset = source.offset >= 0 ? source.offset : row.offsets[group];
        if constexpr (F::has_offsets) {
          put(panel + Layout::offsets(b, strip) + lane, static_cast<std::uint8_t>(offset));
        } else if constexpr (F::zero == 0) {
          for (index_t k = k0; k < std::min(columns, k0 + block_columns); ++k)
            row.q[k] = static_cast<std::int8_t>(row.q[k] - offset);
        }
      } else {
        for (index_t g = 0; g < Layout::groups; ++g)
          put(panel + Layout::steps(b, g, strip) + lane, row.steps[k0 / F::group_columns + g]);
        if constexpr (F::has_offsets) put(panel + Layout::offsets(b, strip) + lane, row.offsets[k0 / block_columns]);
      }
    }
  }
  if constexpr (!F::has_block_scales && F::zero != 0)
    for (index_t k = 0; k < columns; ++k) row.q[k] = static_cast<std::int8_t>(row.q[k] + F::zero);
}

/// Words of a superblock of a row, beside one another; squares of them are transposed into lanes.
template <class F>
struct alignas(64) RowWords {
  using Layout = StoredLayout<F>;
  static constexpr index_t word_columns = 2 * F::Words::per_word;
  /// A multiple of every vector's width, and as many words of high bits (a word for each group).
  static constexpr index_t most = superblock_columns / word_columns, most_high = 16;
  std::uint32_t words[most], high[most_high];

  /// Of the `blocks` blocks at q.
  void put(const std::int8_t* q, index_t blocks) {
    using namespace packing;
    for (index_t i = 0; i < blocks * Layout::vectors; ++i) {
      if constexpr (word_columns == 4) {  // the two in the middle change places
        std::uint32_t x = 0;
        std::memcpy(&x, q + i * 4, sizeof x);
        words[i] = (x & 0xff0000ffu) | (x >> 8 & 0xff00u) | (x << 8 & 0xff0000u);
      } else {
        std::uint64_t x = 0;
        std::memcpy(&x, q + i * 8, sizeof x);
        words[i] = gathered<0, 4>(x);
      }
    }
    if constexpr (F::high_bits > 0)
      for (index_t g = 0; g < blocks * Layout::groups; ++g) {
        high[g] = 0;
        for (index_t v = 0; v < Layout::group_vectors; ++v) {
          std::uint64_t x = 0;
          std::memcpy(&x, q + g * F::group_columns + v * 8, sizeof x);
          high[g] |= gathered<4, F::high_bits>(x) << (v * 4 * F::high_bits);
        }
      }
  }
};

/// Word i of each of `count` rows, row(r)[i], becomes lanes [0, count) of the vector at to(i). Reads words up to the
/// next multiple of the width.
template <class Row, class To>
QWEN3VL_INLINE void put_in_lanes(index_t words, index_t count, const Row& row, const To& to) {
  constexpr index_t width = simd::width;
  for (index_t k = 0; k < words; k += width) {
    Floats square[width] = {};
    for (index_t r = 0; r < count; ++r) std::memcpy(&square[r], row(r) + k, sizeof(Floats));
    simd::transpose(square);
    const index_t here = std::min(width, words - k);
    if (count == width) {
      for (index_t i = 0; i < here; ++i) std::memcpy(to(k + i), &square[i], sizeof(Floats));
    } else {
      for (index_t i = 0; i < here; ++i) std::memcpy(to(k + i), &square[i], static_cast<std::size_t>(count) * 4);
    }
  }
}

/// Packs the integers of `count` rows, `stride` apart and padded to whole blocks, into as many lanes of one strip.
template <class F>
[[gnu::flatten]] void pack_stored_integers(const std::int8_t* q, index_t stride, index_t count, index_t columns,
                                           index_t lane_of_panel, std::byte* panel) {
  using Layout = StoredLayout<F>;
  const index_t strip = lane_of_panel / Layout::width, lane = lane_of_panel % Layout::width;
  RowWords<F> rows[Layout::width];
  for (index_t first = 0; first < columns; first += superblock_columns, panel += Layout::bytes(superblock_blocks)) {
    const index_t blocks = std::min(superblock_blocks, (columns - first + block_columns - 1) / block_columns);
    for (index_t r = 0; r < count; ++r) rows[r].put(q + r * stride + first, blocks);
    const auto group_at = [&](index_t g) {
      return panel + Layout::high(g / Layout::groups, g % Layout::groups, strip);
    };
    put_in_lanes(
        blocks * Layout::vectors, count, [&](index_t r) { return rows[r].words; },
        [&](index_t i) {
          const index_t g = i / Layout::group_vectors, v = i % Layout::group_vectors;
          return group_at(g) + Layout::high_bytes + v * 2 * Layout::vector_bytes + lane * 4;
        });
    if constexpr (F::high_bits > 0)
      put_in_lanes(
          blocks * Layout::groups, count, [&](index_t r) { return rows[r].high; },
          [&](index_t g) { return group_at(g) + lane * 4; });
  }
}

/// The weights of one lane of a panel as floats: the stored integers and factors multiplied out.
template <class F>
void read_stored_row(const std::byte* panel, index_t columns, index_t lane_of_panel, float* row) {
  using namespace packing;
  using Layout = StoredLayout<F>;
  using Scale = typename F::Scale;
  constexpr index_t per_word = F::Words::per_word;
  const index_t strip = lane_of_panel / Layout::width, lane = lane_of_panel % Layout::width;
  for (index_t k = 0; k < columns; ++k) {
    const std::byte* const superblock = panel + k / superblock_columns * Layout::bytes(superblock_blocks);
    const index_t b = k % superblock_columns / block_columns, inside = k % block_columns, parity = k % 2;
    const index_t group = inside / F::group_columns, vector = inside % F::group_columns / (2 * per_word);
    const auto word = get<std::uint16_t>(superblock + Layout::words(b, group, vector, strip) + (lane * 2 + parity) * 2);
    std::int32_t q = F::Words::part(word, inside / 2 % per_word);
    if constexpr (F::high_bits > 0) {
      const auto high = get<std::uint16_t>(superblock + Layout::high(b, group, strip) + (lane * 2 + parity) * 2);
      q |= (high >> (inside % F::group_columns / 2 * F::high_bits) & ((1 << F::high_bits) - 1)) << 4;
    }
    q -= F::zero;
    std::int32_t offset = 0;
    if constexpr (F::has_offsets) offset = get<std::uint8_t>(superblock + Layout::offsets(b, strip) + lane);
    const auto scale = static_cast<float>(
        get<Scale>(superblock + Layout::scales(b, strip) + lane * static_cast<index_t>(sizeof(Scale))));
    if constexpr (F::has_block_scales) {
      row[k] = scale * static_cast<float>(q - offset);
    } else {
      const auto step = get<typename F::Step>(superblock + Layout::steps(b, group, strip) + lane);
      row[k] = scale * static_cast<float>(step) * static_cast<float>(q);
      if constexpr (F::has_minimums)
        row[k] -= static_cast<float>(get<Scale>(superblock + Layout::minimums(strip) + lane * 2)) *
                  static_cast<float>(offset);
    }
  }
}

}  // namespace qwen3vl::cpu_kernels

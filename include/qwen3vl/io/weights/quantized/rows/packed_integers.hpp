/// A table of small unsigned integers, packed into words of 32 bits along one of its axes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// How AutoAWQ's kernels want eight columns of four bits in a word: column c is at place awq_order[c].
inline constexpr int awq_order[8] = {0, 4, 1, 5, 2, 6, 3, 7};

/// Integers of `bits` (1 to 8), densely packed from the lowest bit of the first word on. `along` is the place on the
/// packed axis, `across` that on the other one. The words need not be aligned.
struct PackedIntegers {
  const std::byte* data = nullptr;
  int bits = 8;
  index_t along_stride = 1;   ///< words from one to the next of the packed axis
  index_t across_stride = 0;  ///< words from one to the next of the other axis
  bool is_awq = false;

  std::uint32_t word(index_t i) const {
    std::uint32_t value;
    std::memcpy(&value, data + static_cast<std::size_t>(i) * sizeof value, sizeof value);
    return value;
  }
  unsigned operator()(index_t along, index_t across) const {
    const std::uint32_t mask = (1u << bits) - 1;
    const index_t begin = across * across_stride;
    if (is_awq) return word(begin + along / 8 * along_stride) >> (4 * awq_order[along % 8]) & mask;
    const index_t bit = along * bits, offset = bit % 32;
    const index_t first = begin + bit / 32 * along_stride;
    std::uint64_t value = word(first);
    if (offset + bits > 32) value |= static_cast<std::uint64_t>(word(first + along_stride)) << 32;
    return static_cast<unsigned>(value >> offset) & mask;
  }
};

/// Words that `count` integers take.
constexpr index_t packed_words(index_t count, int bits) { return (count * bits + 31) / 32; }

}  // namespace qwen3vl

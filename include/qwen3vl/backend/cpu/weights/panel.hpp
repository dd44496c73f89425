/// What all weight layouts share. A matrix is cut into panels of `panel_rows` rows; a layout defines how a panel is
/// stored. It is a struct with
///
///   Element        element type of the memory
///   size           elements of a panel
///   offset(step)   where a step of the inner product begins in a panel; offset(steps) == size
///   pack<Stored>(from, rows, lane, to)
///                  packs `rows` stored rows of K columns into lanes [lane, lane + rows) of a panel
///   pack_transposed<Stored>(from, stride, rows, lane, to)
///                  the same from a transposed matrix, whose columns are `stride` numbers apart
///   read_row(panel, lane, row)
///                  reads one row as floats, [K]
///   pad(panel)     if columns are padded: zeroes the padding of a panel
///   pack_halves<Stored>(first, second, to)
///                  if packing a whole panel at once is faster: from its first and second `width` rows
#pragma once

#include <cstddef>
#include <type_traits>

#include "qwen3vl/backend/contract/precision.hpp"
#include "qwen3vl/backend/cpu/simd/simd.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl::cpu_kernels {

/// Rows of a panel: two vectors, so that each broadcast of x feeds two multiply-adds.
inline constexpr index_t panel_rows = 2 * simd::width;

/// Converts a stored number to a panel element.
template <class Element, class Stored>
Element converted(Stored value) {
  if constexpr (std::is_same_v<Stored, Element>) {
    return value;
  } else {
    return static_cast<Element>(static_cast<float>(value));
  }
}

}  // namespace qwen3vl::cpu_kernels

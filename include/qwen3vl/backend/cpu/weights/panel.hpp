/// What all layouts of weights share. A matrix is cut into panels of `panel_rows` rows, and a layout says how a panel
/// lies in memory. It is a struct with
///
///   Element                              what memory is made of
///   size                                 elements of a panel
///   offset(step)                         where a step of the inner product begins in a panel; offset(steps) == size
///   pack<Stored>(from, rows, lane, to)   puts `rows` stored rows of K columns into lanes [lane, lane + rows) of a
///   panel pack_transposed<Stored>(from, stride, rows, lane, to)   the same where columns are neighbours, `stride`
///   numbers apart read_row(panel, lane, row)           one row as floats, [K] pad(panel)                           if
///   columns are padded: sets those of a panel to zero pack_halves<Stored>(first, second, to)   if a whole panel at
///   once is faster: its first and second `width` rows
#pragma once

#include <cstddef>
#include <type_traits>

#include "qwen3vl/backend/contract/precision.hpp"
#include "qwen3vl/backend/cpu/simd/simd.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl::cpu_kernels {

/// Rows of a panel: two vectors, so that one broadcast of x feeds two multiply-adds.
inline constexpr index_t panel_rows = 2 * simd::width;

/// A stored number as a number of a panel.
template <class Element, class Stored>
Element converted(Stored value) {
  if constexpr (std::is_same_v<Stored, Element>) {
    return value;
  } else {
    return static_cast<Element>(static_cast<float>(value));
  }
}

}  // namespace qwen3vl::cpu_kernels

/// The segments of a batch as kernel arguments, by value: a launch copies nothing to the device, nothing has to outlive
/// it, and a captured graph holds its own.
#pragma once

#include <algorithm>
#include <cstdint>

#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/tensor/segments.hpp"

namespace qwen3vl::cuda {

/// Some segments of a batch, each cut into tiles; a CUDA block or warp takes one tile. 1.5 KiB of the 4 KiB that a
/// kernel's arguments may take.
struct Pieces {
  static constexpr int most = 96;
  int count = 0;
  int segment[most];         // its number in the batch
  int first[most];           // its first row
  int rows[most];            // how many it has
  int first_tile[most + 1];  // of all tiles; the last entry is their number

  int tiles() const { return first_tile[count]; }
  /// The piece that `tile` belongs to.
  __device__ __forceinline__ int find(int tile) const {
    int low = 0, high = count;  // first_tile[low] <= tile < first_tile[high]
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      if (first_tile[middle] <= tile) {
        low = middle;
      } else {
        high = middle;
      }
    }
    return low;
  }
};

/// f(pieces) for the segments that have tiles(rows of segment) > 0, as many at a time as fit.
template <class Tiles, class F>
void for_each_pieces(const Segments& segments, Tiles&& tiles, F&& f) {
  if (segments.total() > 0x7fffffff) fail("a batch of ", segments.total(), " tokens; at most 2^31 - 1 can be counted");
  Pieces pieces;
  pieces.first_tile[0] = 0;
  const auto flush = [&] {
    if (pieces.count > 0) f(static_cast<const Pieces&>(pieces));
    pieces.count = 0;
  };
  for (index_t s = 0; s < segments.count(); ++s) {
    const index_t here = tiles(segments.length(s));
    if (here <= 0) continue;
    const int i = pieces.count++;
    pieces.segment[i] = static_cast<int>(s);
    pieces.first[i] = static_cast<int>(segments.offset(s));
    pieces.rows[i] = static_cast<int>(segments.length(s));
    pieces.first_tile[i + 1] = pieces.first_tile[i] + static_cast<int>(here);
    if (pieces.count == Pieces::most) flush();
  }
  flush();
}

}  // namespace qwen3vl::cuda

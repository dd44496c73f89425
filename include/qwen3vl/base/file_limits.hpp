/// Limits of weight files. Not in io/, because loading options name them and models do not include io/.
#pragma once

#include <cstddef>

namespace qwen3vl {

/// Limits of a safetensors file and of an index.
struct SafetensorsLimits {
  std::size_t max_header_bytes = 100'000'000;  ///< as in the reference implementation
  std::size_t max_rank = 16;
  std::size_t max_tensors = std::size_t{1} << 20;  ///< in one file
};

}  // namespace qwen3vl

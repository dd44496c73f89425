/// Limits of the files that weights come from. They are no part of io/, because options of loading name them and models
/// include nothing of io/.
#pragma once

#include <cstddef>

namespace qwen3vl {

/// What is accepted of a safetensors file, and of the index of several.
struct SafetensorsLimits {
  std::size_t max_header_bytes = 100'000'000;  ///< as the reference implementation has it
  std::size_t max_rank = 16;
  std::size_t max_tensors = std::size_t{1} << 20;  ///< in one file
};

}  // namespace qwen3vl

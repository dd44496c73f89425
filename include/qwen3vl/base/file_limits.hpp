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

/// Limits of a GGUF file.
struct GgufLimits {
  std::size_t max_header_bytes = std::size_t{256} << 20;  ///< metadata and tensor entries, vocabulary included
  std::size_t max_name_bytes = 1024;                      ///< of a key or tensor
  std::size_t max_keys = 65'536;
  std::size_t max_array_depth = 4;   ///< arrays in arrays
  std::size_t max_tensors = 65'536;  ///< in one file
  std::size_t max_rank = 4;          ///< as in ggml
  std::size_t max_files = 1024;      ///< of a split checkpoint
};

}  // namespace qwen3vl

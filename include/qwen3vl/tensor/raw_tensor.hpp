/// A stored tensor as a backend sees it while loading: bytes, type, shape, and the file they are mapped from.
#pragma once

#include <cstddef>
#include <span>

#include "qwen3vl/tensor/dtype.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// An open file, mapped as a whole at `begin`. Not owned.
struct MappedFrom {
  int descriptor = -1;  ///< negative: none
  const std::byte* begin = nullptr;
};

/// Row-major values of a floating dtype (f32, bf16, f16); `data` need not be aligned.
struct RawTensor {
  DType dtype = DType::f32;
  const std::byte* data = nullptr;
  std::span<const index_t> shape;
  /// The file `data` is mapped from: reading it can be faster than page faults.
  MappedFrom file = {};

  index_t rows() const { return shape.empty() ? 1 : shape[0]; }
  index_t row_size() const {
    index_t product = 1;
    for (std::size_t i = 1; i < shape.size(); ++i) product *= shape[i];
    return product;
  }
};

/// How the rows of a weight matrix are laid out by a backend.
enum class Packing {
  plain,
  /// Gate rows in the first half, up rows of a gated MLP in the second; row i of both is stored together, so that the
  /// SwiGLU epilogue finds them in one register tile.
  gate_up,
};

}  // namespace qwen3vl

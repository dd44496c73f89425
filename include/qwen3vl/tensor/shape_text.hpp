/// Shapes as text, for messages.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl::detail {

/// "[2, 3]"; a dynamic extent is "?".
inline std::string shape_text(std::span<const index_t> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += i == 0 ? "" : ", ";
    text += shape[i] == dynamic ? "?" : concat(shape[i]);
  }
  return text + "]";
}

}  // namespace qwen3vl::detail

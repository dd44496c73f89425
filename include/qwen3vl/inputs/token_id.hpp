#pragma once

#include <cstdint>

namespace qwen3vl {

/// A token's index in the vocabulary. Valid ids are >= 0.
using TokenId = std::int32_t;

}  // namespace qwen3vl

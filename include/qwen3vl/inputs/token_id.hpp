#pragma once

#include <cstdint>

namespace qwen3vl {

/// A token's number in the vocabulary, as models and tokenizers exchange it. Valid ids are >= 0.
using TokenId = std::int32_t;

}  // namespace qwen3vl

/// What a reranker may answer. Plain host data, which the processor makes and the model reads.
#pragma once

#include "qwen3vl/inputs/token_id.hpp"

namespace qwen3vl {

/// The ids of "yes" and "no", whose rows of the head make the score.
struct RerankerTokens {
  TokenId yes = 0, no = 0;
};

}  // namespace qwen3vl

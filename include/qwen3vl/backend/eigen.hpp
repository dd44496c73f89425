/// The reference backend, whole.
#pragma once

#include "qwen3vl/backend/contract/ops.hpp"
#include "qwen3vl/backend/eigen/attention.hpp"
#include "qwen3vl/backend/eigen/matrix.hpp"
#include "qwen3vl/backend/eigen/products.hpp"
#include "qwen3vl/backend/eigen/reference.hpp"
#include "qwen3vl/backend/eigen/rope.hpp"
#include "qwen3vl/backend/host/kv_cache.hpp"
#include "qwen3vl/backend/host/logits.hpp"
#include "qwen3vl/backend/host/norms.hpp"
#include "qwen3vl/backend/host/rope.hpp"
#include "qwen3vl/backend/host/rows.hpp"

namespace qwen3vl {

static_assert(Backend<Reference<float>> && Backend<Reference<double>>,
              "the reference backend does not implement the whole contract of backend/contract/ops.hpp");

}  // namespace qwen3vl

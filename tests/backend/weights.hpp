/// What weights become when they are packed, and what their products may be off by: the references of block weights.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "guarded.hpp"

namespace operations {

template <class W>
std::string weight_name() {
  if constexpr (BlockWeight<W> || std::is_same_v<W, bf16_dot>) {
    return std::string(W::name);
  } else {
    return sizeof(W) == 2 ? "bf16" : "f32";
  }
}

/// The N x K weights that products with weights of type W use. Blocks are read back through the embedding, which gives
/// exactly those; block_cases.hpp checks how far they are from the originals.
template <class B, class W, index_t N, index_t K>
std::vector<float> as_packed(Context<B>& ctx, std::vector<float> weights) {
  if constexpr (BlockWeight<W>) {
    typename B::template Matrix<W, N, K, Packing::plain> matrix;
    matrix.allocate();
    const index_t shape[2] = {N, K};
    matrix.load_rows(
        ctx, 0,
        RawTensor{.dtype = DType::f32, .data = reinterpret_cast<const std::byte*>(weights.data()), .shape = shape});
    std::vector<std::int32_t> ids;
    for (std::int32_t n = 0; n < N; ++n) ids.push_back(n);
    Guarded<B, std::int32_t> id_buffer(ctx, ids);
    Guarded<B> rows(N * K);
    embedding(ctx, View<const std::int32_t, B, dynamic>(id_buffer.data(), N), matrix,
              rows.template view<dynamic, K>(N));
    BOOST_TEST(rows.intact());
    return rows.values(ctx);
  } else {
    using Stored = std::conditional_t<std::is_same_v<W, bf16_dot>, bf16, W>;
    for (float& w : weights) w = static_cast<float>(static_cast<Stored>(w));
    return weights;
  }
}

/// How far an activation of this row may be off when it meets weights of type W: for bf16_dot 2^-8 of itself. For
/// blocks, backend/ops.hpp allows 2^-16 of the largest and 2^-10 of the mean magnitude of its 256 columns (the last
/// ones may be fewer; the mean is of 256), and a few units in the last place.
template <class W, class T>
std::vector<double> activation_error(const T* x, index_t count) {
  std::vector<double> error(static_cast<std::size_t>(count), 0.0);
  if constexpr (std::is_same_v<W, bf16_dot>)  // half a unit in the last of 8 bits
    for (index_t k = 0; k < count; ++k)
      error[static_cast<std::size_t>(k)] = std::abs(static_cast<double>(x[k])) * 0x1p-8;
  if constexpr (BlockWeight<W>) {
    for (index_t k0 = 0; k0 < count; k0 += 256) {
      const index_t end = std::min(count, k0 + 256);
      double largest = 0.0, sum = 0.0;
      for (index_t k = k0; k < end; ++k) {
        largest = std::max(largest, std::abs(static_cast<double>(x[k])));
        sum += std::abs(static_cast<double>(x[k]));
      }
      for (index_t k = k0; k < end; ++k)
        error[static_cast<std::size_t>(k)] = std::max(largest * 0x1p-16, sum / 256.0 * 0x1p-10) * 1.02 +
                                             4 * epsilon * std::abs(static_cast<double>(x[k]));
    }
  }
  return error;
}

}  // namespace operations

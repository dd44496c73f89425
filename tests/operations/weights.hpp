/// Weights as products use them, and what products may be off by because of how weights are stored.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "operations/buffers.hpp"
#include "qwen3vl/backend/cpu/simd/instruction_set.hpp"

namespace operations {

template <class W>
std::string weight_name() {
  if constexpr (requires { W::name; }) {
    return std::string(W::name);
  } else {
    return sizeof(W) == 2 ? "bf16" : "f32";
  }
}

/// The weights of a matrix as products use them, [N, K]: what the embedding gives.
template <class B, template <class, index_t, index_t, Packing> class Matrix, class W, index_t N, index_t K>
std::vector<float> weights_of(Context<B>& ctx, const Matrix<W, N, K, Packing::plain>& matrix) {
  std::vector<std::int32_t> ids;
  for (std::int32_t n = 0; n < N; ++n) ids.push_back(n);
  Guarded<B, std::int32_t> id_buffer(ctx, ids);
  Activations<B> rows(N * K);
  embedding(ctx, id_buffer.template input<dynamic>(N), matrix, rows.template view<dynamic, K>(N));
  if (!rows.intact()) fail("embedding wrote beside its output");
  return rows.values(ctx);
}

/// The N x K weights that products with weights of type W use. Blocks and fp8 are read back through the embedding,
/// which gives exactly those; block_cases.hpp checks how far they are from the originals.
template <class B, class W, index_t N, index_t K>
std::vector<float> as_packed(Context<B>& ctx, const std::vector<float>& weights) {
  if constexpr (BlockWeight<W> || BlockDotWeight<W> || std::is_same_v<W, fp8> || std::is_same_v<W, fp8_blocks>) {
    typename B::template Matrix<W, N, K, Packing::plain> matrix;
    matrix.allocate();
    matrix.load_rows(ctx, 0, raw_matrix(weights.data(), {N, K}));
    return weights_of<B>(ctx, matrix);
  } else {
    return rounded_to<std::conditional_t<std::is_same_v<W, bf16_dot>, bf16, W>>(weights);
  }
}

/// The magnitude of e4m3 code `code`, 0 to 126.
inline double e4m3_magnitude(int code) {
  return code < 8 ? code * 0x1p-9 : (1.0 + code % 8 / 8.0) * std::exp2(code / 8 - 7);
}
/// The nearest e4m3 number, of two the even one.
inline double nearest_e4m3(double value) {
  static const std::vector<double> all = [] {
    std::vector<double> magnitudes;
    for (int code = 0; code < 127; ++code) magnitudes.push_back(e4m3_magnitude(code));
    return magnitudes;
  }();
  const double magnitude = std::abs(value);
  const auto i =
      static_cast<std::size_t>(std::ranges::upper_bound(all, magnitude) - all.begin());  // all[i - 1] <= magnitude
  const bool below = i == all.size() || magnitude - all[i - 1] < all[i] - magnitude ||
                     (magnitude - all[i - 1] == all[i] - magnitude && i % 2 == 1);
  return std::copysign(below ? all[i - 1] : all[i], value);
}
/// Each row of `count` numbers rounded to e4m3, with the scale that makes its largest one 448.
inline std::vector<float> rounded_rows(std::vector<float> x, index_t count) {
  for (std::size_t first = 0; first < x.size(); first += static_cast<std::size_t>(count)) {
    float largest = 0.0f;
    for (index_t k = 0; k < count; ++k) largest = std::max(largest, std::abs(x[first + static_cast<std::size_t>(k)]));
    if (largest == 0.0f) continue;
    const float scale = largest / 448.0f, inverse = 448.0f / largest;
    for (index_t k = 0; k < count; ++k) {
      float& value = x[first + static_cast<std::size_t>(k)];
      value = scale * static_cast<float>(nearest_e4m3(static_cast<double>(value * inverse)));
    }
  }
  return x;
}
/// Each row of `columns` numbers rounded so by 128 of them.
inline std::vector<float> rounded_blocks(const std::vector<float>& x, index_t columns) {
  std::vector<float> rounded;
  for (auto row = x.begin(); row != x.end(); row += columns)
    for (index_t first = 0; first < columns; first += 128) {
      const index_t count = std::min<index_t>(128, columns - first);
      const auto block = rounded_rows({row + first, row + first + count}, count);
      rounded.insert(rounded.end(), block.begin(), block.end());
    }
  return rounded;
}
/// Whether products with weights of type W round activations to bytes, on the CPU that this is compiled for.
template <class W>
inline constexpr bool rounds_to_bytes =
    !simd::has_tiles &&
    (std::is_same_v<W, q8_dot> ? simd::has_byte_dot : std::is_same_v<W, q4_dot> && simd::has_byte_pairs);
/// Each row of `columns` numbers rounded by 32 of them to integers, the largest of which is 127 in magnitude.
inline std::vector<float> rounded_to_bytes(std::vector<float> x, index_t columns) {
  for (auto row = x.begin(); row != x.end(); row += columns)
    for (index_t first = 0; first < columns; first += 32) {
      const auto begin = row + first, end = row + std::min(columns, first + 32);
      float largest = 0x1p-100f;
      for (auto value = begin; value != end; ++value) largest = std::max(largest, std::abs(*value));
      const float factor = 127.0f / largest, scale = 1.0f / factor;
      for (auto value = begin; value != end; ++value) *value = scale * std::nearbyint(*value * factor);
    }
  return x;
}
/// The activations that products with weights of type W multiply: with fp8, more than eight rows are rounded.
template <class W>
std::vector<float> as_multiplied(const std::vector<float>& x, index_t rows, index_t count) {
  if constexpr (rounds_to_bytes<W>) return rounded_to_bytes(x, count);
  return std::is_same_v<W, fp8> && rows > 8 ? rounded_rows(x, count) : x;
}

/// What sums may lose, of sum |x w|. Hopper's tensor cores keep 14 bits of the sum of some 32 products of e4m3
/// (DeepSeek-V3's report, section 3.3.2, and seen on an H100); the reference that stands in for cuBLASLt loses nothing.
template <class W>
double sum_rounding(index_t rows) {
#if defined(QWEN3VL_CUDA_ON_HOST)
  static_cast<void>(rows);
  return 0.0;
#else
  return std::is_same_v<W, fp8> && rows > 8 ? 0x1p-13 : 0.0;
#endif
}

/// How far an activation of this row may be off when it meets weights of type W: for bf16_dot 2^-8 of itself. For
/// blocks, backend/contract/ops.hpp allows 2^-16 of the largest and 2^-10 of the mean magnitude of its 256 columns (the
/// last ones may be fewer; the mean is of 256), and a few units in the last place. With bytes, activations that are not
/// known to the last bit (T = double) may be off by half a step of 32 columns; others are what as_multiplied() gives.
template <class W, class T>
std::vector<double> activation_error(const T* x, index_t count) {
  std::vector<double> error(static_cast<std::size_t>(count), 0.0);
  if constexpr (std::is_same_v<W, bf16_dot>)  // half a unit in the last of 8 bits
    for (index_t k = 0; k < count; ++k)
      error[static_cast<std::size_t>(k)] = std::abs(static_cast<double>(x[k])) * 0x1p-8;
  if constexpr (rounds_to_bytes<W>)
    for (index_t first = 0; first < count; first += 32) {
      const index_t end = std::min(count, first + 32);
      double largest = 0.0;
      for (index_t k = first; k < end; ++k) largest = std::max(largest, std::abs(static_cast<double>(x[k])));
      for (index_t k = first; k < end; ++k)
        error[static_cast<std::size_t>(k)] =
            (std::is_same_v<T, double> ? largest * (1.02 / 254) : 0.0) + 4 * epsilon * largest;
    }
  if constexpr (BlockWeight<W> || (BlockDotWeight<W> && !rounds_to_bytes<W>)) {
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

/// A matrix of `stored` weights on the device: e4m3 with scales that blocks of 128 columns can have stays as it is, all
/// else is bf16 (f32 and f16 rounded, quantised integers widened and rounded). Which, is known when loading begins.
#pragma once

#include <cstddef>
#include <string_view>
#include <type_traits>

#include "qwen3vl/backend/contract/precision.hpp"
#include "qwen3vl/backend/cuda/products/f8_blocks_linear.cuh"
#include "qwen3vl/backend/cuda/products/f8_blocks_matrix.cuh"
#include "qwen3vl/backend/cuda/products/linear.cuh"
#include "qwen3vl/backend/cuda/products/matrix.cuh"

namespace qwen3vl {
namespace cuda {

/// Whether fp8_blocks takes matrices of these sizes.
template <index_t N, index_t K, Packing packing>
inline constexpr bool takes_f8_blocks = K % 16 == 0 && N % (packing == Packing::gate_up ? 4 : 2) == 0;

/// Weights in bf16 or, if they are announced so, in blocks of e4m3. Wide and Blocks are CudaMatrix or CudaExperts;
/// Blocks is void where sizes do not fit.
template <class Wide, class Blocks>
class StoredWeights {
 public:
  static constexpr bool has_blocks = !std::is_void_v<Blocks>;

  /// Of what is or will be allocated; 0 before that is known.
  std::size_t bytes() const {
    if (!announced_ && !allocated()) return 0;
    if constexpr (has_blocks)
      if (in_blocks_) return Blocks::bytes();
    return Wide::bytes();
  }
  bool allocated() const {
    return visit([](const auto& weights) { return weights.allocated(); });
  }
  void allocate() {
    visit([](auto& weights) { weights.allocate(); });
  }

  /// What every row is kept as.
  std::string_view form_of(index_t /*row*/) const { return in_blocks_ ? "e4m3" : "bf16"; }
  /// f(the weights in their form).
  template <class F>
  decltype(auto) visit(F&& f) const {
    if constexpr (has_blocks)
      if (in_blocks_) return f(blocks_);
    return f(wide_);
  }
  template <class F>
  decltype(auto) visit(F&& f) {
    if constexpr (has_blocks)
      if (in_blocks_) return f(blocks_);
    return f(wide_);
  }

 protected:
  /// Of the tensors that will be loaded, one after another: all in blocks, or all in bf16.
  void expect(bool first, const RawTensor& raw, bool fits = true) {
    if constexpr (has_blocks) {
      const bool blocks = fits && stores_f8(raw, f8_block_columns) && (first || in_blocks_);
      if (blocks != in_blocks_) wide_ = {}, blocks_ = {};
      in_blocks_ = blocks;
    }
    announced_ = true;
  }
  void require_expected(const RawTensor& raw) const {
    if (in_blocks_ && !stores_f8(raw, f8_block_columns))
      fail(
          "weights that were announced in FP8 are stored as something else: call expect_rows() with every tensor that "
          "is loaded");
  }

 private:
  struct None {};
  Wide wide_;
  std::conditional_t<has_blocks, Blocks, None> blocks_;
  bool in_blocks_ = false, announced_ = false;
};

}  // namespace cuda

/// N rows (outputs) of K columns (inputs) as a file has them. expect_rows() comes before allocate(), once for each
/// tensor that load_rows() will get, in order; without it weights are in bf16.
template <index_t N, index_t K, Packing packing>
class CudaMatrix<stored, N, K, packing>
    : public cuda::StoredWeights<
          CudaMatrix<bf16, N, K, packing>,
          std::conditional_t<cuda::takes_f8_blocks<N, K, packing>, CudaMatrix<fp8_blocks, N, K, packing>, void>> {
 public:
  /// Only shape and type of `raw` are read.
  void expect_rows(index_t first_row, const RawTensor& raw) { this->expect(first_row == 0, raw); }
  /// Copies rows [first_row, first_row + raw.rows()). `raw` has been read when this returns.
  void load_rows(Context<Cuda>& ctx, index_t first_row, const RawTensor& raw) {
    this->require_expected(raw);
    this->visit([&](auto& matrix) { matrix.load_rows(ctx, first_row, raw); });
  }
};

/// See backend/contract/ops.hpp: the product of what the weights are.
template <index_t N, index_t K, Packing packing, class Y, index_t Width, class E>
void linear(Context<Cuda>& ctx, std::type_identity_t<View<const bf16, Cuda, dynamic, K>> x,
            const CudaMatrix<stored, N, K, packing>& weight, std::type_identity_t<View<const float, Cuda, N>> bias,
            View<Y, Cuda, dynamic, Width> y, E e) {
  weight.visit([&](const auto& matrix) { linear(ctx, x, matrix, bias, y, e); });
}

}  // namespace qwen3vl

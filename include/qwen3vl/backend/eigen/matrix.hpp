/// Weights of the reference backend: rows as in the checkpoint, rounded to the precision's weight type.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>

#include "qwen3vl/backend/contract/precision.hpp"
#include "qwen3vl/backend/eigen/reference.hpp"

namespace qwen3vl {

/// N rows (outputs) of K columns (inputs). With Packing::gate_up the gates come first, then the ups.
template <class W, index_t N, index_t K, Packing packing>
class ReferenceMatrix {
  static_assert(std::is_same_v<W, float> || std::is_same_v<W, bf16> || std::is_same_v<W, bf16_dot> ||
                    std::is_same_v<W, stored>,
                "the reference backend keeps weights as float, bf16, bf16_dot or stored, as float: blocks (q8, q4, "
                "q8_dot, q4_dot) are the Cpu backend's, fp8 is the CUDA backend's (backend/contract/precision.hpp)");
  using Stored = std::conditional_t<std::is_same_v<W, float> || std::is_same_v<W, stored>, float, bf16>;

 public:
  static constexpr std::size_t bytes() { return static_cast<std::size_t>(N * K) * sizeof(Stored); }
  bool allocated() const { return values_.allocated(); }
  void allocate() {
    if (!allocated()) values_ = decltype(values_)::uninitialized();
  }

  /// Passes the memory to f, as bytes.
  template <class F>
  void visit_memory(F&& f) {
    f(std::as_writable_bytes(values_.span()));
  }

  /// Converts rows [first_row, first_row + raw.rows()).
  template <class B>
  void load_rows(Context<B>&, index_t first_row, const RawTensor& raw) {
    detail::require_rows_fit(first_row, raw.rows(), raw.row_size(), N, K);
    convert(raw, [&](index_t row, index_t column) -> Stored& { return values_(first_row + row, column); });
  }

  /// As above, from the transposed matrix [K, N] that the Hub stores for experts.
  void load_transposed(const RawTensor& raw) {
    if (raw.rows() != K || raw.row_size() != N)
      fail("a transposed matrix of ", raw.rows(), " x ", raw.row_size(), " does not fit one of ", N, " x ", K);
    convert(raw, [&](index_t row, index_t column) -> Stored& { return values_(column, row); });
  }

  /// Gives back rows [first_row, first_row + to.size() / K).
  template <class B>
  void store_rows(Context<B>&, index_t first_row, std::span<Stored> to) const {
    std::copy_n(values_.data() + first_row * K, to.size(), to.data());
  }

  /// Row n, [K].
  template <class Scalar>
  eigen::Vector<Scalar> row(index_t n) const {
    return eigen::widened<Scalar>(as_eigen(values_[n]));
  }

 private:
  template <class Place>
  static void convert(const RawTensor& stored_raw, const Place& place) {
    std::vector<float> values;
    const RawTensor raw = widened(stored_raw, values);
    visit_floating(raw.dtype, [&](auto stored) {
      for (index_t r = 0; r < raw.rows(); ++r)
        for (index_t c = 0; c < raw.row_size(); ++c)
          place(r, c) = static_cast<Stored>(
              load_float<decltype(stored)>(raw.data, static_cast<std::size_t>(r * raw.row_size() + c)));
    });
  }

  HostTensor<Stored, N, K> values_;
};

/// E weight matrices of one shape.
template <class W, index_t E, index_t N, index_t K, Packing packing>
class ReferenceExperts {
  using Matrix = ReferenceMatrix<W, N, K, packing>;

 public:
  static constexpr std::size_t bytes() { return static_cast<std::size_t>(E) * Matrix::bytes(); }
  bool allocated() const { return experts_.front().allocated(); }
  void allocate() {
    for (Matrix& expert : experts_) expert.allocate();
  }
  template <class F>
  void visit_memory(F&& f) {
    for (Matrix& expert : experts_) expert.visit_memory(f);
  }
  /// Expert e from [N, K], or from [K, N] if `transposed`.
  template <class B>
  void load_expert(Context<B>& ctx, index_t e, const RawTensor& raw, bool transposed) {
    Matrix& expert = experts_[static_cast<std::size_t>(e)];
    if (transposed) {
      expert.load_transposed(raw);
    } else {
      expert.load_rows(ctx, 0, raw);
    }
  }
  template <class B, class Stored>
  void store_expert(Context<B>& ctx, index_t e, std::span<Stored> to) const {
    (*this)[e].store_rows(ctx, 0, to);
  }
  const Matrix& operator[](index_t e) const { return experts_[static_cast<std::size_t>(e)]; }

 private:
  std::vector<Matrix> experts_{static_cast<std::size_t>(E)};
};

}  // namespace qwen3vl

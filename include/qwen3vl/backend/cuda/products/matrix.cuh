/// A weight matrix on the device: row-major [N, K], as the Hub stores it. cuBLASLt and the kernels of this folder read
/// it unchanged; with Packing::gate_up the gates are the first half of the rows and the ups the second.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/primitives/staging.cuh"
#include "qwen3vl/tensor/raw_tensor.hpp"
#include "qwen3vl/tensor/tensor.hpp"

namespace qwen3vl {

namespace cuda {

/// Copies `count` values of a file, beginning with number `first`, to the device as W. Of encoded rows, whole ones.
template <class W>
void upload_weights(Context<Cuda>& ctx, const RawTensor& raw, index_t first, index_t count, W* to) {
  if (raw.encoded != nullptr) {
    const index_t columns = raw.encoded->columns(), rows = count / columns;
    const index_t at_once = std::max<index_t>(1, (index_t{1} << 22) / columns);
    std::vector<float> values(static_cast<std::size_t>(std::min(rows, at_once) * columns));
    for (index_t row = 0; row < rows; row += at_once) {
      const index_t part = std::min(at_once, rows - row), begin = raw.first_row + first / columns + row;
#pragma omp parallel for schedule(static) if (part * columns > 65536)
      for (index_t i = 0; i < part; ++i) raw.encoded->read(begin + i, 1, values.data() + i * columns);
      const index_t size[] = {part * columns};
      const RawTensor plain{.data = reinterpret_cast<const std::byte*>(values.data()), .shape = size};
      upload_weights(ctx, plain, 0, part * columns, to + row * columns);
    }
    return;
  }
  visit_floating(raw.dtype, [&](auto kind) {
    using Stored = decltype(kind);
    const std::byte* const from = raw.data + static_cast<std::size_t>(first) * sizeof(Stored);
    ctx.backend().staging().upload(ctx.backend().stream(), to, static_cast<std::size_t>(count) * sizeof(W),
                                   [&](std::byte* pinned, std::size_t offset, std::size_t bytes) {
                                     const std::size_t before = offset / sizeof(W);
                                     in_parts(bytes / sizeof(W), [&](std::size_t begin, std::size_t end) {
                                       if constexpr (std::is_same_v<Stored, W>) {
                                         std::memcpy(pinned + begin * sizeof(W), from + (before + begin) * sizeof(W),
                                                     (end - begin) * sizeof(W));
                                       } else {
                                         auto* const target = reinterpret_cast<W*>(pinned);
                                         for (std::size_t i = begin; i < end; ++i)
                                           target[i] = static_cast<W>(load_float<Stored>(from, before + i));
                                       }
                                     });
                                   });
  });
}

/// Copies to.size() values to the host. Waits for the device.
template <class W>
void download_weights(Context<Cuda>& ctx, const W* from, std::span<W> to) {
  ctx.backend().staging().download(ctx.backend().stream(), from, to.size_bytes(),
                                   [&](const std::byte* pinned, std::size_t offset, std::size_t bytes) {
                                     std::memcpy(reinterpret_cast<std::byte*>(to.data()) + offset, pinned, bytes);
                                   });
}

}  // namespace cuda

/// N rows (outputs) of K columns (inputs), weights of type W: float or bf16. Others: f8_matrix.cuh,
/// f8_blocks_matrix.cuh, stored_matrix.cuh.
template <class W, index_t N, index_t K, Packing packing>
class CudaMatrix {
  static_assert(std::is_same_v<W, float> || std::is_same_v<W, bf16>,
                "weights on the device are float, bf16, fp8, fp8_blocks or stored");
  static_assert(packing == Packing::plain || N % 2 == 0, "gate_up needs as many gates as ups");

 public:
  static constexpr std::size_t bytes() { return static_cast<std::size_t>(N) * static_cast<std::size_t>(K) * sizeof(W); }
  bool allocated() const { return data_.allocated(); }
  void allocate() {
    if (!allocated()) data_ = Tensor<W, Cuda, N, K>::uninitialized();
  }

  /// [N, K] on the device.
  const W* data() const { return data_.data(); }
  W* data() { return data_.data(); }

  /// Converts and copies rows [first_row, first_row + raw.rows()). `raw` has been read when this returns.
  void load_rows(Context<Cuda>& ctx, index_t first_row, const RawTensor& raw) {
    detail::require_rows_fit(first_row, raw.rows(), raw.row_size(), N, K);
    cuda::upload_weights(ctx, raw, 0, raw.rows() * K, data() + first_row * K);
  }

  /// Gives back rows [first_row, first_row + to.size() / K). Waits for the device.
  void store_rows(Context<Cuda>& ctx, index_t first_row, std::span<W> to) const {
    cuda::download_weights(ctx, data() + first_row * K, to);
  }

 private:
  Tensor<W, Cuda, N, K> data_;
};

}  // namespace qwen3vl

/// The CPU's layout of a weight matrix: panels of `panel` rows, each stored column by column, so that one step of the
/// inner product reads `panel` neighbouring weights. Packed once at load; the only copy of the weight in memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <utility>

#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/backend/contract/precision.hpp"
#include "qwen3vl/backend/cpu/cpu.hpp"
#include "qwen3vl/backend/cpu/simd/simd.hpp"
#include "qwen3vl/backend/cpu/weights/stored_parts.hpp"

namespace qwen3vl {

namespace cpu_kernels {
/// What an element of packed weights of type W is.
template <class W>
using stored_t = std::conditional_t<std::is_same_v<W, bf16_dot>, bf16, W>;
}  // namespace cpu_kernels

/// N rows (outputs) of K columns (inputs), weights of type W (float or bf16; bf16_dot where the processor has no dot
/// products of bf16).
template <class W, index_t N, index_t K, Packing packing>
class CpuMatrix {
  static_assert(!std::is_same_v<W, fp8>, "fp8 weights are for the CUDA backend; 8-bit weights of the CPU are Q8");
  static_assert(std::is_same_v<W, float> || std::is_same_v<W, bf16> || std::is_same_v<W, bf16_dot>,
                "the weights of a precision are float, bf16, bf16_dot, q8 or q4 (backend/contract/precision.hpp)");
  static_assert(packing == Packing::plain || N % 2 == 0, "gate_up needs as many gates as ups");
  using Weight = cpu_kernels::stored_t<W>;

 public:
  /// Rows of a panel: two vectors, so that one broadcast of x feeds two multiply-adds.
  static constexpr index_t panel = 2 * simd::width;
  static constexpr index_t outputs = packing == Packing::gate_up ? N / 2 : N;
  /// Outputs of one panel: with gate_up it holds one vector of gates and one of ups.
  static constexpr index_t panel_outputs = packing == Packing::gate_up ? panel / 2 : panel;
  static constexpr index_t panels = (outputs + panel_outputs - 1) / panel_outputs;

  CpuMatrix() = default;
  CpuMatrix(CpuMatrix&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  CpuMatrix& operator=(CpuMatrix&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }
  CpuMatrix(const CpuMatrix&) = delete;
  CpuMatrix& operator=(const CpuMatrix&) = delete;
  ~CpuMatrix() {
    if (data_ != nullptr) Host::deallocate(data_, bytes());
  }

  static constexpr std::size_t bytes() { return static_cast<std::size_t>(panels * panel * K) * sizeof(Weight); }
  bool allocated() const { return data_ != nullptr; }

  /// Takes memory without touching it; only the padding of the last panel is written.
  void allocate() {
    if (data_ == nullptr) data_ = static_cast<Weight*>(Host::allocate(bytes()));
    if constexpr (panels * panel_outputs != outputs)
      std::memset(static_cast<void*>(data_ + (panels - 1) * panel * K), 0,
                  static_cast<std::size_t>(panel * K) * sizeof(Weight));
  }

  /// Gives f the packed memory, as bytes.
  template <class F>
  void visit_memory(F&& f) {
    f(std::span(reinterpret_cast<std::byte*>(data_), bytes()));
  }

  /// Panel p: [K, panel].
  const Weight* panel_data(index_t p) const { return data_ + p * panel * K; }

  /// Converts and packs rows [first_row, first_row + raw.rows()).
  void load_rows(Context<Cpu>& ctx, index_t first_row, const RawTensor& raw) {
    if (first_row < 0 || raw.rows() > N - first_row || raw.row_size() != K)
      fail("rows ", first_row, " to ", first_row + raw.rows(), " of ", raw.row_size(),
           " columns do not fit a matrix of ", N, " x ", K);
    if constexpr (packing == Packing::gate_up) {
      if (raw.rows() == N) {
        const index_t shape[] = {outputs, K};
        RawTensor gates{.dtype = raw.dtype, .data = raw.data, .shape = shape, .file = raw.file}, ups = gates;
        ups.data += static_cast<std::size_t>(outputs * K) * size_of(raw.dtype);
        return load_halves(ctx, gates, ups);
      }
    }
    visit_floating(raw.dtype, [&](auto stored) { pack<decltype(stored)>(ctx, first_row, raw); });
  }

  /// Gates and ups together, [N / 2, K] each, for Packing::gate_up: faster than one after the other, since lines of
  /// memory that hold both are written once.
  void load_halves(Context<Cpu>& ctx, const RawTensor& gates,
                   const RawTensor& ups) requires(packing == Packing::gate_up) {
    if (gates.rows() != outputs || ups.rows() != outputs || gates.row_size() != K || ups.row_size() != K)
      fail("gates of ", gates.rows(), " x ", gates.row_size(), " and ups of ", ups.rows(), " x ", ups.row_size(),
           " do not fit a matrix of ", N, " x ", K);
    if (!packs_by_vectors<bf16> || gates.dtype != DType::bf16 || ups.dtype != DType::bf16) {
      load_rows(ctx, 0, gates);
      load_rows(ctx, outputs, ups);
      return;
    }
    constexpr index_t whole = outputs / panel_outputs;
    constexpr std::size_t row = static_cast<std::size_t>(K) * sizeof(bf16);
    const cpu_kernels::StoredParts gate_parts(gates, ctx.backend().threads(), panel_outputs * row);
    const cpu_kernels::StoredParts up_parts(ups, ctx.backend().threads(), panel_outputs * row);
#pragma omp parallel for schedule(static) num_threads(ctx.backend().threads()) if (N * K > 65536)
    for (index_t p = 0; p < panels; ++p) {
      const index_t begin = p * panel_outputs, end = std::min(outputs, begin + panel_outputs);
      const auto first = static_cast<std::size_t>(begin) * row, count = static_cast<std::size_t>(end - begin) * row;
      const std::byte* const gate = gate_parts(first, count);
      const std::byte* const up = up_parts(first, count);
      if (p < whole) {
        pack_panel(gate, up, p);
      } else {
        pack_group<bf16>(gate, begin, end);
        pack_group<bf16>(up, outputs + begin, outputs + end);
      }
    }
  }

  /// The same from the transposed matrix [K, N], as the Hub stores experts.
  void load_transposed(Context<Cpu>& ctx, const RawTensor& raw) {
    if (raw.rows() != K || raw.row_size() != N)
      fail("a transposed matrix of ", raw.rows(), " x ", raw.row_size(), " does not fit one of ", N, " x ", K);
    visit_floating(raw.dtype, [&](auto stored) { pack_transposed<decltype(stored)>(ctx, raw); });
  }

  /// Row n as floats, [K]: for the embedding.
  void read_row(index_t n, float* row) const {
    const Weight* const column = data_ + place(n);
    for (index_t k = 0; k < K; ++k) row[k] = static_cast<float>(column[k * panel]);
  }

 private:
  /// Where row n begins; its elements are `panel` apart.
  static constexpr index_t place(index_t n) {
    const bool up = packing == Packing::gate_up && n >= outputs;
    const index_t output = up ? n - outputs : n;
    return output / panel_outputs * panel * K + output % panel_outputs + (up ? panel_outputs : 0);
  }

  template <class Stored>
  void pack(Context<Cpu>& ctx, index_t first_row, const RawTensor& raw) {
    // Blocks of rows that are neighbours in a panel, so that a cache line of the panel is written by one thread.
    constexpr index_t group = panel_outputs;
    const index_t last_row = first_row + raw.rows();
    const index_t first_group = first_row / group, groups = (last_row + group - 1) / group - first_group;
    constexpr std::size_t row = static_cast<std::size_t>(K) * sizeof(Stored);
    const cpu_kernels::StoredParts parts(raw, ctx.backend().threads(), group * row);
#pragma omp parallel for schedule(static) num_threads(ctx.backend().threads()) if (raw.rows() * K > 65536)
    for (index_t g = 0; g < groups; ++g) {
      const index_t begin = std::max(first_row, (first_group + g) * group);
      const index_t end = std::min(last_row, (first_group + g + 1) * group);
      const std::byte* const from =
          parts(static_cast<std::size_t>(begin - first_row) * row, static_cast<std::size_t>(end - begin) * row);
      if (packing == Packing::plain && packs_by_vectors<Stored> && end - begin == panel) {
        pack_panel(from, from + simd::width * K * static_cast<index_t>(sizeof(Stored)), first_group + g);
      } else {
        pack_group<Stored>(from, begin, end);
      }
    }
  }

  /// A panel's step k is already a piece of the stored row k, or two pieces with gate_up.
  template <class Stored>
  void pack_transposed(Context<Cpu>& ctx, const RawTensor& raw) {
    constexpr index_t parts = packing == Packing::gate_up ? 2 : 1;
#pragma omp parallel for schedule(static) num_threads(ctx.backend().threads()) if (N * K > 65536)
    for (index_t p = 0; p < panels; ++p) {
      const index_t first = p * panel_outputs, count = std::min(panel_outputs, outputs - first);
      for (index_t k = 0; k < K; ++k)
        for (index_t part = 0; part < parts; ++part) {
          Stored values[panel_outputs];
          std::memcpy(values, raw.data + static_cast<std::size_t>(k * N + part * outputs + first) * sizeof(Stored),
                      static_cast<std::size_t>(count) * sizeof(Stored));
          Weight* const to = data_ + (p * K + k) * panel + part * panel_outputs;
          for (index_t i = 0; i < count; ++i) to[i] = converted(values[i]);
        }
    }
  }

  /// Rows [begin, end), which begin at `from` and lie in one panel (with gate_up possibly in two, if the ups do not
  /// begin at one): through a small transposed block, so that reads and writes both run along cache lines.
  template <class Stored>
  void pack_group(const std::byte* from, index_t begin, index_t end) {
    constexpr index_t block = 32;
    const index_t rows = end - begin;
    const bool together = place(begin) + rows - 1 == place(end - 1);
    for (index_t k0 = 0; k0 < K; k0 += block) {
      const index_t columns = std::min(block, K - k0);
      Stored values[panel_outputs][block];
      for (index_t r = 0; r < rows; ++r)
        std::memcpy(values[r], from + static_cast<std::size_t>(r * K + k0) * sizeof(Stored),
                    static_cast<std::size_t>(columns) * sizeof(Stored));
      if (together && rows == panel_outputs) {
        Weight* const to = data_ + place(begin) + k0 * panel;
        for (index_t k = 0; k < columns; ++k)
          for (index_t r = 0; r < panel_outputs; ++r) to[k * panel + r] = converted(values[r][k]);
      } else {
        for (index_t r = 0; r < rows; ++r)
          for (index_t k = 0; k < columns; ++k) data_[place(begin + r) + (k0 + k) * panel] = converted(values[r][k]);
      }
    }
  }

  /// Numbers of 16 bits that stay as they are.
  template <class Stored>
  static constexpr bool packs_by_vectors = std::is_same_v<Stored, Weight> && sizeof(Weight) == 2;

  /// A whole panel of such numbers: its first `width` rows begin at `first`, the others at `second`. In blocks of
  /// columns as wide as a line of the cache, through squares of vectors in the registers, and past the caches to
  /// memory.
  QWEN3VL_KERNEL void pack_panel(const std::byte* first, const std::byte* second, index_t p) {
    constexpr index_t block = 32, size = sizeof(Weight), whole = K / block * block;
    constexpr index_t ahead = 128;  // bytes of a row that are asked for early
    const auto row = [&](index_t r) { return (r < simd::width ? first : second) + r % simd::width * K * size; };
    Weight* const to = data_ + p * panel * K;
    for (index_t k0 = 0; k0 < whole; k0 += block) {
      alignas(64) std::uint16_t rows[panel][block], columns[block][panel];
      for (index_t r = 0; r < panel; ++r) {
        std::memcpy(rows[r], row(r) + k0 * size, sizeof rows[r]);
        __builtin_prefetch(row(r) + k0 * size + ahead);
      }
      for (index_t r = 0; r < panel; r += 8)
        for (index_t k = 0; k < block; k += 8) {
          simd::Octet square[8];
          simd::unroll<8>([&](auto i) { std::memcpy(&square[i], &rows[r + i][k], sizeof square[i]); });
          simd::transpose(square);
          simd::unroll<8>([&](auto i) { std::memcpy(&columns[k + i][r], &square[i], sizeof square[i]); });
        }
      simd::stream<sizeof columns>(to + k0 * panel, columns);
    }
    for (index_t r = 0; r < panel; ++r)
      for (index_t k = whole; k < K; ++k) std::memcpy(static_cast<void*>(to + k * panel + r), row(r) + k * size, size);
    simd::stream_fence();
  }

  template <class Stored>
  static Weight converted(Stored value) {
    if constexpr (std::is_same_v<Stored, Weight>) {
      return value;
    } else {
      return static_cast<Weight>(static_cast<float>(value));
    }
  }

  Weight* data_ = nullptr;
};

}  // namespace qwen3vl

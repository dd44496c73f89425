/// CpuMatrix for weights of type bf16_dot where the processor has dot products of bf16, and for all bf16 weights where
/// it has tiles: panels as those of other weights, with two neighbouring columns of a row side by side, as those
/// instructions want them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <utility>

#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/backend/cpu/cpu.hpp"
#include "qwen3vl/backend/cpu/simd/pair_simd.hpp"
#include "qwen3vl/backend/cpu/weights/packed_matrix.hpp"

#if QWEN3VL_HAS_BF16_DOT

namespace qwen3vl {

/// N rows (outputs) of K columns (inputs), [pairs][panel][2] in each panel; K is padded with columns of zeros to whole
/// pairs, and to whole tiles where there are any.
template <cpu_kernels::PairWeight W, index_t N, index_t K, Packing packing>
class CpuMatrix<W, N, K, packing> {
  static_assert(packing == Packing::plain || N % 2 == 0, "gate_up needs as many gates as ups");

 public:
  static constexpr index_t panel = 2 * simd::width;
  static constexpr index_t outputs = packing == Packing::gate_up ? N / 2 : N;
  static constexpr index_t panel_outputs = packing == Packing::gate_up ? panel / 2 : panel;
  static constexpr index_t panels = (outputs + panel_outputs - 1) / panel_outputs;
  static constexpr index_t pairs =
      ((K + 1) / 2 + cpu_kernels::pair_granule - 1) / cpu_kernels::pair_granule * cpu_kernels::pair_granule;
  static constexpr index_t panel_size = pairs * panel * 2;

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

  static constexpr std::size_t bytes() { return static_cast<std::size_t>(panels * panel_size) * sizeof(bf16); }
  bool allocated() const { return data_ != nullptr; }

  /// Takes memory without touching it; only the padding is written.
  void allocate() {
    if (data_ == nullptr) data_ = static_cast<bf16*>(Host::allocate(bytes()));
    if constexpr (panels * panel_outputs != outputs)
      std::memset(static_cast<void*>(data_ + (panels - 1) * panel_size), 0, panel_size * sizeof(bf16));
    for (index_t p = 0; p < panels; ++p)
      for (index_t k = K; k < 2 * pairs; ++k)
        for (index_t i = 0; i < panel; ++i) data_[p * panel_size + k / 2 * 2 * panel + 2 * i + k % 2] = bf16(0.0f);
  }

  /// Gives f the packed memory, as bytes.
  template <class F>
  void visit_memory(F&& f) {
    f(std::span(reinterpret_cast<std::byte*>(data_), bytes()));
  }

  /// Panel p: [pairs, panel, 2].
  const bf16* panel_data(index_t p) const { return data_ + p * panel_size; }

  /// Converts and packs rows [first_row, first_row + raw.rows()).
  void load_rows(Context<Cpu>& ctx, index_t first_row, const RawTensor& raw) {
    if (first_row < 0 || raw.rows() > N - first_row || raw.row_size() != K)
      fail("rows ", first_row, " to ", first_row + raw.rows(), " of ", raw.row_size(),
           " columns do not fit a matrix of ", N, " x ", K);
    visit_floating(raw.dtype, [&](auto stored) {
      using Stored = decltype(stored);
      // Groups of rows that are neighbours in a panel, so that a cache line of the panel is written by one thread.
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
        // In short stretches of columns: reads and writes both stay within the cache.
        index_t done = 0;
        if constexpr (std::is_same_v<Stored, bf16>)
          if (end - begin == group && place(begin) + 2 * (group - 1) == place(end - 1))
            done = pack_whole_blocks(from, data_ + place(begin));
        for (index_t k0 = done; k0 < K; k0 += block)
          for (index_t n = begin; n < end; ++n) {
            Stored values[block];
            const index_t columns = std::min(block, K - k0);
            std::memcpy(values, from + static_cast<std::size_t>((n - begin) * K + k0) * sizeof(Stored),
                        static_cast<std::size_t>(columns) * sizeof(Stored));
            bf16* const to = data_ + place(n) + k0 * panel;
            for (index_t k = 0; k < columns; ++k) to[k / 2 * 2 * panel + k % 2] = converted(values[k]);
          }
      }
    });
  }

  /// The same from the transposed matrix [K, N], as the Hub stores experts.
  void load_transposed(Context<Cpu>& ctx, const RawTensor& raw) {
    if (raw.rows() != K || raw.row_size() != N)
      fail("a transposed matrix of ", raw.rows(), " x ", raw.row_size(), " does not fit one of ", N, " x ", K);
    visit_floating(raw.dtype, [&](auto stored) {
      using Stored = decltype(stored);
      constexpr index_t parts = N / outputs;  // gates and ups
#pragma omp parallel for schedule(static) num_threads(ctx.backend().threads()) if (N * K > 65536)
      for (index_t p = 0; p < panels; ++p) {
        const index_t first = p * panel_outputs, count = std::min(panel_outputs, outputs - first);
        for (index_t k = 0; k < K; ++k)
          for (index_t part = 0; part < parts; ++part) {
            Stored values[panel_outputs];
            std::memcpy(values, raw.data + static_cast<std::size_t>(k * N + part * outputs + first) * sizeof(Stored),
                        static_cast<std::size_t>(count) * sizeof(Stored));
            bf16* const to = data_ + place(part * outputs + first) + k / 2 * 2 * panel + k % 2;
            for (index_t i = 0; i < count; ++i) to[2 * i] = converted(values[i]);
          }
      }
    });
  }

  /// Row n as floats, [K]: for the embedding.
  void read_row(index_t n, float* row) const {
    const bf16* const column = data_ + place(n);
    for (index_t k = 0; k < K; ++k) row[k] = static_cast<float>(column[k / 2 * 2 * panel + k % 2]);
  }

 private:
  /// A panel's rows, which follow one another from `from` on: blocks of 16 rows and 16 pairs of columns as they are,
  /// but transposed. Returns the columns done; what is left is less than a block.
  static index_t pack_whole_blocks(const std::byte* from, bf16* to) {
    constexpr index_t whole = K / block * block;
    for (index_t k = 0; k < whole; k += block)
      for (index_t row = 0; row < panel_outputs; row += simd::width)
        simd::transpose_words(from + (row * K + k) * 2, K * 2, to + k * panel + 2 * row, 2 * panel * 2);
    return whole;
  }

  static constexpr index_t block = 32;
  static_assert(block % 2 == 0);

  /// Where row n begins; its pairs are 2 * panel apart.
  static constexpr index_t place(index_t n) {
    const bool up = packing == Packing::gate_up && n >= outputs;
    const index_t output = up ? n - outputs : n;
    return output / panel_outputs * panel_size + 2 * (output % panel_outputs + (up ? panel_outputs : 0));
  }

  template <class Stored>
  static bf16 converted(Stored value) {
    if constexpr (std::is_same_v<Stored, bf16>) {
      return value;
    } else {
      return static_cast<bf16>(static_cast<float>(value));
    }
  }

  bf16* data_ = nullptr;
};

}  // namespace qwen3vl

#endif

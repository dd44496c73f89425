/// CpuMatrix for block weights (q8, q4): panels as those of other weights, each a row of superblocks of two strips (see
/// block_format.hpp). Rounded once at load; the only copy of the weight in memory.
#pragma once

#include <algorithm>
#include <cstring>
#include <utility>

#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/backend/cpu/cpu.hpp"
#include "qwen3vl/backend/cpu/weights/block_rounding.hpp"
#include "qwen3vl/backend/cpu/weights/stored_parts.hpp"

namespace qwen3vl {

/// N rows (outputs) of K columns (inputs), kept in blocks. Columns are padded to whole blocks inside.
template <BlockWeight W, index_t N, index_t K, Packing packing>
class CpuMatrix<W, N, K, packing> {
  static_assert(packing == Packing::plain || N % 2 == 0, "gate_up needs as many gates as ups");
  using Layout = cpu_kernels::StripLayout<W>;
  using Rounded = cpu_kernels::StripLayout<W, 1>;
  static constexpr index_t width = simd::width;

 public:
  static constexpr index_t panel = 2 * width;
  static constexpr index_t outputs = packing == Packing::gate_up ? N / 2 : N;
  /// Outputs of one panel: with gate_up its first strip holds gates and its second one ups.
  static constexpr index_t panel_outputs = packing == Packing::gate_up ? width : panel;
  static constexpr index_t panels = (outputs + panel_outputs - 1) / panel_outputs;
  static constexpr index_t blocks = (K + cpu_kernels::block_columns - 1) / cpu_kernels::block_columns;
  static constexpr index_t superblocks = (blocks + cpu_kernels::superblock_blocks - 1) / cpu_kernels::superblock_blocks;
  static constexpr index_t panel_bytes = (superblocks - 1) * Layout::bytes(cpu_kernels::superblock_blocks) +
                                         Layout::bytes(blocks - (superblocks - 1) * cpu_kernels::superblock_blocks);

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

  static constexpr std::size_t bytes() { return static_cast<std::size_t>(panels * panel_bytes); }
  bool allocated() const { return data_ != nullptr; }

  /// Takes memory without touching it; only the last panel, if it is not full, is set to weights of 0.
  void allocate() {
    if (data_ == nullptr) data_ = static_cast<std::byte*>(Host::allocate(bytes()));
    if constexpr (panels * panel_outputs != outputs)
      std::memset(data_ + (panels - 1) * panel_bytes, 0, static_cast<std::size_t>(panel_bytes));
  }

  /// Gives f the packed memory, as bytes.
  template <class F>
  void visit_memory(F&& f) {
    f(std::span(data_, bytes()));
  }

  /// Blocks of superblock s.
  static constexpr index_t blocks_of(index_t s) {
    return std::min(cpu_kernels::superblock_blocks, blocks - s * cpu_kernels::superblock_blocks);
  }
  /// Panel p, from superblock s on.
  const std::byte* panel_data(index_t p, index_t s = 0) const {
    return data_ + p * panel_bytes + s * Layout::bytes(cpu_kernels::superblock_blocks);
  }

  /// Rounds and packs rows [first_row, first_row + raw.rows()).
  void load_rows(Context<Cpu>& ctx, index_t first_row, const RawTensor& raw) {
    if (first_row < 0 || raw.rows() > N - first_row || raw.row_size() != K)
      fail("rows ", first_row, " to ", first_row + raw.rows(), " of ", raw.row_size(),
           " columns do not fit a matrix of ", N, " x ", K);
    visit_floating(raw.dtype, [&](auto stored) {
      using Stored = decltype(stored);
      constexpr std::size_t row_bytes = static_cast<std::size_t>(K) * sizeof(Stored);
      const cpu_kernels::StoredParts parts(raw, ctx.backend().threads(), width * row_bytes);
      pack(ctx, first_row, first_row + raw.rows(), [&](index_t begin, index_t end) {
        const std::byte* const from = parts(static_cast<std::size_t>(begin - first_row) * row_bytes,
                                            static_cast<std::size_t>(end - begin) * row_bytes);
        return [from, begin](index_t n, index_t k0, index_t columns, float* to) {
          const std::byte* const row = from + static_cast<std::size_t>((n - begin) * K + k0) * sizeof(Stored);
          for (index_t k = 0; k < columns; ++k) to[k * width] = load_float<Stored>(row, static_cast<std::size_t>(k));
        };
      });
    });
  }

  /// The same from the transposed matrix [K, N], as the Hub stores experts.
  void load_transposed(Context<Cpu>& ctx, const RawTensor& raw) {
    if (raw.rows() != K || raw.row_size() != N)
      fail("a transposed matrix of ", raw.rows(), " x ", raw.row_size(), " does not fit one of ", N, " x ", K);
    visit_floating(raw.dtype, [&](auto stored) {
      using Stored = decltype(stored);
      pack(ctx, 0, N, [&](index_t, index_t) {
        return [&](index_t n, index_t k0, index_t columns, float* to) {
          for (index_t k = 0; k < columns; ++k)
            to[k * width] = load_float<Stored>(raw.data, static_cast<std::size_t>((k0 + k) * N + n));
        };
      });
    });
  }

  /// Row n as floats, [K]: for the embedding. These are the weights that products use, exactly.
  void read_row(index_t n, float* row) const {
    using Format = cpu_kernels::BlockFormat<W>;
    const Place at = place(n);
    for (index_t s = 0; s < superblocks; ++s) {
      const index_t count = blocks_of(s);
      const std::byte* const from = panel_data(at.panel, s);
      const auto scale = load_float<bf16>(from + Layout::scales(at.strip), static_cast<std::size_t>(at.lane));
      for (index_t b = 0; b < count; ++b) {
        const auto step = std::to_integer<std::int32_t>(from[Layout::steps(b, at.strip) + at.lane]);
        std::int32_t offset = 0;
        if constexpr (Format::has_offset)
          offset = static_cast<std::int8_t>(from[Layout::offsets(b, at.strip) + at.lane]) * Format::offset_unit;
        for (index_t v = 0; v < Layout::vectors; ++v)
          for (index_t j = 0; j < 2; ++j) {
            std::uint16_t word = 0;
            std::memcpy(&word, from + Layout::words(count, b, v, at.strip) + (at.lane * 2 + j) * 2, sizeof word);
            for (index_t i = 0; i < Format::per_word; ++i) {
              const index_t k = (s * cpu_kernels::superblock_blocks + b) * cpu_kernels::block_columns +
                                (v * Format::per_word + i) * 2 + j;
              if (k < K) row[k] = scale * static_cast<float>(step * Format::part(word, i) + offset);
            }
          }
      }
    }
  }

 private:
  struct Place {
    index_t panel, strip, lane;
  };
  static constexpr Place place(index_t n) {
    const bool up = packing == Packing::gate_up && n >= outputs;
    const index_t output = up ? n - outputs : n, lane = output % panel_outputs;
    if (packing == Packing::gate_up) return {output / panel_outputs, up ? 1 : 0, lane};
    return {output / panel_outputs, lane / width, lane % width};
  }

  /// rows(begin, end) gives the function for these rows: read(n, k0, columns, to) puts `columns` weights of row n into
  /// one lane of a [columns, width] block.
  template <class Rows>
  void pack(Context<Cpu>& ctx, index_t first_row, index_t end_row, const Rows& rows) {
    constexpr index_t parts = N / outputs;  // gates and ups
    constexpr index_t strips = (outputs + width - 1) / width;
#pragma omp parallel for schedule(static) num_threads(ctx.backend().threads()) if (N * K > 65536)
    for (index_t i = 0; i < parts * strips; ++i) {
      const index_t part = i / strips, first_output = i % strips * width;
      const index_t begin = std::max(first_row, part * outputs + first_output);
      const index_t end = std::min(end_row, part * outputs + std::min(outputs, first_output + width));
      if (begin < end) pack_strip(begin, end, rows(begin, end));
    }
  }

  /// Rows [begin, end) of one strip.
  template <class Read>
  void pack_strip(index_t begin, index_t end, const Read& read) {
    using namespace cpu_kernels;
    const Place at = place(begin);
    alignas(64) float weights[superblock_columns * width] = {};
    alignas(64) std::byte rounded[Rounded::bytes(superblock_blocks)];
    for (index_t s = 0; s < superblocks; ++s) {
      const index_t k0 = s * superblock_columns, count = blocks_of(s);
      const index_t columns = std::min(superblock_columns, K - k0);
      for (index_t n = begin; n < end; ++n) {
        float* const lane = weights + at.lane + (n - begin);
        read(n, k0, columns, lane);
        // Padding multiplies zeros; as a copy of a real weight it does not widen the range of its block.
        for (index_t k = columns; k < count * block_columns; ++k) lane[k * width] = lane[(columns - 1) * width];
      }
      round_superblock<W>(weights, count, rounded);
      copy_lanes(rounded, data_ + (panel_data(at.panel, s) - data_), count, at.strip, at.lane, at.lane + end - begin);
    }
  }

  /// Lanes [begin, end) of a superblock of one strip; the others may belong to rows that are loaded already.
  static void copy_lanes(const std::byte* from, std::byte* to, index_t count, index_t strip, index_t begin,
                         index_t end) {
    const auto copy = [&](index_t source, index_t target, index_t lane_bytes) {
      std::memcpy(to + target + begin * lane_bytes, from + source + begin * lane_bytes,
                  static_cast<std::size_t>((end - begin) * lane_bytes));
    };
    copy(Rounded::scales(0), Layout::scales(strip), 2);
    for (index_t b = 0; b < count; ++b) {
      copy(Rounded::steps(b, 0), Layout::steps(b, strip), 1);
      if constexpr (cpu_kernels::BlockFormat<W>::has_offset) copy(Rounded::offsets(b, 0), Layout::offsets(b, strip), 1);
    }
    for (index_t b = 0; b < count; ++b)
      for (index_t v = 0; v < Layout::vectors; ++v)
        copy(Rounded::words(count, b, v, 0), Layout::words(count, b, v, strip), 4);
  }

  std::byte* data_ = nullptr;
};

}  // namespace qwen3vl

/// Panels of block weights (q8, q4): rows of superblocks of two strips (see block_format.hpp), rounded at load time.
#pragma once

#include <algorithm>
#include <cstring>

#include "qwen3vl/backend/cpu/weights/block_rounding.hpp"
#include "qwen3vl/backend/cpu/weights/panel.hpp"
#include "qwen3vl/tensor/dtype.hpp"

namespace qwen3vl::cpu_kernels {

/// Columns are padded to whole blocks.
template <BlockWeight W, index_t K>
struct BlockPanels {
  using Element = std::byte;
  using Layout = StripLayout<W>;
  static constexpr index_t blocks = (K + block_columns - 1) / block_columns;
  static constexpr index_t superblocks = (blocks + superblock_blocks - 1) / superblock_blocks;
  static constexpr index_t size = (superblocks - 1) * Layout::bytes(superblock_blocks) +
                                  Layout::bytes(blocks - (superblocks - 1) * superblock_blocks);
  /// Offset of superblock s.
  static constexpr index_t offset(index_t s) { return s < superblocks ? s * Layout::bytes(superblock_blocks) : size; }

  template <class Stored>
  static void pack(const std::byte* from, index_t rows, index_t lane, std::byte* panel) {
    pack_rows(rows, lane, panel, [&](index_t r, index_t k0, index_t columns, float* to) {
      const std::byte* const row = from + static_cast<std::size_t>(r * K + k0) * sizeof(Stored);
      for (index_t k = 0; k < columns; ++k) to[k * width] = load_float<Stored>(row, static_cast<std::size_t>(k));
    });
  }
  template <class Stored>
  static void pack_transposed(const std::byte* from, index_t stride, index_t rows, index_t lane, std::byte* panel) {
    pack_rows(rows, lane, panel, [&](index_t r, index_t k0, index_t columns, float* to) {
      for (index_t k = 0; k < columns; ++k)
        to[k * width] = load_float<Stored>(from, static_cast<std::size_t>((k0 + k) * stride + r));
    });
  }

  static void read_row(const std::byte* panel, index_t lane_of_panel, float* row) {
    using Format = BlockFormat<W>;
    const index_t strip = lane_of_panel / width, lane = lane_of_panel % width;
    for (index_t s = 0; s < superblocks; ++s) {
      const index_t count = blocks_of(s);
      const std::byte* const from = panel + offset(s);
      const auto scale = load_float<bf16>(from + Layout::scales(strip), static_cast<std::size_t>(lane));
      for (index_t b = 0; b < count; ++b) {
        const auto step = std::to_integer<std::int32_t>(from[Layout::steps(b, strip) + lane]);
        std::int32_t offset = 0;
        if constexpr (Format::has_offset)
          offset = static_cast<std::int8_t>(from[Layout::offsets(b, strip) + lane]) * Format::offset_unit;
        for (index_t v = 0; v < Layout::vectors; ++v)
          for (index_t j = 0; j < 2; ++j) {
            std::uint16_t word = 0;
            std::memcpy(&word, from + Layout::words(count, b, v, strip) + (lane * 2 + j) * 2, sizeof word);
            for (index_t i = 0; i < Format::per_word; ++i) {
              const index_t k = (s * superblock_blocks + b) * block_columns + (v * Format::per_word + i) * 2 + j;
              if (k < K) row[k] = scale * static_cast<float>(step * Format::part(word, i) + offset);
            }
          }
      }
    }
  }

 private:
  using Rounded = StripLayout<W, 1>;
  static constexpr index_t width = simd::width;

  static constexpr index_t blocks_of(index_t s) { return std::min(superblock_blocks, blocks - s * superblock_blocks); }

  /// read(r, k0, columns, to) copies `columns` weights of row r into one lane of a [columns, width] block.
  template <class Read>
  static void pack_rows(index_t rows, index_t lane, std::byte* panel, const Read& read) {
    for (index_t first = 0, count; first < rows; first += count) {
      count = std::min(rows - first, width - (lane + first) % width);
      pack_strip(first, first + count, lane + first, panel, read);
    }
  }

  /// Packs rows [begin, end), which lie in one strip.
  template <class Read>
  static void pack_strip(index_t begin, index_t end, index_t lane_of_panel, std::byte* panel, const Read& read) {
    const index_t strip = lane_of_panel / width, lane = lane_of_panel % width;
    alignas(64) float weights[superblock_columns * width] = {};
    alignas(64) std::byte rounded[Rounded::bytes(superblock_blocks)];
    for (index_t s = 0; s < superblocks; ++s) {
      const index_t k0 = s * superblock_columns, count = blocks_of(s);
      const index_t columns = std::min(superblock_columns, K - k0);
      for (index_t r = begin; r < end; ++r) {
        float* const to = weights + lane + (r - begin);
        read(r, k0, columns, to);
        // Padding multiplies zeros; a copy of a real weight does not widen the range of its block.
        for (index_t k = columns; k < count * block_columns; ++k) to[k * width] = to[(columns - 1) * width];
      }
      round_superblock<W>(weights, count, rounded);
      copy_lanes(rounded, panel + offset(s), count, strip, lane, lane + end - begin);
    }
  }

  /// Copies lanes [begin, end) of a single-strip superblock; the other lanes may already hold loaded rows.
  static void copy_lanes(const std::byte* from, std::byte* to, index_t count, index_t strip, index_t begin,
                         index_t end) {
    const auto copy = [&](index_t source, index_t target, index_t lane_bytes) {
      std::memcpy(to + target + begin * lane_bytes, from + source + begin * lane_bytes,
                  static_cast<std::size_t>((end - begin) * lane_bytes));
    };
    copy(Rounded::scales(0), Layout::scales(strip), 2);
    for (index_t b = 0; b < count; ++b) {
      copy(Rounded::steps(b, 0), Layout::steps(b, strip), 1);
      if constexpr (BlockFormat<W>::has_offset) copy(Rounded::offsets(b, 0), Layout::offsets(b, strip), 1);
    }
    for (index_t b = 0; b < count; ++b)
      for (index_t v = 0; v < Layout::vectors; ++v)
        copy(Rounded::words(count, b, v, 0), Layout::words(count, b, v, strip), 4);
  }
};

}  // namespace qwen3vl::cpu_kernels

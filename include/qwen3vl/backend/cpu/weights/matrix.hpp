/// The CPU's weight matrix: panels of rows in a layout chosen by the weight type (panel.hpp). Packed once at load time;
/// memory holds no other copy of the weight.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>

#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/backend/cpu/cpu.hpp"
#include "qwen3vl/backend/cpu/weights/block_panels.hpp"
#include "qwen3vl/backend/cpu/weights/float_panels.hpp"
#include "qwen3vl/backend/cpu/weights/pair_panels.hpp"
#include "qwen3vl/backend/cpu/weights/stored_parts.hpp"

namespace qwen3vl {

namespace cpu_kernels {

/// Layout of weights of type W. bf16_dot is stored as bf16 on processors without bf16 dot products.
template <class W, index_t K>
struct LayoutOf {
  using type = FloatPanels<std::conditional_t<std::is_same_v<W, bf16_dot>, bf16, W>, K>;
};
template <BlockWeight W, index_t K>
struct LayoutOf<W, K> {
  using type = BlockPanels<W, K>;
};
template <BlockDotWeight W, index_t K>
struct LayoutOf<W, K> {
  using type = BlockPanels<typename W::Blocks, K>;
};
#if QWEN3VL_HAS_BF16_DOT
template <PairWeight W, index_t K>
struct LayoutOf<W, K> {
  using type = PairPanels<K>;
};
#endif

}  // namespace cpu_kernels

/// N rows (outputs) of K columns (inputs), weights of type W.
template <class W, index_t N, index_t K, Packing packing>
class CpuMatrix {
  static_assert(!std::is_same_v<W, fp8> && !std::is_same_v<W, fp8_blocks>,
                "fp8 weights are for the CUDA backend; 8-bit weights of the CPU are Q8");
  static_assert(std::is_same_v<W, float> || std::is_same_v<W, bf16> || std::is_same_v<W, bf16_dot> || BlockWeight<W> ||
                    BlockDotWeight<W>,
                "the weights of a precision are float, bf16, bf16_dot, q8, q4, q8_dot, q4_dot or stored "
                "(backend/contract/precision.hpp)");
  static_assert(packing == Packing::plain || N % 2 == 0, "gate_up needs as many gates as ups");

 public:
  using Layout = typename cpu_kernels::LayoutOf<W, K>::type;
  using Element = typename Layout::Element;
  static constexpr index_t parts = packing == Packing::gate_up ? 2 : 1;
  static constexpr index_t outputs = N / parts;
  /// Outputs per panel. With gate_up, the first half of a panel holds gates and the second half ups.
  static constexpr index_t panel_outputs = cpu_kernels::panel_rows / parts;
  static constexpr index_t panels = (outputs + panel_outputs - 1) / panel_outputs;

  static constexpr std::size_t bytes() { return static_cast<std::size_t>(panels * Layout::size) * sizeof(Element); }
  bool allocated() const { return data_.allocated(); }

  /// Allocates without initialising; only padding is written.
  void allocate() {
    if (!allocated()) data_ = decltype(data_)::uninitialized();
    if constexpr (panels * panel_outputs != outputs) std::fill_n(mutable_panel(panels - 1), Layout::size, Element{});
    if constexpr (requires { Layout::pad(mutable_panel(0)); })
      for (index_t p = 0; p < panels; ++p) Layout::pad(mutable_panel(p));
  }

  /// Passes the packed memory to f, as bytes.
  template <class F>
  void visit_memory(F&& f) {
    f(std::as_writable_bytes(data_.span()));
  }

  /// Panel p: Layout::size elements.
  const Element* panel(index_t p) const { return data_.data() + p * Layout::size; }

  /// Converts and packs rows [first_row, first_row + raw.rows()).
  void load_rows(Context<Cpu>& ctx, index_t first_row, const RawTensor& raw) {
    detail::require_rows_fit(first_row, raw.rows(), raw.row_size(), N, K);
    if constexpr (packing == Packing::gate_up) {
      if (raw.rows() == N) {
        const index_t half[] = {outputs, K};
        return load_halves(ctx, raw.rows_from(0, half), raw.rows_from(outputs, half));
      }
    }
    if (raw.rows() == 0) return;
    visit_floating(raw.dtype, [&](auto stored) {
      using Stored = decltype(stored);
      const index_t last_row = first_row + raw.rows();
      const index_t first_group = group_of(first_row), last_group = group_of(last_row - 1);
      const cpu_kernels::StoredParts stored_parts(raw, ctx.backend().threads(), panel_outputs);
#pragma omp parallel for schedule(static) num_threads(ctx.backend().threads()) if (raw.rows() * K > 65536)
      for (index_t g = first_group; g <= last_group; ++g) {
        const index_t part = g / panels, first = part * outputs + g % panels * panel_outputs;
        const index_t begin = std::max(first_row, first);
        const index_t end = std::min({last_row, (part + 1) * outputs, first + panel_outputs});
        Layout::template pack<Stored>(stored_parts(begin - first_row, end - begin), end - begin, lane_of(begin),
                                      mutable_panel(g % panels));
      }
    });
  }

  /// Packs gates and ups together, [N / 2, K] each, for Packing::gate_up. Faster than one after the other, because
  /// cache lines that hold both are written once.
  void load_halves(Context<Cpu>& ctx, const RawTensor& gates,
                   const RawTensor& ups) requires(packing == Packing::gate_up) {
    if (gates.rows() != outputs || ups.rows() != outputs || gates.row_size() != K || ups.row_size() != K)
      fail("gates of ", gates.rows(), " x ", gates.row_size(), " and ups of ", ups.rows(), " x ", ups.row_size(),
           " do not fit a matrix of ", N, " x ", K);
    if (gates.dtype != ups.dtype) {
      load_rows(ctx, 0, gates);
      load_rows(ctx, outputs, ups);
      return;
    }
    visit_floating(gates.dtype, [&](auto stored) {
      using Stored = decltype(stored);
      const cpu_kernels::StoredParts gate_parts(gates, ctx.backend().threads(), panel_outputs);
      const cpu_kernels::StoredParts up_parts(ups, ctx.backend().threads(), panel_outputs);
#pragma omp parallel for schedule(static) num_threads(ctx.backend().threads()) if (N * K > 65536)
      for (index_t p = 0; p < panels; ++p) {
        const index_t begin = p * panel_outputs, rows = std::min(panel_outputs, outputs - begin);
        const std::byte* const gate = gate_parts(begin, rows);
        const std::byte* const up = up_parts(begin, rows);
        if constexpr (requires { Layout::template pack_halves<Stored>(gate, up, mutable_panel(p)); }) {
          if (rows == panel_outputs) {
            Layout::template pack_halves<Stored>(gate, up, mutable_panel(p));
            continue;
          }
        }
        Layout::template pack<Stored>(gate, rows, 0, mutable_panel(p));
        Layout::template pack<Stored>(up, rows, panel_outputs, mutable_panel(p));
      }
    });
  }

  /// As load_rows, from the transposed matrix [K, N] that the Hub stores for experts.
  void load_transposed(Context<Cpu>& ctx, const RawTensor& stored_raw) {
    if (stored_raw.rows() != K || stored_raw.row_size() != N)
      fail("a transposed matrix of ", stored_raw.rows(), " x ", stored_raw.row_size(), " does not fit one of ", N,
           " x ", K);
    std::vector<float> values;
    const RawTensor raw = widened(stored_raw, values);
    visit_floating(raw.dtype, [&](auto stored) {
      using Stored = decltype(stored);
#pragma omp parallel for schedule(static) num_threads(ctx.backend().threads()) if (N * K > 65536)
      for (index_t p = 0; p < panels; ++p)
        for (index_t part = 0; part < parts; ++part) {
          const index_t first = p * panel_outputs;
          Layout::template pack_transposed<Stored>(
              raw.data + static_cast<std::size_t>(part * outputs + first) * sizeof(Stored), N,
              std::min(panel_outputs, outputs - first), part * panel_outputs, mutable_panel(p));
        }
    });
  }

  /// Gives back rows [first_row, first_row + to.size() / K) as they were loaded.
  template <std::same_as<stored_weight_t<W>> Stored>
  void store_rows(Context<Cpu>& ctx, index_t first_row, std::span<Stored> to) const {
    const index_t rows = static_cast<index_t>(to.size()) / K;
#pragma omp parallel for schedule(static) num_threads(ctx.backend().threads()) if (rows * K > 65536)
    for (index_t r = 0; r < rows; ++r) {
      std::vector<float> row(static_cast<std::size_t>(K));
      read_row(first_row + r, row.data());
      std::ranges::transform(row, to.data() + r * K, [](float value) { return static_cast<Stored>(value); });
    }
  }

  /// Row n as floats, [K], for the embedding: exactly the (rounded) weights that products use.
  void read_row(index_t n, float* row) const { Layout::read_row(panel(group_of(n) % panels), lane_of(n), row); }

 private:
  Element* mutable_panel(index_t p) { return data_.data() + p * Layout::size; }

  /// Rows that share a panel form a group, so that each cache line of a panel is written by one thread. With gate_up,
  /// panel p holds groups p and panels + p.
  static constexpr index_t group_of(index_t n) { return n / outputs * panels + n % outputs / panel_outputs; }
  static constexpr index_t lane_of(index_t n) { return n / outputs * panel_outputs + n % outputs % panel_outputs; }

  Tensor<Element, Cpu, panels * Layout::size> data_;
};

}  // namespace qwen3vl

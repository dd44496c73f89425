/// The CPU's matrix of `stored` weights: shape and packing around StoredWeights.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/backend/contract/precision.hpp"
#include "qwen3vl/backend/cpu/weights/stored_weights.hpp"

namespace qwen3vl {

/// As CpuMatrix, with one step before allocate(): expect_rows(first_row, raw) for every tensor that will be loaded, in
/// order, of which only shape and type are read. Rows of different tensors may be stored differently.
template <index_t N, index_t K, Packing packing>
class CpuMatrix<stored, N, K, packing> {
  static_assert(packing == Packing::plain || N % 2 == 0, "gate_up needs as many gates as ups");

 public:
  static constexpr index_t parts = packing == Packing::gate_up ? 2 : 1;
  static constexpr index_t outputs = N / parts;
  static constexpr index_t panel_outputs = cpu_kernels::panel_rows / parts;
  static constexpr index_t panels = (outputs + panel_outputs - 1) / panel_outputs;

  void expect_rows(index_t first_row, const RawTensor& raw, bool transposed = false) {
    weights_.expect_rows(first_row, raw, transposed);
  }
  /// Of what was loaded or announced; 0 if neither.
  std::size_t bytes() const { return weights_.bytes(); }
  bool allocated() const { return weights_.allocated(); }
  void allocate() { weights_.allocate(); }

  template <class F>
  void visit_memory(F&& f) {
    f(weights_.memory());
  }
  void load_rows(Context<Cpu>& ctx, index_t first_row, const RawTensor& raw) {
    weights_.load_rows(ctx.backend().threads(), first_row, raw);
  }
  void load_transposed(Context<Cpu>& ctx, const RawTensor& raw) {
    weights_.load_transposed(ctx.backend().threads(), raw);
  }
  /// Gives back rows [first_row, first_row + to.size() / K) as the numbers that they multiply out to.
  void store_rows(Context<Cpu>& ctx, index_t first_row, std::span<float> to) const {
    const index_t rows = static_cast<index_t>(to.size()) / K;
#pragma omp parallel for schedule(static) num_threads(ctx.backend().threads()) if (rows * K > 65536)
    for (index_t r = 0; r < rows; ++r) read_row(first_row + r, to.data() + r * K);
  }
  std::string forms() const { return weights_.forms(); }
  std::string_view form_of(index_t n) const { return weights_.form_of(n); }
  void read_row(index_t n, float* row) const { weights_.read_row(n, row); }

  /// Ranges of panels in one form, in order.
  const std::vector<cpu_kernels::StoredSection>& sections() const { return weights_.sections(); }
  const std::byte* panels_of(const cpu_kernels::StoredSection& section) const { return weights_.panels(section); }

 private:
  cpu_kernels::StoredWeights weights_{N, K, parts};
};

}  // namespace qwen3vl

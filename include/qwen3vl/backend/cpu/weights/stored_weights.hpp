/// The memory of a matrix of `stored` weights, whatever its shape: sections of panels, each in one form. Compiled once
/// for all shapes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/backend/cpu/cpu.hpp"
#include "qwen3vl/backend/cpu/weights/float_panels.hpp"
#include "qwen3vl/backend/cpu/weights/stored_form.hpp"
#include "qwen3vl/backend/cpu/weights/stored_parts.hpp"

namespace qwen3vl::cpu_kernels {

/// Panels [first, end) in one form.
struct StoredSection {
  StoredForm form;
  index_t first, end;
  index_t panel_bytes;
  index_t place;  ///< of the first panel, in bytes
};

class StoredWeights {
 public:
  /// `parts`: 2 if gates and ups share panels (Packing::gate_up), else 1.
  StoredWeights(index_t rows, index_t columns, index_t parts)
      : rows_(rows), columns_(columns), outputs_(rows / parts), panel_outputs_(panel_rows / parts) {}

  /// Announces rows [first_row, first_row + raw.rows()): only the tensor's form and shape are read. A transposed one is
  /// [columns, rows]. The first rows of a matrix, announced again, begin a new announcement.
  void expect_rows(index_t first_row, const RawTensor& raw, bool transposed = false) {
    if (first_row == 0) expected_.clear();
    const index_t rows = transposed ? raw.row_size() : raw.rows(), columns = transposed ? raw.rows() : raw.row_size();
    check_rows(first_row, rows, columns);
    const StoredForm form = stored_form(raw, columns_, transposed);
    expected_.push_back({first_row, first_row + rows, form});
  }

  /// Whether there is memory for what was announced last.
  bool allocated() const { return data_.allocated() && expected_.empty(); }

  /// Of the memory that is or will be allocated; 0 if nothing has been announced.
  std::size_t bytes() const {
    if (expected_.empty()) return data_.allocated() ? static_cast<std::size_t>(data_.size()) : 0;
    return static_cast<std::size_t>(size_of_sections(sections_of_expected()));
  }

  /// Allocates what was announced; only padding is written. Weights loaded in other forms are dropped.
  void allocate() {
    if (expected_.empty()) {
      if (data_.allocated()) return;
      fail(
          "a matrix of stored weights has to know what will be loaded before it takes memory: call expect_rows() with "
          "every tensor first");
    }
    sections_ = sections_of_expected();
    expected_.clear();
    if (const index_t size = size_of_sections(sections_); data_.size() != size)
      data_ = Tensor<std::byte, Cpu, dynamic>::uninitialized(size);
    // Lanes without a row.
    if (outputs_ % panel_outputs_ != 0) {
      const StoredSection& last = sections_.back();
      std::fill_n(mutable_panel(last, last.end - 1), last.panel_bytes, std::byte{0});
    }
  }

  std::span<std::byte> memory() { return data_.span(); }

  /// Of the rows that are or will be there: "q4_k 64, q6_k 32", with the panels of each.
  std::string forms() const {
    std::string text;
    for (const StoredSection& section : expected_.empty() ? sections_ : sections_of_expected())
      text += concat(text.empty() ? "" : ", ", form_name(section.form), " ", section.end - section.first);
    return text;
  }
  /// The form of row n.
  std::string_view form_of(index_t n) const { return form_name(section_of(group_of(n) % panel_count()).form); }
  const std::vector<StoredSection>& sections() const { return sections_; }
  const std::byte* panels(const StoredSection& section) const { return data_.data() + section.place; }

  void load_rows(int threads, index_t first_row, const RawTensor& raw) {
    check_rows(first_row, raw.rows(), raw.row_size());
    if (raw.rows() == 0) return;
    const index_t last_row = first_row + raw.rows(), panels = panel_count();
    const index_t first_group = group_of(first_row), last_group = group_of(last_row - 1);
    const bool has_blocks = raw.encoded != nullptr && raw.encoded->blocks().form != BlockForm::none;
    for (index_t g = first_group; g <= last_group; ++g) require_form(section_of(g % panels).form, raw, first_row);
    const StoredParts stored_parts(raw, threads, panel_outputs_);
    std::vector<BlockBuffers> buffers(has_blocks ? static_cast<std::size_t>(threads) : 0,
                                      BlockBuffers(columns_, panel_outputs_));
#pragma omp parallel for schedule(static) num_threads(threads) if (raw.rows() * columns_ > 65536)
    for (index_t g = first_group; g <= last_group; ++g) {
      const index_t part = g / panels, first = part * outputs_ + g % panels * panel_outputs_;
      const index_t begin = std::max(first_row, first);
      const index_t end = std::min({last_row, (part + 1) * outputs_, first + panel_outputs_});
      const StoredSection& section = section_of(g % panels);
      std::byte* const panel = mutable_panel(section, g % panels);
      if (has_blocks && is_block_form(section.form)) {
        pack_blocks(section.form, *raw.encoded, raw.first_row + begin - first_row, end - begin, lane_of(begin), panel,
                    buffers[static_cast<std::size_t>(omp_get_thread_num())]);
      } else {
        pack_numbers(section.form, raw.encoded != nullptr ? DType::f32 : raw.dtype,
                     stored_parts(begin - first_row, end - begin), end - begin, lane_of(begin), panel);
      }
    }
  }

  /// As load_rows, of all rows, from the transposed matrix [columns, rows].
  void load_transposed(int threads, const RawTensor& stored_raw) {
    check_rows(0, stored_raw.row_size(), stored_raw.rows());
    std::vector<float> values;
    const RawTensor raw = widened(stored_raw, values);
    require_form(sections_.front().form, stored_raw, 0);
#pragma omp parallel for schedule(static) num_threads(threads) if (rows_ * columns_ > 65536)
    for (index_t p = 0; p < panel_count(); ++p)
      for (index_t first = p * panel_outputs_; first < rows_; first += outputs_) {
        const index_t rows = std::min(panel_outputs_, outputs_ - p * panel_outputs_);
        const StoredSection& section = section_of(p);
        visit_floating(raw.dtype, [&]<class Stored>(Stored) {
          visit_float_form(section.form, [&]<class T>(T) {
            if constexpr (requires { typename T::Element; })
              pack_floats_transposed<Stored>(columns_, raw.data + static_cast<std::size_t>(first) * sizeof(Stored),
                                             rows_, rows, lane_of(first),
                                             reinterpret_cast<typename T::Element*>(mutable_panel(section, p)));
          });
        });
      }
  }

  /// Row n as floats, [columns].
  void read_row(index_t n, float* row) const {
    const index_t p = group_of(n) % panel_count(), lane = lane_of(n);
    const StoredSection& section = section_of(p);
    const std::byte* const panel = panels(section) + (p - section.first) * section.panel_bytes;
    if (!is_float_form(section.form))
      return visit_blocks(section.form, [&]<class T>(T) { read_stored_row<T>(panel, columns_, lane, row); });
    visit_float_form(section.form, [&]<class T>(T) {
      if constexpr (requires { typename T::Panels; }) {
        T::Panels::read_row(panel, columns_, lane, row);
      } else {
        read_float_row(columns_, reinterpret_cast<const typename T::Element*>(panel), lane, row);
      }
    });
  }

 private:
  struct Expected {
    index_t first, end;
    StoredForm form;
  };

  /// The integers of some rows, padded to whole blocks, and the factors of one of them, as many as any form has.
  struct BlockBuffers {
    index_t stride;
    std::vector<std::int8_t> q, steps;
    std::vector<float> scales, minimums;
    std::vector<std::uint8_t> offsets;
    BlockBuffers(index_t columns, index_t rows) : stride((columns + 31) / 32 * 32) {
      const auto of = [&](index_t group) { return static_cast<std::size_t>((columns + group - 1) / group); };
      q.resize(static_cast<std::size_t>(rows * stride));
      steps.resize(of(16));
      scales.resize(of(32));
      minimums.resize(of(256));
      offsets.resize(of(32));
    }
    BlockRow row(index_t i) {
      return {.q = q.data() + i * stride,
              .scales = scales.data(),
              .minimums = minimums.data(),
              .steps = steps.data(),
              .offsets = offsets.data()};
    }
  };

  static bool is_block_form(StoredForm form) {
    return !is_float_form(form) || form == StoredForm::e4m3 || form == StoredForm::e4m3_32;
  }

  void check_rows(index_t first_row, index_t rows, index_t columns) const {
    detail::require_rows_fit(first_row, rows, columns, rows_, columns_);
  }
  void require_form(StoredForm form, const RawTensor& raw, index_t first_row) const {
    const StoredForm own = stored_form(raw, columns_);
    if (common_form(form, own) != form && !(form == StoredForm::bf16 && raw.encoded != nullptr))
      fail("the rows from ", first_row, " on are stored otherwise than expect_rows() was told");
  }

  index_t panel_count() const { return (outputs_ + panel_outputs_ - 1) / panel_outputs_; }
  /// As in CpuMatrix.
  index_t group_of(index_t n) const { return n / outputs_ * panel_count() + n % outputs_ / panel_outputs_; }
  index_t lane_of(index_t n) const { return n / outputs_ * panel_outputs_ + n % outputs_ % panel_outputs_; }

  const StoredSection& section_of(index_t p) const {
    const auto found = std::ranges::find_if(sections_, [&](const StoredSection& section) { return p < section.end; });
    if (found == sections_.end()) fail("a matrix of stored weights was used before it was loaded");
    return *found;
  }
  std::byte* mutable_panel(const StoredSection& section, index_t p) {
    return data_.data() + section.place + (p - section.first) * section.panel_bytes;
  }

  std::vector<StoredSection> sections_of_expected() const {
    std::vector<index_t> rows_known(static_cast<std::size_t>(panel_count()), 0);
    std::vector<StoredForm> forms(rows_known.size(), StoredForm::f32);
    for (const Expected& part : expected_)
      for (index_t n = part.first; n < part.end;) {
        const auto p = static_cast<std::size_t>(group_of(n) % panel_count());
        // To the end of this panel's rows.
        const index_t in_half = n % outputs_;
        const index_t count = std::min({part.end - n, panel_outputs_ - in_half % panel_outputs_, outputs_ - in_half});
        forms[p] = rows_known[p] == 0 ? part.form : common_form(forms[p], part.form);
        rows_known[p] += count;
        n += count;
      }
    std::vector<StoredSection> sections;
    index_t place = 0, rows = 0;
    for (index_t p = 0; p < panel_count(); ++p) {
      const StoredForm form = forms[static_cast<std::size_t>(p)];
      rows += rows_known[static_cast<std::size_t>(p)];
      if (sections.empty() || sections.back().form != form)
        sections.push_back({form, p, p, stored_panel_bytes(form, columns_), place});
      ++sections.back().end;
      place += sections.back().panel_bytes;
    }
    if (rows != rows_)
      fail("of a matrix of ", rows_, " rows of stored weights ", rows,
           " were announced: call expect_rows() with every ", "tensor once");
    return sections;
  }
  static index_t size_of_sections(const std::vector<StoredSection>& sections) {
    index_t size = 0;
    for (const StoredSection& section : sections) size += (section.end - section.first) * section.panel_bytes;
    return size;
  }

  /// Rows [first, first + count) into as many lanes from `lane` on.
  void pack_blocks(StoredForm form, const EncodedRows& rows, index_t first, index_t count, index_t lane,
                   std::byte* panel, BlockBuffers& buffer) const {
    const BlockLayout source = rows.blocks();
    const auto each_row = [&](const auto& pack) {
      for (index_t i = 0; i < count; ++i) {
        rows.read_blocks(first + i, buffer.row(i));
        pack(buffer.row(i), lane + i);
      }
    };
    if (is_float_form(form))
      return visit_float_form(form, [&]<class T>(T) {
        if constexpr (requires { typename T::Panels; })
          each_row([&](const BlockRow& row, index_t to) { T::Panels::pack_row(source, row, columns_, to, panel); });
      });
    visit_blocks(form, [&]<class T>(T) {
      each_row([&](const BlockRow& row, index_t to) { pack_stored_factors<T>(source, row, columns_, to, panel); });
      for (index_t i = 0, in_strip = 0; i < count; i += in_strip) {
        in_strip = std::min<index_t>(count - i, simd::width - (lane + i) % simd::width);
        pack_stored_integers<T>(buffer.row(i).q, buffer.stride, in_strip, columns_, lane + i, panel);
      }
    });
  }
  void pack_numbers(StoredForm form, DType dtype, const std::byte* from, index_t rows, index_t lane,
                    std::byte* panel) const {
    visit_floating(dtype, [&]<class Stored>(Stored) {
      visit_float_form(form, [&]<class T>(T) {
        if constexpr (requires { typename T::Element; })
          pack_floats<Stored>(columns_, from, rows, lane, reinterpret_cast<typename T::Element*>(panel));
      });
    });
  }

  index_t rows_, columns_, outputs_, panel_outputs_;
  std::vector<Expected> expected_;
  std::vector<StoredSection> sections_;
  Tensor<std::byte, Cpu, dynamic> data_;
};

}  // namespace qwen3vl::cpu_kernels

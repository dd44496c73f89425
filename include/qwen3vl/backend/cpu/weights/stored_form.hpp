/// In which form a matrix of `stored` weights keeps rows of a file.
#pragma once

#include <cstdint>
#include <string_view>
#include <type_traits>

#include "qwen3vl/backend/cpu/weights/e4m3_panels.hpp"
#include "qwen3vl/backend/cpu/weights/stored_format.hpp"
#include "qwen3vl/tensor/raw_tensor.hpp"

namespace qwen3vl::cpu_kernels {

enum class StoredForm : std::uint8_t {
  f32,
  bf16,
  f16,
  e4m3,     ///< a scale for 128 columns
  e4m3_32,  ///< for 32
  q4_k,
  q5_k,
  q6_k,
  bytes_f16,
  bytes_bf16,
  bytes_f32,
  nibbles_f16,
  nibbles_bf16,
  nibbles_f32,
  offset_nibbles_f16,
  offset_nibbles_bf16,
  offset_nibbles_f32,
};

constexpr std::string_view form_name(StoredForm form) {
  constexpr std::string_view names[] = {"f32",
                                        "bf16",
                                        "f16",
                                        "e4m3",
                                        "e4m3 by 32",
                                        "q4_k",
                                        "q5_k",
                                        "q6_k",
                                        "bytes with f16 scales",
                                        "bytes with bf16 scales",
                                        "bytes with f32 scales",
                                        "nibbles with f16 scales",
                                        "nibbles with bf16 scales",
                                        "nibbles with f32 scales",
                                        "nibbles with offsets and f16 scales",
                                        "nibbles with offsets and bf16 scales",
                                        "nibbles with offsets and f32 scales"};
  return names[static_cast<std::size_t>(form)];
}

/// Products of these multiply floats; the others are integers with factors.
constexpr bool is_float_form(StoredForm form) { return form < StoredForm::q4_k; }

/// f(StoredFormat of an integer form).
template <class F>
decltype(auto) visit_blocks(StoredForm form, F&& f) {
  switch (form) {
    case StoredForm::q4_k:
      return f(Q4KFormat{});
    case StoredForm::q5_k:
      return f(Q5KFormat{});
    case StoredForm::q6_k:
      return f(Q6KFormat{});
    case StoredForm::bytes_f16:
      return f(BytesFormat<f16>{});
    case StoredForm::bytes_bf16:
      return f(BytesFormat<bf16>{});
    case StoredForm::bytes_f32:
      return f(BytesFormat<float>{});
    case StoredForm::nibbles_f16:
      return f(NibblesFormat<f16>{});
    case StoredForm::nibbles_bf16:
      return f(NibblesFormat<bf16>{});
    case StoredForm::nibbles_f32:
      return f(NibblesFormat<float>{});
    case StoredForm::offset_nibbles_f16:
      return f(OffsetNibblesFormat<f16>{});
    case StoredForm::offset_nibbles_bf16:
      return f(OffsetNibblesFormat<bf16>{});
    default:
      return f(OffsetNibblesFormat<float>{});
  }
}

/// Storage of the elements of a float form, and its panels if they are e4m3.
template <class T>
struct FloatForm {
  using Element = T;
};
template <index_t Columns>
struct E4m3Form {
  using Panels = E4m3Panels<Columns>;
};
template <class F>
decltype(auto) visit_float_form(StoredForm form, F&& f) {
  switch (form) {
    case StoredForm::bf16:
      return f(FloatForm<bf16>{});
    case StoredForm::f16:
      return f(FloatForm<f16>{});
    case StoredForm::e4m3:
      return f(E4m3Form<128>{});
    case StoredForm::e4m3_32:
      return f(E4m3Form<32>{});
    default:
      return f(FloatForm<float>{});
  }
}

/// Bytes of the first `columns` columns (all, or a multiple of 256) of a panel.
inline index_t stored_bytes(StoredForm form, index_t columns) {
  if (is_float_form(form))
    return visit_float_form(form, [&]<class T>(T) -> index_t {
      if constexpr (requires { typename T::Panels; }) {
        return T::Panels::bytes(columns);
      } else {
        return columns * panel_rows * static_cast<index_t>(sizeof(typename T::Element));
      }
    });
  return visit_blocks(form, [&]<class T>(T) -> index_t {
    using Layout = StoredLayout<T>;
    const index_t blocks = (columns + block_columns - 1) / block_columns;
    return blocks / superblock_blocks * Layout::bytes(superblock_blocks) +
           (blocks % superblock_blocks == 0 ? 0 : Layout::bytes(blocks % superblock_blocks));
  });
}
/// Of a whole panel, in whole cache lines.
inline index_t stored_panel_bytes(StoredForm form, index_t columns) {
  return (stored_bytes(form, columns) + 63) / 64 * 64;
}

/// The form in which rows of `columns` columns are kept; of a transposed tensor, whose blocks run along the matrix's
/// columns, floats.
inline StoredForm stored_form(const RawTensor& raw, index_t columns, bool transposed = false) {
  const auto floats = [](DType type) {
    return type == DType::bf16 ? StoredForm::bf16 : type == DType::f16 ? StoredForm::f16 : StoredForm::f32;
  };
  if (raw.encoded == nullptr) return floats(raw.dtype);
  const BlockLayout layout = raw.encoded->blocks();
  const index_t group = layout.group;
  if (layout.form == BlockForm::none) return floats(layout.widened);
  if (transposed || raw.encoded->columns() != columns) return StoredForm::bf16;
  const bool k_quants = columns % superblock_columns == 0;
  const bool flat = group > 0 && (group % block_columns == 0 || group >= columns);
  const auto scaled = [&](StoredForm with_f16) {
    const int place = layout.scale_type == DType::f16 ? 0 : layout.scale_type == DType::bf16 ? 1 : 2;
    return flat ? static_cast<StoredForm>(static_cast<int>(with_f16) + place) : StoredForm::bf16;
  };
  switch (layout.form) {
    case BlockForm::none:
      break;
    case BlockForm::bytes:
      return scaled(StoredForm::bytes_f16);
    case BlockForm::nibbles:
      return scaled(layout.offset == NibblesFormat<f16>::zero ? StoredForm::nibbles_f16
                                                              : StoredForm::offset_nibbles_f16);
    case BlockForm::q4_k:
      return k_quants ? StoredForm::q4_k : StoredForm::bf16;
    case BlockForm::q5_k:
      return k_quants ? StoredForm::q5_k : StoredForm::bf16;
    case BlockForm::q6_k:
      return k_quants ? StoredForm::q6_k : StoredForm::bf16;
    case BlockForm::e4m3:
      return !flat ? StoredForm::bf16 : group % 128 == 0 || group >= columns ? StoredForm::e4m3 : StoredForm::e4m3_32;
  }
  return StoredForm::bf16;
}

/// A form that holds rows of both, for panels that have rows of two tensors.
inline StoredForm common_form(StoredForm a, StoredForm b) {
  if (a == b) return a;
  if (a > b) std::swap(a, b);
  using enum StoredForm;
  if (a == q4_k && b == q5_k) return q5_k;
  if (a == e4m3 && b == e4m3_32) return e4m3_32;
  if (a < bytes_f16) return f32;
  // Three kinds of integers, each with three types of scales, in ascending order.
  const auto kind = [](StoredForm form) { return (static_cast<int>(form) - static_cast<int>(bytes_f16)) / 3; };
  const auto scale = [](StoredForm form) { return (static_cast<int>(form) - static_cast<int>(bytes_f16)) % 3; };
  const int both = kind(a) == 0 ? 0 : std::max(kind(a), kind(b));
  return static_cast<StoredForm>(static_cast<int>(bytes_f16) + 3 * both + (scale(a) == scale(b) ? scale(a) : 2));
}

}  // namespace qwen3vl::cpu_kernels

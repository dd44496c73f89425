/// Rows of a tensor that its file keeps otherwise than as one floating number after the other: in blocks with scales,
/// spread over several tensors, or with an adapter on top.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "qwen3vl/tensor/dtype.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// How a row is made of integers and factors, where kernels can multiply those as they are. w is the weight, q its
/// integer; i / n counts the groups of n columns of a row, from its start.
enum class BlockForm {
  none,     ///< read() only
  bytes,    ///< w = scales[i / group] * q, q in [-128, 127]                             (Q8_0, int8 groups)
  nibbles,  ///< w = scales[i / group] * (q - offsets[i / group]), q and offset in [0, 15]  (Q4_0, int4 groups)
  /// w = scales[i / 256] * steps[i / 32] * q - minimums[i / 256] * offsets[i / 32]; step and offset in [0, 63]
  q4_k,  ///< q in [0, 15]
  q5_k,  ///< q in [0, 31]
  q6_k,  ///< w = scales[i / 256] * steps[i / 16] * q, q in [-32, 31], step in [-128, 127]
  e4m3,  ///< w = scales[i / group] * q, q the bits of an f8_e4m3                         (FP8 by blocks, channels)
};

/// What a tensor's rows have in common.
struct BlockLayout {
  BlockForm form = BlockForm::none;
  index_t group = 0;  ///< columns of a scale (bytes, nibbles, e4m3): a multiple of 32, or the whole row
  /// bytes, nibbles: a type that holds every scale exactly (f32, bf16 or f16). Kernels keep scales in it.
  DType scale_type = DType::f32;
  /// nibbles: the offset of all groups, if it is one, which kernels need not keep; -1: they differ.
  int offset = -1;
  /// none: the type in which weights that keep what a file has are to keep what read() gives: f32, bf16 or f16.
  DType widened = DType::bf16;
};

/// One row as integers, written by EncodedRows::read_blocks. Sizes are those of the columns, a last group may be
/// shorter. Unused fields of a form may be null.
struct BlockRow {
  std::int8_t* q = nullptr;         ///< [columns]
  float* scales = nullptr;          ///< [groups]: the stored number, widened
  float* minimums = nullptr;        ///< [groups of 256] (q4_k, q5_k)
  std::int8_t* steps = nullptr;     ///< [groups of 32] (q4_k, q5_k), [groups of 16] (q6_k)
  std::uint8_t* offsets = nullptr;  ///< [groups] (nibbles), [groups of 32] (q4_k, q5_k)
};

/// A matrix [rows, columns] in such a form; a stack of matrices (experts) has the rows of all of them. Threads call it
/// at once. Lengths and counts were checked when it was made: nothing throws here.
class EncodedRows {
 public:
  EncodedRows() = default;
  EncodedRows(const EncodedRows&) = delete;
  EncodedRows& operator=(const EncodedRows&) = delete;
  virtual ~EncodedRows() = default;

  /// Of a matrix the size of its rows; of a stack of matrices that of theirs. Their product is the tensor's size.
  virtual index_t rows() const = 0;
  virtual index_t columns() const = 0;

  /// Rows [first, first + count) as float32, [count, columns]: the numbers that the format defines, computed in float32
  /// as its own tool does.
  virtual void read(index_t first, index_t count, float* to) const = 0;

  virtual BlockLayout blocks() const { return {}; }
  /// Row `row` as integers, if blocks().form is not none: read() gives what they multiply out to.
  virtual void read_blocks(index_t /*row*/, const BlockRow& /*to*/) const {}

  /// The type as its format names it ("Q4_K", "F8_E4M3 128x128", "int4 32"), for messages and statistics.
  virtual std::string_view type_name() const = 0;
  /// The bytes of files that it reads, to count them and to release them when they are no longer needed.
  virtual std::vector<std::span<const std::byte>> memory() const = 0;
};

}  // namespace qwen3vl

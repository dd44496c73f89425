/// The types of GGUF's tensors: one table of their numbers, names, sizes and readers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/io/weights/gguf/rows.hpp"
#include "qwen3vl/io/weights/stored_tensor.hpp"
#include "qwen3vl/tensor/dtype.hpp"

namespace qwen3vl {

/// A type as ggml numbers and names it.
struct GgufTensorType {
  std::uint32_t number;
  std::string_view name;
  index_t block_size = 0;  ///< values of a block, of which rows are made; 1 for plain numbers
  std::size_t block_bytes = 0;
  /// Gives a tensor of checked shape its values, whose size was checked, too. Null: the type is not read.
  void (*set)(StoredTensor& tensor, std::span<const std::byte> bytes) = nullptr;
};

namespace detail {

template <DType Type>
constexpr GgufTensorType plain_gguf_type(std::uint32_t number) {
  return {number, name_of(Type), 1, size_of(Type), [](StoredTensor& tensor, std::span<const std::byte> bytes) {
            tensor.dtype = Type;
            tensor.bytes = bytes;
          }};
}
template <class Block>
constexpr GgufTensorType block_gguf_type(std::uint32_t number) {
  return {number, Block::name, Block::block_size, Block::block_bytes,
          [](StoredTensor& tensor, std::span<const std::byte> bytes) {
            const index_t columns = tensor.shape.back();
            tensor.encoded = std::make_shared<const gguf::Rows<Block>>(bytes, tensor.size() / columns, columns);
          }};
}

inline constexpr GgufTensorType gguf_types[] = {
    plain_gguf_type<DType::f32>(0),
    plain_gguf_type<DType::f16>(1),
    block_gguf_type<gguf::Q4_0>(2),
    block_gguf_type<gguf::Q4_1>(3),
    block_gguf_type<gguf::Q5_0>(6),
    block_gguf_type<gguf::Q5_1>(7),
    block_gguf_type<gguf::Q8_0>(8),
    {9, "Q8_1"},
    block_gguf_type<gguf::Q2K>(10),
    block_gguf_type<gguf::Q3K>(11),
    block_gguf_type<gguf::Q4K>(12),
    block_gguf_type<gguf::Q5K>(13),
    block_gguf_type<gguf::Q6K>(14),
    {15, "Q8_K"},
    {16, "IQ2_XXS"},
    {17, "IQ2_XS"},
    {18, "IQ3_XXS"},
    {19, "IQ1_S"},
    block_gguf_type<gguf::Iq4Nl>(20),
    {21, "IQ3_S"},
    {22, "IQ2_S"},
    block_gguf_type<gguf::Iq4Xs>(23),
    plain_gguf_type<DType::i8>(24),
    plain_gguf_type<DType::i16>(25),
    plain_gguf_type<DType::i32>(26),
    plain_gguf_type<DType::i64>(27),
    plain_gguf_type<DType::f64>(28),
    {29, "IQ1_M"},
    plain_gguf_type<DType::bf16>(30),
    {34, "TQ1_0"},
    {35, "TQ2_0"},
    block_gguf_type<gguf::Mxfp4>(39),
    {40, "NVFP4"},
    {41, "Q1_0"},
};

}  // namespace detail

/// The type of this number. Throws Error that names file and tensor if it is not known or not read.
inline const GgufTensorType& gguf_tensor_type(std::uint32_t number, std::string_view file, std::string_view tensor) {
  for (const GgufTensorType& type : detail::gguf_types) {
    if (type.number != number) continue;
    if (type.set == nullptr)
      fail(file, ": ", tensor, " is of type ", type.name, " (", number, "), which is not read; take a model in ",
           "Q4_K_M, Q8_0 or another common type");
    return type;
  }
  fail(file, ": ", tensor, " is of type ", number, ", which is not known; take a model in Q4_K_M, Q8_0 or another ",
       "common type");
}

}  // namespace qwen3vl

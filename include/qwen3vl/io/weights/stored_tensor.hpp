/// Tensors as stored in files, and conversion from and to `Tensor`; the same for every file format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/tensor/dtype.hpp"
#include "qwen3vl/tensor/host.hpp"
#include "qwen3vl/tensor/raw_tensor.hpp"
#include "qwen3vl/tensor/shape_text.hpp"

namespace qwen3vl {

/// A tensor of a file (a view of the mapping, not aligned) or one to be written (a view of the tensor).
struct StoredTensor {
  std::string name;
  DType dtype = DType::f32;
  std::vector<index_t> shape;
  std::span<const std::byte> bytes;
  MappedFrom file = {};  ///< the file, while it is open
  /// If set, the values are those of these rows and `bytes` is empty; dtype is then f32.
  std::shared_ptr<const EncodedRows> encoded = {};

  index_t size() const {
    index_t product = 1;
    for (const index_t extent : shape) product *= extent;
    return product;
  }
  /// The bytes of files that its values are in.
  std::vector<std::span<const std::byte>> memory() const {
    return encoded ? encoded->memory() : std::vector<std::span<const std::byte>>{bytes};
  }
};

/// A view of a host tensor for writing; must not outlive it.
template <class T, class M, index_t... E>
StoredTensor stored_tensor(const std::string& name, const TensorView<T, M, E...>& tensor) {
  static_assert(M::is_host, "only tensors on the host are written to files: copy it with download() or copy_to_host()");
  if (tensor.data() == nullptr && !tensor.empty()) fail(name, " holds no memory: it was never assigned");
  StoredTensor stored{.name = name, .dtype = dtype_of<std::remove_const_t<T>>, .shape = {}, .bytes = {}};
  for (std::size_t i = 0; i < sizeof...(E); ++i) stored.shape.push_back(tensor.extent(i));
  stored.bytes = {reinterpret_cast<const std::byte*>(tensor.data()),
                  static_cast<std::size_t>(tensor.size()) * sizeof(T)};
  return stored;
}
template <class T, class M, index_t... E>
StoredTensor stored_tensor(const std::string& name, const OwningTensor<T, M, E...>& tensor) {
  return stored_tensor(name, tensor.view());
}
template <class T, class M, index_t... E>
StoredTensor stored_tensor(const std::string& name,
                           OwningTensor<T, M, E...>&& tensor) = delete;  // it would view freed memory

/// The values of an F32, BF16 or F16 tensor as float. `to` must have the same size.
inline void read_floats(const StoredTensor& tensor, std::span<float> to) {
  if (!is_floating_weight(tensor.dtype))
    fail(tensor.name, " is of type ", name_of(tensor.dtype), ", wanted F32, BF16 or F16");
  if (tensor.encoded) {
    if (tensor.size() != static_cast<index_t>(to.size()))
      fail(tensor.name, " has ", tensor.size(), " values, wanted ", to.size());
    tensor.encoded->read(0, tensor.encoded->rows(), to.data());
    return;
  }
  if (tensor.bytes.size() / size_of(tensor.dtype) != to.size())
    fail(tensor.name, " has ", tensor.bytes.size() / size_of(tensor.dtype), " values, wanted ", to.size());
  visit_floating(tensor.dtype, [&](auto type) {
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = load_float<decltype(type)>(tensor.bytes.data(), i);
  });
}

/// Rows [first, first + count) of a tensor that was found to be floating, seen as a matrix of this many columns (those
/// of its `encoded` rows, if it has them), as float. Threads may call it at once.
inline void read_rows(const StoredTensor& tensor, index_t columns, index_t first, index_t count, float* to) {
  if (tensor.encoded) return tensor.encoded->read(first, count, to);
  visit_floating(tensor.dtype, [&](auto type) {
    const auto begin = static_cast<std::size_t>(first * columns), size = static_cast<std::size_t>(count * columns);
    for (std::size_t i = 0; i < size; ++i) to[i] = load_float<decltype(type)>(tensor.bytes.data(), begin + i);
  });
}

/// The values of an integer or boolean tensor (all but U64, whose values may not fit). `to` must have its size.
inline void read_int64s(const StoredTensor& tensor, std::span<std::int64_t> to) {
  if (tensor.bytes.size() / size_of(tensor.dtype) != to.size())
    fail(tensor.name, " has ", tensor.bytes.size() / size_of(tensor.dtype), " values, wanted ", to.size());
  const auto read = [&](auto type) {
    for (std::size_t i = 0; i < to.size(); ++i) {
      std::memcpy(&type, tensor.bytes.data() + i * sizeof type, sizeof type);
      to[i] = static_cast<std::int64_t>(type);  // NOLINT(bugprone-signed-char-misuse): I8 is a number, its sign counts
    }
  };
  switch (tensor.dtype) {
    case DType::i64:
      return read(std::int64_t{});
    case DType::i32:
      return read(std::int32_t{});
    case DType::i16:
      return read(std::int16_t{});
    case DType::i8:
      return read(std::int8_t{});
    case DType::u32:
      return read(std::uint32_t{});
    case DType::u16:
      return read(std::uint16_t{});
    case DType::u8:
    case DType::boolean:
      return read(std::uint8_t{});
    default:
      fail(tensor.name, " is of type ", name_of(tensor.dtype), ", wanted integers");
  }
}

/// A copy of a stored tensor with this type and these extents (`dynamic` accepts any size):
///   auto weights = to_tensor<float, dynamic, 2048>(stored);
/// Floating values (F64, F32, F16, BF16) are rounded to the nearest T; integers must have T's type, BOOL may be read as
/// uint8. Throws Error that names the tensor if type, rank or a size differs.
template <class T, index_t... E>
HostTensor<T, E...> to_tensor(const StoredTensor& stored) {
  constexpr DType wanted = dtype_of<T>;
  constexpr bool is_float = is_floating_weight(wanted) || wanted == DType::f64;
  const bool from_float = is_floating_weight(stored.dtype) || stored.dtype == DType::f64;
  if (is_float ? !from_float : stored.dtype != wanted && !(stored.dtype == DType::boolean && wanted == DType::u8))
    fail(stored.name, " is of type ", name_of(stored.dtype), ", wanted ",
         is_float ? "numbers with a point" : name_of(wanted));
  if (stored.encoded) {
    if constexpr (is_float) {
      std::vector<float> values(static_cast<std::size_t>(stored.size()));
      read_floats(stored, values);
      return to_tensor<T, E...>(
          {.name = stored.name, .shape = stored.shape, .bytes = std::as_bytes(std::span(values))});
    }
  }
  bool fits = stored.shape.size() == sizeof...(E);
  typename HostTensor<T, E...>::extents_type extents;
  std::uint64_t bytes = size_of(stored.dtype);
  for (std::size_t i = 0, slot = 0; fits && i < sizeof...(E); ++i) {
    const index_t size = stored.shape[i], fixed = decltype(extents)::static_extents[i];
    fits = size >= 0 && (fixed == dynamic || fixed == size) &&
           !__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(size), &bytes);
    if (fixed == dynamic) extents.set_dynamic(slot++, size);
  }
  if (!fits)
    fail(stored.name, " is ", detail::shape_text(stored.shape), ", wanted ",
         detail::shape_text(decltype(extents)::static_extents));
  if (bytes != stored.bytes.size())
    fail(stored.name, " has ", stored.bytes.size(), " bytes, its shape and type need ", bytes);

  auto tensor = HostTensor<T, E...>::of(extents);
  const auto convert = [&](auto type) {
    const std::byte* from = stored.bytes.data();
    for (T& value : tensor.span()) {
      std::memcpy(&type, from, sizeof type);
      from += sizeof type;
      if constexpr (std::is_arithmetic_v<decltype(type)> && std::is_arithmetic_v<T>) {
        value = static_cast<T>(type);
      } else {
        value = static_cast<T>(static_cast<float>(type));
      }
    }
  };
  if constexpr (std::is_same_v<T, bool>) {
    for (std::size_t i = 0; i < stored.bytes.size(); ++i) tensor.data()[i] = stored.bytes[i] != std::byte{0};
  } else if (stored.dtype == wanted || !is_float) {
    if (!stored.bytes.empty()) std::memcpy(tensor.data(), stored.bytes.data(), stored.bytes.size());
  } else if constexpr (is_float) {
    if (stored.dtype == DType::f64) {
      convert(double{});
    } else {
      visit_floating(stored.dtype, convert);
    }
  }
  return tensor;
}

}  // namespace qwen3vl

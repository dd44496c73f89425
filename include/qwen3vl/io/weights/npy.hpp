/// NumPy's .npy files: one array each, so that tensors move to Python and back.
/// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, versions 1.0, 2.0 and 3.0.
///
///   write_npy("logits.npy", logits);                                  // numpy.load("logits.npy")
///   auto weights = read_npy<float, dynamic, 2048>("weights.npy");     // numpy.save("weights.npy", weights)
///
/// NumPy has no bfloat16: bf16 tensors are written as float32 ('<f4'), which holds their values exactly. Arrays of
/// ml_dtypes.bfloat16, which numpy.save writes as '<V2', are read as bf16. Files are little-endian and row-major;
/// others are refused, with the NumPy call that converts them.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/mapped_file.hpp"
#include "qwen3vl/base/pending_file.hpp"
#include "qwen3vl/io/weights/stored_tensor.hpp"

namespace qwen3vl {

/// Limits of a .npy file.
struct NpyLimits {
  std::size_t max_header_bytes = 65536;  ///< NumPy's limit is 10000
  std::size_t max_rank = 16;
};

namespace detail {

inline constexpr std::string_view npy_magic = "\x93NUMPY";

/// NumPy's name of a dtype, without byte order; empty if it has none.
constexpr std::string_view npy_name(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return "f8";
    case DType::f32:
      return "f4";
    case DType::f16:
      return "f2";
    case DType::bf16:
      return "V2";
    case DType::i64:
      return "i8";
    case DType::i32:
      return "i4";
    case DType::i16:
      return "i2";
    case DType::i8:
      return "i1";
    case DType::u64:
      return "u8";
    case DType::u32:
      return "u4";
    case DType::u16:
      return "u2";
    case DType::u8:
      return "u1";
    case DType::boolean:
      return "b1";
    default:
      return "";
  }
}

/// The header of a .npy file: the text of a Python dictionary of exactly three keys.
class NpyHeader {
 public:
  std::string_view descr;
  bool fortran_order = false;
  std::vector<std::uint64_t> shape;

  /// `text` is at most NpyLimits::max_header_bytes long. Throws Error that begins with `name`.
  NpyHeader(std::string_view text, const std::string& name, const NpyLimits& limits) : rest_(text), name_(name) {
    bool has_descr = false, has_order = false, has_shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string_view key = string();
      expect(':');
      if (key == "descr" && !has_descr) {
        has_descr = true;
        skip_spaces();
        if (rest_.starts_with('['))
          broken("it holds records of several fields; save each field as an array of its own");
        descr = string();
      } else if (key == "fortran_order" && !has_order) {
        has_order = true;
        fortran_order = boolean();
      } else if (key == "shape" && !has_shape) {
        has_shape = true;
        read_shape(limits.max_rank);
      } else {
        broken("its header has the key '", shown(key), "', which is unknown or there twice");
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_spaces();
    if (!rest_.empty()) broken("its header goes on behind the dictionary: '", shown(rest_), "'");
    if (!has_descr || !has_order || !has_shape) broken("its header lacks descr, fortran_order or shape");
  }

 private:
  template <class... Parts>
  [[noreturn]] void broken(const Parts&... parts) const {
    fail(name_, " cannot be read as a .npy file: ", parts...);
  }
  void skip_spaces() {
    const std::size_t first = rest_.find_first_not_of(" \t\n\r");
    rest_.remove_prefix(first == std::string_view::npos ? rest_.size() : first);
  }
  bool accept(char c) {
    skip_spaces();
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char c) {
    if (!accept(c)) broken("its header has '", shown(rest_, 20), "' where '", c, "' should be");
  }
  std::string_view string() {
    skip_spaces();
    const char quote = rest_.empty() ? '\0' : rest_.front();
    const std::size_t end = quote == '\'' || quote == '"' ? rest_.find(quote, 1) : std::string_view::npos;
    if (end == std::string_view::npos) broken("its header has '", shown(rest_, 20), "' where a string should be");
    const std::string_view text = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    return text;
  }
  bool boolean() {
    skip_spaces();
    for (const std::string_view word : {"False", "True"}) {
      if (!rest_.starts_with(word)) continue;
      rest_.remove_prefix(word.size());
      return word == "True";
    }
    broken("its fortran_order is neither True nor False");
  }
  void read_shape(std::size_t max_rank) {
    expect('(');
    while (!accept(')')) {
      if (shape.size() == max_rank) broken("it has more than ", max_rank, " dimensions (NpyLimits::max_rank)");
      skip_spaces();
      std::uint64_t size = 0;
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), size);
      if (error != std::errc()) broken("its shape has '", shown(rest_, 20), "' where a size should be");
      rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
      shape.push_back(size);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
  }

  std::string_view rest_;
  const std::string& name_;
};

}  // namespace detail

/// A .npy file, mapped and checked.
class NpyFile {
 public:
  /// Throws Error that names the file and says what is wrong with it.
  static NpyFile open(const std::filesystem::path& path, const NpyLimits& limits = {}) {
    NpyFile file(MappedFile::open(path), path.string());
    file.read(limits);
    return file;
  }

  /// The array as a view of the file, named after it.
  const StoredTensor& tensor() const { return tensor_; }

 private:
  NpyFile(MappedFile file, std::string name) : file_(std::move(file)) { tensor_.name = std::move(name); }

  template <class... Parts>
  [[noreturn]] void broken(const Parts&... parts) const {
    fail(tensor_.name, " cannot be read as a .npy file: ", parts...);
  }

  void read(const NpyLimits& limits) {
    const std::span<const std::byte> bytes = file_.bytes();
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    constexpr std::size_t version_at = detail::npy_magic.size(), length_at = version_at + 2;
    if (!text.starts_with(detail::npy_magic))
      broken("it does not begin as one (numpy.save writes them; .npz is another format)");
    const unsigned version = text.size() < length_at ? 0u : static_cast<unsigned char>(text[version_at]);
    if (text.size() >= length_at && (version < 1 || version > 3 || text[version_at + 1] != 0))
      broken("its version is ", version, ".", static_cast<unsigned>(static_cast<unsigned char>(text[version_at + 1])),
             ", known are 1.0, 2.0 and 3.0");
    const std::size_t header_at = length_at + (version == 1 ? 2u : 4u);
    if (text.size() < header_at) broken("it ends within its header");
    std::uint32_t length = 0;  // little-endian, as every supported host is
    std::memcpy(&length, bytes.data() + length_at, header_at - length_at);
    if (length > limits.max_header_bytes)
      broken("its header of ", length, " bytes is over the limit of ", limits.max_header_bytes,
             " (NpyLimits::max_header_bytes)");
    if (length > bytes.size() - header_at)
      broken("its header of ", length, " bytes does not fit the file of ", bytes.size());

    const detail::NpyHeader header(text.substr(header_at, length), tensor_.name, limits);
    tensor_.dtype = read_dtype(header.descr);
    if (header.fortran_order) broken("it is in Fortran order; save numpy.ascontiguousarray(array)");
    std::uint64_t size = size_of(tensor_.dtype);
    // No partial product of extents may overflow, even if another extent is zero.
    auto without_zeros = static_cast<index_t>(size);
    for (const std::uint64_t extent : header.shape) {
      if (extent > static_cast<std::uint64_t>(INT64_MAX) ||
          __builtin_mul_overflow(without_zeros, extent == 0 ? index_t{1} : static_cast<index_t>(extent),
                                 &without_zeros))
        broken("its shape is too large");
      size *= extent;
      tensor_.shape.push_back(static_cast<index_t>(extent));
    }
    const std::span<const std::byte> data = bytes.subspan(header_at + length);
    if (data.size() != size)
      broken("it has ", data.size(), " bytes of values, its shape ", detail::shape_text(tensor_.shape), " of ",
             name_of(tensor_.dtype), " needs ", size, "; is it cut off?");
    tensor_.bytes = data;
  }

  DType read_dtype(std::string_view descr) const {
    const std::string_view name = descr.substr(descr.empty() ? 0 : 1);
    for (int i = 0; i <= static_cast<int>(DType::boolean); ++i) {
      const auto dtype = static_cast<DType>(i);
      if (name != detail::npy_name(dtype)) continue;
      const char order = descr.front();
      if (order == '>' && size_of(dtype) > 1)
        broken("its numbers are big-endian ('", descr, "'); save array.astype('<", name, "')");
      if (order == '<' || order == '|' || order == '=' || order == '>') return dtype;
    }
    broken("its type is '", detail::shown(descr),
           "'; wanted floats, integers or booleans, such as '<f4', '<f2', '<i8' or '|u1'");
  }

  MappedFile file_;
  StoredTensor tensor_;
};

/// A tensor from a .npy file, converted and checked by to_tensor. Throws Error that names the file.
template <class T, index_t... E>
HostTensor<T, E...> read_npy(const std::filesystem::path& path, const NpyLimits& limits = {}) {
  const NpyFile file = NpyFile::open(path, limits);
  return to_tensor<T, E...>(file.tensor());
}

/// Writes a tensor to `path`, replacing what is there; bf16 as float32. The file appears whole or not at all. Throws
/// Error if it cannot be written, and for 8-bit floats, for which NumPy has no type.
inline void write_npy(const std::filesystem::path& path, const StoredTensor& tensor) {
  const DType dtype = tensor.dtype == DType::bf16 ? DType::f32 : tensor.dtype;
  const std::string_view name = detail::npy_name(dtype);
  if (name.empty()) fail("cannot write ", path.string(), ": NumPy has no type for ", name_of(dtype));
  // As numpy.save does: values begin at a multiple of 64 bytes.
  std::string header(detail::npy_magic);
  header.append("\x01\x00", 2).append(2, '\0');
  const std::size_t text_at = header.size();
  header += concat("{'descr': '", size_of(dtype) == 1 ? '|' : '<', name, "', 'fortran_order': False, 'shape': (");
  std::uint64_t size = size_of(tensor.dtype);
  bool fits = true;
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    const index_t extent = tensor.shape[i];
    fits = fits && extent >= 0 && !__builtin_mul_overflow(size, static_cast<std::uint64_t>(extent), &size);
    header += concat(i == 0 ? "" : ", ", extent);
  }
  if (!fits || size != tensor.bytes.size())
    fail("cannot write ", path.string(), ": ", tensor.name, " has ", tensor.bytes.size(),
         " bytes, which its shape and type do not need");
  header += tensor.shape.size() == 1 ? ",), }" : "), }";
  header.append(63 - header.size() % 64, ' ').push_back('\n');
  const std::size_t length = header.size() - text_at;
  if (length > 0xffff) fail("cannot write ", path.string(), ": ", tensor.shape.size(), " dimensions are too many");
  header[text_at - 2] = static_cast<char>(length & 0xff);
  header[text_at - 1] = static_cast<char>(length >> 8);

  detail::PendingFile file(path);
  file.write(std::as_bytes(std::span(header)));
  if (tensor.dtype == DType::bf16) {
    std::vector<float> wide(std::size_t{1} << 14);
    const std::size_t count = tensor.bytes.size() / sizeof(bf16);
    for (std::size_t first = 0; first < count; first += wide.size()) {
      const std::size_t here = std::min(wide.size(), count - first);
      for (std::size_t i = 0; i < here; ++i) wide[i] = load_float<bf16>(tensor.bytes.data(), first + i);
      file.write(std::as_bytes(std::span(wide).first(here)));
    }
  } else {
    file.write(tensor.bytes);
  }
  file.commit();
}
template <class T, class M, index_t... E>
void write_npy(const std::filesystem::path& path, const TensorView<T, M, E...>& tensor) {
  write_npy(path, stored_tensor(path.string(), tensor));
}
template <class T, class M, index_t... E>
void write_npy(const std::filesystem::path& path, const OwningTensor<T, M, E...>& tensor) {
  write_npy(path, tensor.view());
}

}  // namespace qwen3vl

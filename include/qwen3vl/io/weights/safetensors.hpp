/// The safetensors format (https://github.com/huggingface/safetensors): an 8-byte length, a JSON header, raw tensors.
/// Everything in the header is checked against the file before it is used.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/base/file_limits.hpp"
#include "qwen3vl/base/mapped_file.hpp"
#include "qwen3vl/io/weights/stored_tensor.hpp"
#include "qwen3vl/json/json_file.hpp"
#include "qwen3vl/tensor/dtype.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// A file of tensors, mapped and validated; tensors are views into it.
class SafetensorsFile {
 public:
  /// Maps and validates a file. Throws Error that names the file and the tensor.
  static SafetensorsFile open(const std::filesystem::path& path, const SafetensorsLimits& limits = {}) {
    SafetensorsFile file(MappedFile::open(path, MappedFile::Descriptor::kept), path.string());
    file.read_header(limits);
    return file;
  }

  /// The tensor of this name, or nullptr.
  const StoredTensor* find(std::string_view name) const {
    const auto found = index_.find(name);
    return found == index_.end() ? nullptr : &tensors_[found->second];
  }
  /// All tensors in file order.
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  /// `__metadata__`.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::string& name() const { return name_; }
  /// The file itself.
  std::span<const std::byte> file_bytes() const { return file_.bytes(); }
  /// See MappedFile::changed.
  bool changed() const { return file_.changed(); }
  /// See MappedFile::release.
  void release(const StoredTensor& tensor) const { file_.release(tensor.bytes); }
  /// The mapping, which `tensors` are views of; the file is then empty.
  MappedFile take_mapping() && { return std::move(file_); }

 private:
  SafetensorsFile(MappedFile file, std::string name) : file_(std::move(file)), name_(std::move(name)) {}

  static std::optional<DType> dtype_of(std::string_view text) {
    for (int i = 0; i <= static_cast<int>(DType::f8_e5m2); ++i)
      if (name_of(static_cast<DType>(i)) == text) return static_cast<DType>(i);
    return std::nullopt;
  }

  template <class... Parts>
  [[noreturn]] void broken(const Parts&... parts) const {
    fail(name_, " is not a valid safetensors file: ", parts..., "; download it again");
  }
  static std::string shown(std::string_view text) { return detail::shown(text); }

  void read_header(const SafetensorsLimits& limits) {
    const std::span<const std::byte> bytes = file_.bytes();
    std::uint64_t header_size = 0;
    if (bytes.size() < sizeof header_size) broken("it has ", bytes.size(), " bytes, too few for a header");
    std::memcpy(&header_size, bytes.data(), sizeof header_size);  // little-endian, as every supported host is
    if (header_size > bytes.size() - sizeof header_size)
      broken("its header of ", header_size, " bytes does not fit the file of ", bytes.size());
    if (header_size > limits.max_header_bytes)
      fail(name_, " has a header of ", header_size, " bytes, over the limit of ", limits.max_header_bytes,
           " (SafetensorsLimits::max_header_bytes)");
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + sizeof header_size, header_size);
    const std::span<const std::byte> data = bytes.subspan(sizeof header_size + header_size);
    if (text.empty() || text.front() != '{') broken("its header is not a JSON object");
    const nlohmann::json header = parse_json(
        text, "the header of " + name_, {.max_bytes = limits.max_header_bytes, .max_depth = 8, .unique_keys = true});
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") {
        read_metadata(entry);
      } else {
        if (tensors_.size() >= limits.max_tensors)
          fail(name_, " has more tensors than the limit of ", limits.max_tensors, " (SafetensorsLimits::max_tensors)");
        tensors_.push_back(read_entry(name, entry, data, limits));
      }
    }
    check_layout(data);
    for (std::size_t i = 0; i < tensors_.size(); ++i) index_.emplace(tensors_[i].name, i);
  }

  void read_metadata(const nlohmann::json& entry) {
    if (!entry.is_object()) broken("__metadata__ is not an object");
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string()) broken("__metadata__ holds something else than strings");
      metadata_[key] = value.get<std::string>();
    }
  }

  StoredTensor read_entry(const std::string& name, const nlohmann::json& entry, std::span<const std::byte> data,
                          const SafetensorsLimits& limits) const {
    StoredTensor tensor{.name = name, .dtype = DType::f32, .shape = {}, .bytes = {}};
    if (!entry.is_object()) broken("the entry of ", shown(name), " is not an object");
    const auto dtype = entry.find("dtype"), shape = entry.find("shape"), offsets = entry.find("data_offsets");
    if (dtype == entry.end() || shape == entry.end() || offsets == entry.end())
      broken("the entry of ", shown(name), " lacks dtype, shape or data_offsets");
    if (!dtype->is_string()) broken("the dtype of ", shown(name), " is not a string");
    const std::optional<DType> known = dtype_of(dtype->get<std::string>());
    if (!known)
      broken("the dtype of ", shown(name), " is '", shown(dtype->get<std::string>()), "', which is not known");
    tensor.dtype = *known;
    if (!shape->is_array() || shape->size() > limits.max_rank)
      broken("the shape of ", shown(name), " is not a list of at most ", limits.max_rank,
             " sizes (SafetensorsLimits::max_rank)");
    std::uint64_t size = size_of(tensor.dtype);
    // No partial product of extents may overflow, even if another extent is zero.
    index_t without_zeros = static_cast<index_t>(size);
    for (const auto& extent : *shape) {
      if (!extent.is_number_unsigned()) broken("the shape of ", shown(name), " holds something else than sizes");
      const auto value = extent.get<std::uint64_t>();
      if (value > static_cast<std::uint64_t>(INT64_MAX) ||
          __builtin_mul_overflow(without_zeros, std::max(static_cast<index_t>(value), index_t{1}), &without_zeros))
        broken("the shape of ", shown(name), " is too large");
      size *= value;
      tensor.shape.push_back(static_cast<index_t>(value));
    }
    if (!offsets->is_array() || offsets->size() != 2 || !(*offsets)[0].is_number_unsigned() ||
        !(*offsets)[1].is_number_unsigned())
      broken("the data_offsets of ", shown(name), " are not two positions");
    const auto begin = (*offsets)[0].get<std::uint64_t>(), end = (*offsets)[1].get<std::uint64_t>();
    if (begin > end || end > data.size())
      broken("the bytes ", begin, " to ", end, " of ", shown(name), " are not inside the ", data.size(),
             " bytes of data");
    if (end - begin != size) broken(shown(name), " has ", end - begin, " bytes, its shape and dtype need ", size);
    tensor.bytes = data.subspan(begin, size);
    tensor.file = {.descriptor = file_.descriptor(), .begin = file_.bytes().data()};
    return tensor;
  }

  /// Tensors must be contiguous, without gap or overlap, to the end of the file.
  void check_layout(std::span<const std::byte> data) {
    std::ranges::stable_sort(tensors_, [](const StoredTensor& a, const StoredTensor& b) {
      return a.bytes.data() != b.bytes.data() ? a.bytes.data() < b.bytes.data() : a.bytes.size() < b.bytes.size();
    });
    const std::byte* expected = data.data();
    for (const StoredTensor& tensor : tensors_) {
      if (tensor.bytes.data() != expected)
        broken(shown(tensor.name), " overlaps its neighbour or leaves a gap before it");
      expected += tensor.bytes.size();
    }
    if (expected != data.data() + data.size()) broken("bytes at its end belong to no tensor");
  }

  MappedFile file_;
  std::string name_;
  std::vector<StoredTensor> tensors_;
  std::map<std::string, std::size_t, std::less<>> index_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace qwen3vl

/// The GGUF format of llama.cpp (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), versions 2 and 3,
/// little-endian: typed metadata, tensors by name. Everything in the header is checked against the file before it is
/// used.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/file_limits.hpp"
#include "qwen3vl/base/mapped_file.hpp"
#include "qwen3vl/io/weights/gguf/metadata.hpp"
#include "qwen3vl/io/weights/gguf/tensor_type.hpp"
#include "qwen3vl/io/weights/gguf/value.hpp"
#include "qwen3vl/io/weights/stored_tensor.hpp"

namespace qwen3vl {

/// A GGUF file, or all files of a split one, mapped and validated; metadata and tensors are views into them.
class GgufFile {
 public:
  /// Maps and validates a file, and those that follow the first of a split one ("NAME-00001-of-00003.gguf"). Throws
  /// Error that names the file and the key or tensor.
  static GgufFile open(const std::filesystem::path& path, const GgufLimits& limits = {}) {
    GgufFile file(path.string());
    GgufMetadata metadata = file.add(path, limits, [](const GgufMetadata&) {});
    const std::int64_t parts =
        metadata.has("split.count") ? metadata.integer("split.count", std::int64_t{0}, std::int64_t{65535}) : 0;
    if (parts > 1) file.add_parts(path, metadata, static_cast<std::size_t>(parts), limits);
    file.metadata_ = std::move(metadata);
    return file;
  }

  /// Of the first file.
  const GgufMetadata& metadata() const { return metadata_; }
  /// All tensors, in the order of their entries, with row-major shapes (the file lists extents the other way round).
  /// Types that are blocks with scales are `encoded`; EncodedRows::type_name says which.
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  /// The tensor of this name, or nullptr.
  const StoredTensor* find(std::string_view name) const {
    const auto found = index_.find(name);
    return found == index_.end() ? nullptr : &tensors_[found->second];
  }
  /// The path that it was opened by.
  const std::string& name() const { return name_; }

  struct Part {
    MappedFile file;
    std::string name;
  };
  /// The mappings, which metadata and tensors are views of.
  const std::vector<Part>& parts() const { return parts_; }
  /// The same, for Checkpoint::keep; metadata and tensors stay valid as long as they do.
  std::vector<Part> take_parts() && { return std::move(parts_); }

 private:
  explicit GgufFile(std::string name) : name_(std::move(name)), metadata_(name_) {}

  /// Maps a file and adds its tensors, if `check` takes its metadata.
  template <class Check>
  GgufMetadata add(const std::filesystem::path& path, const GgufLimits& limits, const Check& check) {
    const Part& part = parts_.emplace_back(Part{MappedFile::open(path, MappedFile::Descriptor::kept), path.string()});
    detail::GgufReader reader(part.file.bytes(), part.name, limits);
    reader.reading = "its header";
    check_version(reader, part.file.bytes());
    const auto tensors = reader.number<std::uint64_t>(), keys = reader.number<std::uint64_t>();
    GgufMetadata metadata = read_metadata(reader, part, keys, limits);
    check(metadata);
    read_tensors(reader, part, tensors, alignment(metadata, reader), limits);
    return metadata;
  }

  static void check_version(detail::GgufReader& reader, std::span<const std::byte> bytes) {
    constexpr std::string_view magic = "GGUF";
    if (bytes.size() < magic.size() || !std::ranges::equal(bytes.first(magic.size()), std::as_bytes(std::span(magic))))
      reader.broken("it does not begin with GGUF");
    reader.take(magic.size());
    const auto version = reader.number<std::uint32_t>();
    if (version != 0 && (version & 0xffffu) == 0)
      reader.over_limit(
          "numbers in big-endian order, which are not read; convert the model for a little-endian machine");
    if (version != 2 && version != 3)
      reader.over_limit("GGUF version ", version, "; versions 2 and 3 are read: convert the model again");
  }

  static GgufMetadata read_metadata(detail::GgufReader& reader, const Part& part, std::uint64_t count,
                                    const GgufLimits& limits) {
    if (count > limits.max_keys)
      reader.over_limit(count, " keys of metadata, over the limit of ", limits.max_keys, " (GgufLimits::max_keys)");
    GgufMetadata metadata(part.name);
    for (std::uint64_t i = 0; i < count; ++i) {
      reader.reading = concat("key ", i, " of its metadata");
      const std::string_view key = reader.name();
      reader.reading = key;
      if (!metadata.add(key, reader.value())) reader.broken("it has ", key, " twice");
    }
    return metadata;
  }

  /// What offsets of tensors are multiples of.
  static std::uint64_t alignment(const GgufMetadata& metadata, const detail::GgufReader& reader) {
    constexpr std::string_view key = "general.alignment";
    if (!metadata.has(key)) return 32;
    const auto value = metadata.integer<std::uint32_t>(key);
    if (!std::has_single_bit(value)) reader.broken(key, " is ", value, ", not a power of two");
    return value;
  }

  void read_tensors(detail::GgufReader& reader, const Part& part, std::uint64_t count, std::uint64_t alignment,
                    const GgufLimits& limits) {
    if (count > limits.max_tensors)
      reader.over_limit(count, " tensors, over the limit of ", limits.max_tensors, " (GgufLimits::max_tensors)");
    struct Entry {
      StoredTensor tensor;
      const GgufTensorType* type;
      std::uint64_t offset, size;
    };
    std::vector<Entry> entries;
    for (std::uint64_t i = 0; i < count; ++i) {
      reader.reading = concat("the entry of tensor ", i);
      Entry& entry = entries.emplace_back();
      entry.tensor.name = reader.name();
      const std::string& name = entry.tensor.name;
      reader.reading = "the entry of " + name;
      const auto rank = reader.number<std::uint32_t>();
      if (rank > limits.max_rank)
        reader.over_limit("a tensor, ", name, ", of ", rank, " dimensions, over the limit of ", limits.max_rank,
                          " (GgufLimits::max_rank)");
      index_t size = 1;
      for (std::uint32_t j = 0; j < rank; ++j) {
        const auto extent = reader.number<std::uint64_t>();
        if (extent == 0) reader.broken(name, " has an extent of 0");
        if (extent > static_cast<std::uint64_t>(INT64_MAX) ||
            __builtin_mul_overflow(size, static_cast<index_t>(extent), &size))
          reader.broken("the shape of ", name, " is too large");
        entry.tensor.shape.insert(entry.tensor.shape.begin(), static_cast<index_t>(extent));
      }
      entry.type = &gguf_tensor_type(reader.number<std::uint32_t>(), part.name, name);
      entry.offset = reader.number<std::uint64_t>();
      const index_t columns = rank == 0 ? 1 : entry.tensor.shape.back();
      if (columns % entry.type->block_size != 0)
        reader.broken(name, " has rows of ", columns, " values, its type ", entry.type->name, " needs a multiple of ",
                      entry.type->block_size);
      if (__builtin_mul_overflow(static_cast<std::uint64_t>(size / entry.type->block_size),
                                 static_cast<std::uint64_t>(entry.type->block_bytes), &entry.size))
        reader.broken("the shape of ", name, " is too large");
      if (entry.offset % alignment != 0)
        reader.broken(name, " begins at ", entry.offset, ", not at a multiple of general.alignment, ", alignment);
    }

    // The data begin at the next multiple of the alignment; a file without tensors may end before.
    const std::span<const std::byte> bytes = part.file.bytes();
    const std::uint64_t begin = (reader.position() + alignment - 1) / alignment * alignment;
    const std::span<const std::byte> data = begin <= bytes.size() ? bytes.subspan(begin) : bytes.last(0);
    std::vector<std::pair<std::uint64_t, std::size_t>> order;  // offsets, to find tensors that overlap
    for (Entry& entry : entries) {
      const std::string& name = entry.tensor.name;
      if (entry.offset > data.size() || entry.size > data.size() - entry.offset)
        reader.broken("the ", entry.size, " bytes of ", name, " at ", entry.offset, " are not inside the ", data.size(),
                      " bytes of data");
      order.emplace_back(entry.offset, order.size());
      entry.type->set(entry.tensor, data.subspan(entry.offset, entry.size));
      entry.tensor.file = {.descriptor = part.file.descriptor(), .begin = bytes.data()};
    }
    std::ranges::sort(order);
    for (std::size_t i = 1; i < order.size(); ++i) {
      const Entry &before = entries[order[i - 1].second], &entry = entries[order[i].second];
      if (before.offset + before.size > entry.offset)
        reader.broken(before.tensor.name, " and ", entry.tensor.name, " overlap");
    }
    for (Entry& entry : entries) {
      if (!index_.emplace(entry.tensor.name, tensors_.size()).second)
        reader.broken("the tensor ", entry.tensor.name, " exists twice");
      tensors_.push_back(std::move(entry.tensor));
    }
  }

  static std::string number_text(std::size_t number) {
    const std::string digits = std::to_string(number);
    return std::string(5 - std::min<std::size_t>(5, digits.size()), '0') + digits;
  }

  /// Adds the tensors of the files that follow the first.
  void add_parts(const std::filesystem::path& path, const GgufMetadata& first, std::size_t count,
                 const GgufLimits& limits) {
    if (count > limits.max_files)
      fail(name_, " is one of ", count, " files, over the limit of ", limits.max_files, " (GgufLimits::max_files)");
    const std::string of = concat("-of-", number_text(count), ".gguf");
    if (const auto number = part_number(first); number != 0)
      fail(name_, " is file ", number + 1, " of a model in ", count, "; give the first, whose name ends in -00001", of);
    const std::string file_name = path.filename().string();
    if (!file_name.ends_with("-00001" + of))
      fail(name_, " is the first of ", count, " files; its name must end in -00001", of,
           ", for the others to be found: give all the names that they were downloaded by");
    const std::string stem = file_name.substr(0, file_name.size() - of.size() - std::string_view("-00001").size());
    std::vector<std::filesystem::path> paths;
    std::vector<std::string> missing;
    for (std::size_t i = 2; i <= count; ++i) {
      const std::string name = concat(stem, "-", number_text(i), of);
      std::error_code ignored;
      if (!std::filesystem::exists(path.parent_path() / name, ignored)) missing.push_back(detail::shown(name));
      paths.push_back(path.parent_path() / name);
    }
    if (!missing.empty())
      fail("the model ", name_, " is incomplete: missing files: ", detail::listed(missing), "; download them again");
    for (std::size_t i = 0; i < paths.size(); ++i)
      add(paths[i], limits, [&](const GgufMetadata& metadata) {
        if (metadata.integer("split.count") != static_cast<std::int64_t>(count) || part_number(metadata) != i + 1)
          fail(paths[i].string(), " is not file ", i + 2, " of ", count,
               ", by its split.no and split.count; download it again");
      });
    constexpr std::string_view total = "split.tensors.count";
    if (first.has(total) && std::cmp_not_equal(first.integer(total), tensors_.size()))
      fail("the files of ", name_, " have ", tensors_.size(), " tensors, its ", total, " is ", first.integer(total),
           "; download them again");
  }
  static std::size_t part_number(const GgufMetadata& metadata) {
    return metadata.integer<std::size_t>("split.no", 0, 65534);
  }

  std::string name_;
  std::vector<Part> parts_;
  GgufMetadata metadata_;
  std::vector<StoredTensor> tensors_;
  std::map<std::string, std::size_t, std::less<>> index_;
};

}  // namespace qwen3vl

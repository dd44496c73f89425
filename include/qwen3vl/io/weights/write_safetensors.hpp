/// Writing safetensors files. A file appears whole or not at all: it is written under another name and then renamed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/base/pending_file.hpp"
#include "qwen3vl/io/weights/safetensors.hpp"

namespace qwen3vl {

/// A tensor to be written: its bytes may not be at hand yet.
struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;
  std::vector<index_t> shape;

  /// Throws Error for a shape that is none.
  std::uint64_t bytes() const {
    std::uint64_t size = size_of(dtype);
    for (const index_t extent : shape)
      if (extent < 0 || __builtin_mul_overflow(size, static_cast<std::uint64_t>(extent), &size))
        fail(name, " cannot have the shape ", detail::shape_text(shape));
    return size;
  }
};

/// A safetensors file that is written piece by piece, in any order, so that tensors larger than memory can be. As in
/// the reference implementation, tensors are ordered by decreasing element size, then by name, and the header is padded
/// so that the data begin at a multiple of 8: so every tensor is aligned to its elements.
class SafetensorsWriter {
 public:
  /// Throws Error for duplicate names, and if the file cannot be written.
  SafetensorsWriter(const std::filesystem::path& path, std::span<const TensorInfo> tensors,
                    const std::map<std::string, std::string>& metadata = {})
      : path_(path), file_(path) {
    std::vector<const TensorInfo*> order;
    for (const TensorInfo& tensor : tensors) order.push_back(&tensor);
    std::sort(order.begin(), order.end(), [](const TensorInfo* a, const TensorInfo* b) {
      const std::size_t a_size = size_of(a->dtype), b_size = size_of(b->dtype);
      return a_size != b_size ? a_size > b_size : a->name < b->name;
    });
    nlohmann::ordered_json header = nlohmann::ordered_json::object();
    if (!metadata.empty()) header["__metadata__"] = metadata;
    std::uint64_t offset = 0;
    for (const TensorInfo* const tensor : order) {
      const std::uint64_t size = tensor->bytes();
      if (tensor->name == "__metadata__" || !places_.emplace(tensor->name, Place{offset, size}).second)
        fail("cannot write ", path.string(), ": the tensor name ", tensor->name, " is taken");
      // emplace_back rather than [], which searches all names.
      header.get_ref<nlohmann::ordered_json::object_t&>().emplace_back(
          tensor->name,
          nlohmann::ordered_json{
              {"dtype", name_of(tensor->dtype)}, {"shape", tensor->shape}, {"data_offsets", {offset, offset + size}}});
      offset += size;
    }
    std::string text;
    try {
      text = header.dump();
    } catch (const nlohmann::json::exception& error) {
      fail("cannot write ", path.string(), ": a name is not UTF-8: ", detail::shown(error.what(), 200));
    }
    text.append((8 - text.size() % 8) % 8, ' ');
    const auto length = static_cast<std::uint64_t>(text.size());
    file_.write(std::as_bytes(std::span(&length, 1)));
    file_.write(std::as_bytes(std::span(text)));
    data_begin_ = sizeof length + length;
    missing_ = offset;
  }

  /// Writes `bytes` of the tensor `name`, the first of them its byte `offset`. Each byte is written once.
  void write(std::string_view name, std::uint64_t offset, std::span<const std::byte> bytes) {
    const auto found = places_.find(name);
    if (found == places_.end() || offset > found->second.size || bytes.size() > found->second.size - offset)
      fail("cannot write ", path_.string(), ": ", name, " has no bytes ", offset, " to ", offset + bytes.size());
    file_.write_at(data_begin_ + found->second.begin + offset, bytes);
    missing_ -= bytes.size();
  }

  /// Gives the file its name. Throws Error if bytes are missing, and if it cannot be written (a full disk); an older
  /// file of that name is then unchanged.
  void commit() {
    if (missing_ != 0) fail("cannot write ", path_.string(), ": ", missing_, " bytes of its tensors are missing");
    file_.commit();
  }

 private:
  struct Place {
    std::uint64_t begin, size;
  };

  std::filesystem::path path_;
  detail::PendingFile file_;
  std::map<std::string, Place, std::less<>> places_;
  std::uint64_t data_begin_ = 0, missing_ = 0;
};

/// Writes tensors to `path`, replacing what is there. Throws Error as SafetensorsWriter, and for a tensor whose shape
/// does not fit its bytes.
inline void write_safetensors(const std::filesystem::path& path, std::span<const StoredTensor> tensors,
                              const std::map<std::string, std::string>& metadata = {}) {
  std::vector<TensorInfo> infos;
  for (const StoredTensor& tensor : tensors) {
    infos.push_back({tensor.name, tensor.dtype, tensor.shape});
    std::uint64_t size = size_of(tensor.dtype);
    bool fits = true;
    for (const index_t extent : tensor.shape)
      fits = fits && extent >= 0 && !__builtin_mul_overflow(size, static_cast<std::uint64_t>(extent), &size);
    if (!fits || size != tensor.bytes.size())
      fail("cannot write ", path.string(), ": ", tensor.name, " has ", tensor.bytes.size(),
           " bytes, which its shape and dtype do not need");
  }
  SafetensorsWriter writer(path, infos, metadata);
  for (const StoredTensor& tensor : tensors) writer.write(tensor.name, 0, tensor.bytes);
  writer.commit();
}

/// The same with a list:
///   write_safetensors("out.safetensors", {stored_tensor("logits", logits), stored_tensor("ids", ids)});
inline void write_safetensors(const std::filesystem::path& path, std::initializer_list<StoredTensor> tensors,
                              const std::map<std::string, std::string>& metadata = {}) {
  write_safetensors(path, std::span(tensors.begin(), tensors.size()), metadata);
}

}  // namespace qwen3vl

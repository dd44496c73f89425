/// Writing safetensors files. A file appears whole or not at all: it is written under another name and then renamed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/base/pending_file.hpp"
#include "qwen3vl/io/weights/safetensors.hpp"

namespace qwen3vl {

/// Writes tensors to `path`, replacing what is there. As in the reference implementation, tensors are ordered by
/// decreasing element size, then by name, and the header is padded so that the data begin at a multiple of 8: so every
/// tensor is aligned to its elements. Throws Error for a tensor whose shape does not fit its bytes, for duplicate
/// names, and if the file cannot be written (a full disk); an older file of that name is then unchanged.
inline void write_safetensors(const std::filesystem::path& path, std::span<const StoredTensor> tensors,
                              const std::map<std::string, std::string>& metadata = {}) {
  std::vector<const StoredTensor*> order;
  for (const StoredTensor& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const StoredTensor* a, const StoredTensor* b) {
    const std::size_t a_size = size_of(a->dtype), b_size = size_of(b->dtype);
    return a_size != b_size ? a_size > b_size : a->name < b->name;
  });

  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t offset = 0;
  std::set<std::string_view> names;
  for (const StoredTensor* const tensor : order) {
    if (tensor->name == "__metadata__" || !names.insert(tensor->name).second)
      fail("cannot write ", path.string(), ": the tensor name ", tensor->name, " is taken");
    std::uint64_t size = size_of(tensor->dtype);
    bool fits = true;
    for (const index_t extent : tensor->shape)
      fits = fits && extent >= 0 && !__builtin_mul_overflow(size, static_cast<std::uint64_t>(extent), &size);
    if (!fits || size != tensor->bytes.size())
      fail("cannot write ", path.string(), ": ", tensor->name, " has ", tensor->bytes.size(),
           " bytes, which its shape and dtype do not need");
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

  detail::PendingFile file(path);
  const auto length = static_cast<std::uint64_t>(text.size());
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(std::as_bytes(std::span(text)));
  for (const StoredTensor* const tensor : order) file.write(tensor->bytes);
  file.commit();
}

/// The same with a list:
///   write_safetensors("out.safetensors", {stored_tensor("logits", logits), stored_tensor("ids", ids)});
inline void write_safetensors(const std::filesystem::path& path, std::initializer_list<StoredTensor> tensors,
                              const std::map<std::string, std::string>& metadata = {}) {
  write_safetensors(path, std::span(tensors.begin(), tensors.size()), metadata);
}

}  // namespace qwen3vl

/// The weights of a checkpoint folder: one safetensors file, or several with an index. Opening maps and checks the
/// files; weights are read on first access.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/io/weights/safetensors.hpp"
#include "qwen3vl/json/json_file.hpp"

namespace qwen3vl {

class Checkpoint {
 public:
  /// Opens `folder`/model.safetensors, or else the shards that `folder`/model.safetensors.index.json lists. Throws one
  /// Error that names all missing shards, misplaced tensors and tensors in two shards.
  static Checkpoint open(const std::filesystem::path& folder, const SafetensorsLimits& limits = {}) {
    std::error_code ignored;
    if (!std::filesystem::is_directory(folder, ignored))
      fail(folder.string(), " is not a folder; give a checkpoint folder");
    Checkpoint checkpoint;
    checkpoint.name_ = folder.string();
    Problems problems;
    const std::filesystem::path single = folder / "model.safetensors";
    const std::filesystem::path index = folder / "model.safetensors.index.json";
    if (std::filesystem::exists(single, ignored)) {
      checkpoint.files_.push_back(SafetensorsFile::open(single, limits));
    } else if (std::filesystem::exists(index, ignored)) {
      checkpoint.open_shards(folder, index, limits, problems);
    } else {
      fail(folder.string(), " holds neither model.safetensors nor model.safetensors.index.json; download the weights");
    }
    checkpoint.collect(problems);
    checkpoint.require_none(problems);
    return checkpoint;
  }

  const std::string& name() const { return name_; }

  /// The tensor of this name, or nullptr. Valid as long as the checkpoint, even if that is moved.
  const StoredTensor* find(std::string_view name) const {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : found->second.tensor;
  }
  /// All names, sorted.
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [name, place] : tensors_) all.push_back(name);
    return all;
  }
  /// One line per file that identifies its version: name, size, modification time, and a hash of samples, because
  /// copies may keep size and time.
  std::string fingerprint() const {
    std::string text;
    for (const SafetensorsFile& file : files_) {
      const std::filesystem::path path = file.name();
      std::error_code error;
      const auto time = std::filesystem::last_write_time(path, error).time_since_epoch().count();
      text += concat(path.filename().string(), " ", file.file_bytes().size(), " ", time, " ",
                     sample_hash(file.file_bytes()), "\n");
    }
    return text;
  }
  /// Throws Error if a file was written to since it was opened: weights may then be a mixture of two versions.
  void require_unchanged() const {
    for (const SafetensorsFile& file : files_)
      if (file.changed())
        fail(file.name(), " changed while it was loaded; load it again when whoever writes it is done");
  }
  /// Bytes of all tensors, as stored.
  std::uint64_t total_bytes() const { return total_bytes_; }
  /// Releases the pages of a tensor that is no longer needed.
  void release(std::string_view name) const {
    const auto found = tensors_.find(name);
    if (found != tensors_.end()) found->second.file->release(*found->second.tensor);
  }

 private:
  /// FNV-1a of the first 64 KiB (the header, of most files) and of 256 samples of 256 bytes spread over the rest.
  static std::uint64_t sample_hash(std::span<const std::byte> bytes) {
    constexpr std::size_t head = std::size_t{64} << 10, samples = 256, sample = 256;
    std::uint64_t hash = 0xcbf29ce484222325u;
    const auto add = [&](std::span<const std::byte> part) {
      for (const std::byte byte : part) hash = (hash ^ static_cast<std::uint64_t>(byte)) * 0x100000001b3u;
    };
    add(bytes.first(std::min(head, bytes.size())));
    if (bytes.size() <= head) return hash;
    const std::span<const std::byte> rest = bytes.subspan(head);
    for (std::size_t i = 0; i < samples; ++i)
      add(rest.subspan(rest.size() / samples * i, std::min(sample, rest.size() - rest.size() / samples * i)));
    return hash;
  }

  struct Place {
    const SafetensorsFile* file;
    const StoredTensor* tensor;
  };

  /// Collects everything wrong with a folder for one error.
  struct Problems {
    std::vector<std::string> missing, absent, twice;
  };

  void open_shards(const std::filesystem::path& folder, const std::filesystem::path& index,
                   const SafetensorsLimits& limits, Problems& problems) {
    const nlohmann::json json =
        read_json_file(index, {.max_bytes = limits.max_header_bytes, .max_depth = 8, .unique_keys = true});
    const auto map = json.is_object() ? json.find("weight_map") : json.end();
    if (map == json.end() || !map->is_object()) fail(index.string(), " has no weight_map");
    std::map<std::string, std::vector<std::string>> shards;  // file -> tensors
    for (const auto& [tensor, file] : map->items()) {
      if (!file.is_string())
        fail(index.string(), ": the weight_map entry of ", detail::shown(tensor), " is not a file name");
      const auto& name = file.get_ref<const std::string&>();
      if (!is_plain_name(name))
        fail(index.string(), ": the weight_map entry of ", detail::shown(tensor), " is '", detail::shown(name),
             "', not a plain file name");
      shards[name].push_back(tensor);
    }
    for (const auto& [file, tensors] : shards) {
      std::error_code ignored;
      if (!std::filesystem::exists(folder / file, ignored)) {
        problems.missing.push_back(file);
        continue;
      }
      files_.push_back(SafetensorsFile::open(folder / file, limits));
      for (const std::string& tensor : tensors)
        if (files_.back().find(tensor) == nullptr)
          problems.absent.push_back(concat(detail::shown(tensor), " (", file, ")"));
    }
  }

  /// A name from a file must not lead out of the folder. Links in the folder may: that is how the Hub's cache is built.
  static bool is_plain_name(const std::string& name) {
    return !name.empty() && name != "." && name != ".." &&
           std::all_of(name.begin(), name.end(), [](char c) { return c != '/' && c != '\\' && (c < 0 || c >= 0x20); });
  }

  void collect(Problems& problems) {
    for (const SafetensorsFile& file : files_)
      for (const StoredTensor& tensor : file.tensors()) {
        const auto [place, is_new] = tensors_.emplace(tensor.name, Place{&file, &tensor});
        const auto file_name = [](const SafetensorsFile& f) {
          return std::filesystem::path(f.name()).filename().string();
        };
        if (!is_new)
          problems.twice.push_back(
              concat(detail::shown(tensor.name), " (", file_name(*place->second.file), " and ", file_name(file), ")"));
        total_bytes_ += tensor.bytes.size();
      }
  }

  void require_none(const Problems& problems) const {
    std::string text;
    const auto add = [&](std::string_view what, const std::vector<std::string>& names) {
      if (names.empty()) return;
      text += concat(text.empty() ? "" : "; ", what);
      for (const std::string& name : names) text += (&name == names.data() ? " " : ", ") + name;
    };
    add("missing files:", problems.missing);
    add("tensors that are not in the file the index names:", problems.absent);
    add("tensors that are in two files:", problems.twice);
    if (!text.empty()) fail("the checkpoint ", name_, " is damaged or incomplete: ", text, "; download it again");
  }

  std::string name_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, Place, std::less<>> tensors_;
  std::uint64_t total_bytes_ = 0;
};

}  // namespace qwen3vl

/// The weights of a checkpoint: tensors by name, in files that are mapped. Opening a folder maps and checks one
/// safetensors file, or several with an index; weights are read on first access. Formats that keep a weight otherwise
/// than as plain numbers replace its tensors by one whose rows they decode (EncodedRows).
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/warning.hpp"
#include "qwen3vl/io/weights/safetensors.hpp"
#include "qwen3vl/json/json_file.hpp"

namespace qwen3vl {

class Checkpoint {
 public:
  /// Opens `folder`/model.safetensors, or else the shards that `folder`/model.safetensors.index.json names. As in
  /// transformers, the shards count, not what the index says about each tensor: tensors that it lists and no shard has
  /// are a warning, and of two tensors of one name that of the later shard is used, with a warning. Throws one Error
  /// that names all missing shards.
  static Checkpoint open(const std::filesystem::path& folder, const SafetensorsLimits& limits = {},
                         const Warn& warn = print_warning) {
    std::error_code ignored;
    if (!std::filesystem::is_directory(folder, ignored))
      fail(folder.string(), " is not a folder; give a checkpoint folder");
    Checkpoint checkpoint(folder.string());
    const std::filesystem::path single = folder / "model.safetensors";
    const std::filesystem::path index = folder / "model.safetensors.index.json";
    std::vector<std::string> listed;
    if (std::filesystem::exists(single, ignored)) {
      checkpoint.add(SafetensorsFile::open(single, limits));
    } else if (std::filesystem::exists(index, ignored)) {
      listed = checkpoint.open_shards(folder, index, limits);
    } else {
      without_weights(folder);
    }
    checkpoint.warn_of_doubles(warn);
    std::erase_if(listed, [&](const std::string& name) { return checkpoint.find(name) != nullptr; });
    for (std::string& name : listed) name = detail::shown(name);
    if (!listed.empty() && warn)
      warn(concat(index.string(), " lists tensors that are in no file: ", detail::listed(listed)));
    return checkpoint;
  }

  /// One without tensors; `name` is for messages.
  explicit Checkpoint(std::string name) : name_(std::move(name)) {}

  const std::string& name() const { return name_; }

  /// The tensor of this name, or nullptr. Valid until it is replaced or erased, even if the checkpoint is moved.
  const StoredTensor* find(std::string_view name) const {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : &found->second;
  }
  /// All names, sorted.
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [name, tensor] : tensors_) all.push_back(name);
    return all;
  }

  /// Keeps the file that tensors are views of. Empty ones are kept, too: they are part of the fingerprint.
  void keep(MappedFile file, std::string name) { files_.push_back({std::move(file), std::move(name)}); }
  /// Adds a tensor, or replaces the one of its name. Whether there was none.
  bool put(StoredTensor tensor) {
    std::string name = tensor.name;
    return tensors_.insert_or_assign(std::move(name), std::move(tensor)).second;
  }
  /// Removes a tensor: another one has its numbers. Its file stays.
  void erase(std::string_view name) {
    if (const auto found = tensors_.find(name); found != tensors_.end()) tensors_.erase(found);
  }
  /// What else the tensors depend on, a line: part of the fingerprint.
  void note(std::string line) { notes_.push_back(std::move(line)); }
  const std::vector<std::string>& notes() const { return notes_; }
  /// One line per file that identifies its version: name, size, modification time, and a hash of samples, because
  /// copies may keep size and time.
  std::string fingerprint() const {
    std::string text;
    for (const File& file : files_) {
      const std::filesystem::path path = file.name;
      std::error_code error;
      const auto time = std::filesystem::last_write_time(path, error).time_since_epoch().count();
      text += concat(path.filename().string(), " ", file.mapping.bytes().size(), " ", time, " ",
                     sample_hash(file.mapping.bytes()), "\n");
    }
    for (const std::string& note : notes_) text += note + "\n";
    return text;
  }
  /// Settings in other files that its tensors were decoded with: part of the fingerprint.
  void decoded_with(std::string_view settings) {
    notes_.push_back(concat("settings ", sample_hash(std::as_bytes(std::span(settings)))));
  }
  /// Throws Error if a file was written to since it was opened: weights may then be a mixture of two versions.
  void require_unchanged() const {
    for (const File& file : files_)
      if (file.mapping.changed())
        fail(file.name, " changed while it was loaded; load it again when whoever writes it is done");
  }
  /// Bytes of all tensors, as stored.
  std::uint64_t total_bytes() const {
    std::uint64_t total = 0;
    for (const auto& [name, tensor] : tensors_)
      for (const std::span<const std::byte> bytes : tensor.memory()) total += bytes.size();
    return total;
  }
  /// Releases the pages of a tensor that is no longer needed.
  void release(std::string_view name) const {
    if (const StoredTensor* const tensor = find(name))
      for (const std::span<const std::byte> bytes : tensor->memory()) release(bytes);
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

  struct File {
    MappedFile mapping;
    std::string name;
  };

  void release(std::span<const std::byte> bytes) const {
    for (const File& file : files_) {
      const std::span<const std::byte> whole = file.mapping.bytes();
      const std::less_equal<> before;  // of pointers into different mappings
      if (!bytes.empty() && before(whole.data(), bytes.data()) &&
          before(bytes.data() + bytes.size(), whole.data() + whole.size()))
        return file.mapping.release(bytes);
    }
  }

  [[noreturn]] static void without_weights(const std::filesystem::path& folder) {
    const auto has = [&](const char* name) {
      std::error_code ignored;
      return std::filesystem::exists(folder / name, ignored);
    };
    const char* advice = "download the weights";
    if (has("adapter_model.safetensors")) {
      advice =
          "it holds an adapter (LoRA): give its base model as the checkpoint, and this folder as an adapter (--lora)";
    } else if (has("pytorch_model.bin") || has("pytorch_model.bin.index.json")) {
      advice =
          "its pytorch_model.bin is a Python pickle, which is not read: load it with transformers and save it, which "
          "writes safetensors";
    }
    fail(folder.string(), " holds neither model.safetensors nor model.safetensors.index.json; ", advice);
  }

  /// Opens the shards that the index names, in the order of their names. Returns the tensors that it lists.
  std::vector<std::string> open_shards(const std::filesystem::path& folder, const std::filesystem::path& index,
                                       const SafetensorsLimits& limits) {
    const nlohmann::json json =
        read_json_file(index, {.max_bytes = limits.max_header_bytes, .max_depth = 8, .unique_keys = true});
    const auto map = json.is_object() ? json.find("weight_map") : json.end();
    if (map == json.end() || !map->is_object()) fail(index.string(), " has no weight_map");
    std::set<std::string> shards;
    std::vector<std::string> listed;
    for (const auto& [tensor, file] : map->items()) {
      if (!file.is_string())
        fail(index.string(), ": the weight_map entry of ", detail::shown(tensor), " is not a file name");
      const auto& name = file.get_ref<const std::string&>();
      if (!is_plain_name(name))
        fail(index.string(), ": the weight_map entry of ", detail::shown(tensor), " is '", detail::shown(name),
             "', not a plain file name");
      shards.insert(name);
      listed.push_back(tensor);
    }
    std::vector<std::string> missing;
    for (const std::string& file : shards) {
      std::error_code ignored;
      if (std::filesystem::exists(folder / file, ignored)) {
        add(SafetensorsFile::open(folder / file, limits));
      } else {
        missing.push_back(detail::shown(file));
      }
    }
    if (!missing.empty())
      fail("the checkpoint ", name_, " is incomplete: missing files: ", detail::listed(missing),
           "; download them again");
    return listed;
  }

  /// A name from a file must not lead out of the folder. Links in the folder may: that is how the Hub's cache is built.
  static bool is_plain_name(const std::string& name) {
    return !name.empty() && name != "." && name != ".." &&
           std::all_of(name.begin(), name.end(), [](char c) { return c != '/' && c != '\\' && (c < 0 || c >= 0x20); });
  }

  void add(SafetensorsFile file) {
    for (const StoredTensor& tensor : file.tensors())
      if (!put(tensor))
        twice_.push_back(concat(detail::shown(tensor.name), " (used: that of ",
                                std::filesystem::path(file.name()).filename().string(), ")"));
    std::string name = file.name();
    keep(std::move(file).take_mapping(), std::move(name));
  }

  void warn_of_doubles(const Warn& warn) {
    if (!twice_.empty() && warn)
      warn(concat("the checkpoint ", name_, " has tensors in two files: ", detail::listed(twice_)));
  }

  std::string name_;
  std::vector<File> files_;
  std::vector<std::string> notes_;
  std::map<std::string, StoredTensor, std::less<>> tensors_;
  std::vector<std::string> twice_;
};

}  // namespace qwen3vl

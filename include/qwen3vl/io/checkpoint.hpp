/// The weights of a checkpoint folder: one safetensors file, or several with an index.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/io/json_file.hpp"
#include "qwen3vl/io/safetensors.hpp"

namespace qwen3vl {

class Checkpoint {
 public:
  /// Opens `folder`/model.safetensors, or the shards that `folder`/model.safetensors.index.json lists. Throws one Error
  /// that names every missing shard and every tensor that is not where the index says.
  static Checkpoint open(const std::filesystem::path& folder, const SafetensorsLimits& limits = {}) {
    std::error_code ignored;
    if (!std::filesystem::is_directory(folder, ignored))
      fail(folder.string(), " is not a folder; give a checkpoint folder");
    Checkpoint checkpoint;
    checkpoint.name_ = folder.string();
    const std::filesystem::path single = folder / "model.safetensors";
    const std::filesystem::path index = folder / "model.safetensors.index.json";
    if (std::filesystem::exists(single, ignored)) {
      checkpoint.files_.push_back(SafetensorsFile::open(single, limits));
    } else if (std::filesystem::exists(index, ignored)) {
      checkpoint.open_shards(folder, index, limits);
    } else {
      fail(folder.string(), " holds neither model.safetensors nor model.safetensors.index.json; download the weights");
    }
    checkpoint.collect();
    return checkpoint;
  }

  const std::string& name() const { return name_; }

  /// The tensor of a name, or nullptr.
  const StoredTensor* find(std::string_view name) const {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : found->second.tensor;
  }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [name, place] : tensors_) all.push_back(name);
    return all;
  }
  /// Says that a tensor is not needed any more; its pages leave memory.
  void release(std::string_view name) const {
    const auto found = tensors_.find(name);
    if (found != tensors_.end()) found->second.file->release(*found->second.tensor);
  }

 private:
  struct Place {
    const SafetensorsFile* file;
    const StoredTensor* tensor;
  };

  void open_shards(const std::filesystem::path& folder, const std::filesystem::path& index,
                   const SafetensorsLimits& limits) {
    const nlohmann::json json = read_json_file(index);
    const auto map = json.is_object() ? json.find("weight_map") : json.end();
    if (map == json.end() || !map->is_object()) fail(index.string(), " has no weight_map");
    std::map<std::string, std::vector<std::string>> shards;  // file -> tensors
    for (const auto& [tensor, file] : map->items()) {
      if (!file.is_string()) fail(index.string(), ": the weight_map entry of ", tensor, " is not a file name");
      const auto name = file.get<std::string>();
      // A name from a file must not lead out of the folder.
      if (name.empty() || name == ".." || name.find('/') != std::string::npos || name.find('\\') != std::string::npos)
        fail(index.string(), ": the weight_map entry of ", tensor, " is '", name, "', not a plain file name");
      shards[name].push_back(tensor);
    }
    std::string missing;
    for (const auto& [file, tensors] : shards) {
      std::error_code ignored;
      if (!std::filesystem::exists(folder / file, ignored)) missing += (missing.empty() ? "" : ", ") + file;
    }
    if (!missing.empty())
      fail(folder.string(), " lacks these files, which its index lists: ", missing, "; download them");
    std::string absent;
    for (const auto& [file, tensors] : shards) {
      files_.push_back(SafetensorsFile::open(folder / file, limits));
      for (const std::string& tensor : tensors)
        if (files_.back().find(tensor) == nullptr)
          absent += concat(absent.empty() ? "" : ", ", tensor, " (", file, ")");
    }
    if (!absent.empty()) fail(index.string(), " lists tensors that are not in their files: ", absent);
  }

  void collect() {
    std::string twice;
    for (const SafetensorsFile& file : files_)
      for (const StoredTensor& tensor : file.tensors())
        if (!tensors_.emplace(tensor.name, Place{&file, &tensor}).second)
          twice += (twice.empty() ? "" : ", ") + tensor.name;
    if (!twice.empty()) fail(name_, " holds these tensors in more than one file: ", twice);
  }

  std::string name_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, Place, std::less<>> tensors_;
};

}  // namespace qwen3vl

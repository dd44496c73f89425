/// Which file of a checkpoint has the settings of its image or video processor.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <map>
#include <string>
#include <utility>

#include "qwen3vl/base/checkpoint_folder.hpp"
#include "qwen3vl/base/warning.hpp"
#include "qwen3vl/json/fields.hpp"
#include "qwen3vl/json/json_file.hpp"

namespace qwen3vl {

/// The settings files of a folder, each read once, on first use.
class PreprocessorFiles {
 public:
  /// Throws Error if `folder` is none: the first that a wrong name of a checkpoint meets.
  explicit PreprocessorFiles(const std::filesystem::path& folder) : folder_(find_checkpoint(folder)) {
    std::error_code ignored;
    if (!std::filesystem::is_directory(folder_, ignored)) require_checkpoint_folder(folder_);
  }

  /// What transformers 5 saves, `part` ("image_processor", "video_processor") of processor_config.json, comes first;
  /// then the first of `files`, of which older versions write one for each part. Throws Error if there is none.
  JsonFields settings(const char* part, std::initializer_list<const char*> files) {
    if (const nlohmann::json* const common = read("processor_config.json")) {
      const JsonFields parts(*common, path_of("processor_config.json"));
      if (parts.has(part)) return parts.section(part);
    }
    for (const char* const name : files)
      if (const nlohmann::json* const json = read(name)) return {*json, path_of(name)};
    fail("no settings of the ", part, " in ", folder_.string(), ": there is no ", *files.begin());
  }

  /// Says which fields of processor_config.json are not read.
  void warn_about_others(const Warn& warn) {
    const nlohmann::json* const common = read("processor_config.json");
    if (common == nullptr || !common->is_object() || !warn) return;
    for (const auto& [name, value] : common->items()) {
      const bool known = name == "image_processor" || name == "video_processor" || name == "chat_template";
      const bool ours = name == "processor_class" && value == "Qwen3VLProcessor";
      if (!known && !ours && !value.is_null())
        warn(concat(path_of("processor_config.json"), ": ", detail::shown(name, 60), " is not used"));
    }
  }

 private:
  std::string path_of(const std::string& name) const { return (folder_ / name).string(); }

  const nlohmann::json* read(const std::string& name) {
    std::error_code ignored;
    if (!read_.contains(name)) {
      if (!std::filesystem::exists(folder_ / name, ignored)) return nullptr;
      read_.emplace(name, read_json_file(folder_ / name));
    }
    return &read_.at(name);
  }

  std::filesystem::path folder_;
  std::map<std::string, nlohmann::json> read_;
};

}  // namespace qwen3vl

/// Which file of a checkpoint has the settings of its image or video processor.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <string>
#include <utility>

#include "qwen3vl/base/checkpoint_folder.hpp"
#include "qwen3vl/base/warning.hpp"
#include "qwen3vl/io/checkpoint/checkpoint_files.hpp"
#include "qwen3vl/json/fields.hpp"

namespace qwen3vl {

/// The settings files of a checkpoint.
class PreprocessorFiles {
 public:
  /// Throws Error if it is no checkpoint: the first that a wrong name of one meets.
  explicit PreprocessorFiles(CheckpointFiles files) : files_(std::move(files)) {
    std::error_code ignored;
    if (files_.gguf() == nullptr && !std::filesystem::is_directory(files_.path(), ignored))
      require_checkpoint_folder(files_.path());
  }

  /// What transformers 5 saves, `part` ("image_processor", "video_processor") of processor_config.json, comes first;
  /// then the first of `files`, of which older versions write one for each part. Throws Error if there is none.
  JsonFields settings(const char* part, std::initializer_list<const char*> files) {
    if (const nlohmann::json* const common = files_.json("processor_config.json")) {
      const JsonFields parts(*common, files_.place_of("processor_config.json"));
      if (parts.has(part)) return parts.section(part);
    }
    for (const char* const name : files)
      if (const nlohmann::json* const json = files_.json(name)) return {*json, files_.place_of(name)};
    fail("no settings of the ", part, " in ", files_.path().string(), ": there is no ", *files.begin());
  }

  /// Says which fields of processor_config.json are not read.
  void warn_about_others(const Warn& warn) {
    const nlohmann::json* const common = files_.json("processor_config.json");
    if (common == nullptr || !common->is_object() || !warn) return;
    for (const auto& [name, value] : common->items()) {
      const bool known = name == "image_processor" || name == "video_processor" || name == "chat_template";
      const bool ours = name == "processor_class" && value == "Qwen3VLProcessor";
      if (!known && !ours && !value.is_null())
        warn(concat(files_.place_of("processor_config.json"), ": ", detail::shown(name, 60), " is not used"));
    }
  }

 private:
  CheckpointFiles files_;
};

}  // namespace qwen3vl

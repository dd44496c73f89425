/// Which file of a checkpoint has the settings of its image or video processor.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <string>
#include <utility>

#include "qwen3vl/json/json_file.hpp"

namespace qwen3vl {

/// Settings as read, and how errors call the place they are from.
struct PreprocessorSettings {
  nlohmann::json json;
  std::string where;
};

/// What transformers 5 saves, `part` ("image_processor", "video_processor") of processor_config.json, comes first; then
/// the first of `files`, of which older versions write one for each part. Throws Error if there is none.
inline PreprocessorSettings read_preprocessor_settings(const std::filesystem::path& folder, const char* part,
                                                       std::initializer_list<const char*> files) {
  std::error_code ignored;
  const std::filesystem::path common = folder / "processor_config.json";
  if (std::filesystem::exists(common, ignored)) {
    nlohmann::json json = read_json_file(common);
    if (!json.is_object()) fail(common.string(), " is not a JSON object");
    const auto found = json.find(part);
    if (found != json.end() && !found->is_null()) return {std::move(*found), common.string() + ": " + part};
  }
  for (const char* const name : files) {
    const std::filesystem::path path = folder / name;
    if (std::filesystem::exists(path, ignored)) return {read_json_file(path), path.string()};
  }
  fail("no settings of the ", part, " in ", folder.string(), ": there is no ", *files.begin());
}

}  // namespace qwen3vl

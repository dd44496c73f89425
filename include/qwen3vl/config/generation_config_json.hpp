/// Reading generation_config.json. Nothing that only computes includes this header.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <vector>

#include "qwen3vl/config/generation_config.hpp"
#include "qwen3vl/json/fields.hpp"
#include "qwen3vl/json/json_file.hpp"

namespace qwen3vl {

/// The settings in a parsed generation_config.json; `file` names it in errors. Absent fields have their defaults, null
/// ones are off. Fields that GenerationConfig does not have are ignored, as transformers ignores those it does not
/// know. Each value is checked alone; GenerationConfig::validate checks them together, when it is known what the caller
/// changes. Throws Error naming file and field for a value that no run could use.
inline GenerationConfig generation_config_from_json(const nlohmann::json& json, const std::string& file) {
  const JsonFields fields(json, file);
  GenerationConfig config;
  for_each_generation_option(
      [&]<class T>(const GenerationOption& option, T& value) {
        if constexpr (std::is_same_v<T, EarlyStopping>) {
          const nlohmann::json* const found = fields.find(option.name);
          if (found == nullptr) return;
          if (!found->is_boolean() && *found != "never") fields.wrong(option.name, "true, false or \"never\"");
          const bool now = found->is_boolean() && found->get<bool>();
          value = *found == "never" ? EarlyStopping::never : now ? EarlyStopping::yes : EarlyStopping::no;
        } else if constexpr (!std::is_same_v<T, std::optional<std::uint64_t>>) {  // the file has no seed
          fields.read(Option{option.name, option.of_file}, value);
        }
      },
      config);
  if (fields.is_null("top_k")) config.top_k = 0;  // all others are off by default
  return config;
}

/// `folder`/generation_config.json, or the defaults if there is none. `eos_token_id` (of config.json) is used where the
/// file names no eos token: without one, every answer would go on to max_new_tokens.
inline GenerationConfig read_generation_config(const std::filesystem::path& folder,
                                               const std::vector<TokenId>& eos_token_id = {}) {
  const std::filesystem::path path = folder / "generation_config.json";
  GenerationConfig config;
  // Only a file that is not there counts as missing; one that cannot be read is an error, not the defaults.
  std::error_code ignored;
  if (std::filesystem::status(path, ignored).type() != std::filesystem::file_type::not_found)
    config = generation_config_from_json(read_json_file(path, {.max_bytes = std::size_t{1} << 20}), path.string());
  if (config.eos_token_id.empty()) config.eos_token_id = eos_token_id;
  return config;
}

}  // namespace qwen3vl

/// Reading generation_config.json. Nothing that only computes includes this header.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <vector>

#include "qwen3vl/config/generation_config.hpp"
#include "qwen3vl/config/generation_config_fields.hpp"
#include "qwen3vl/json/fields.hpp"
#include "qwen3vl/json/json_file.hpp"

namespace qwen3vl {

namespace detail {

/// Token ids, at least one.
inline std::vector<TokenId> read_token_run(const JsonFields& fields, std::string_view name, const nlohmann::json& item,
                                           std::string_view wanted) {
  if (!item.is_array() || item.empty()) fields.wrong(name, wanted);
  std::vector<TokenId> ids;
  for (const nlohmann::json& id : item) ids.push_back(static_cast<TokenId>(fields.integer(name, id, at_least(0))));
  return ids;
}

inline float read_finite(const JsonFields& fields, std::string_view name, const nlohmann::json& item,
                         std::string_view wanted) {
  constexpr double most = std::numeric_limits<float>::max();
  if (!item.is_number() || !within(-most, most).has(item.get<double>())) fields.wrong(name, wanted);
  return item.get<float>();
}

inline void read_setting(const JsonFields& fields, const Option& option, EarlyStopping& value) {
  const nlohmann::json* const found = fields.find(option.name);
  if (found == nullptr) return;
  if (!found->is_boolean() && *found != "never") fields.wrong(option.name, "true, false or \"never\"");
  const bool now = found->is_boolean() && found->get<bool>();
  value = *found == "never" ? EarlyStopping::never : now ? EarlyStopping::yes : EarlyStopping::no;
}

inline void read_setting(const JsonFields& fields, const Option& option, std::vector<std::string>& value) {
  const nlohmann::json* const found = fields.find(option.name);
  if (found == nullptr) return;
  value.clear();
  const auto add = [&](const nlohmann::json& item) {
    if (!item.is_string() || item.get_ref<const std::string&>().empty())
      fields.wrong(option.name, "a text, or a list of texts, none of them empty");
    value.push_back(item.get<std::string>());
  };
  if (!found->is_array()) return add(*found);
  for (const nlohmann::json& item : *found) add(item);
}

inline void read_setting(const JsonFields& fields, const Option& option, std::vector<std::vector<TokenId>>& value) {
  const nlohmann::json* const found = fields.find(option.name);
  if (found == nullptr) return;
  constexpr std::string_view wanted = "a list of lists of token ids, none of them empty";
  if (!found->is_array() || found->empty()) fields.wrong(option.name, wanted);
  value.clear();
  for (const nlohmann::json& item : *found) value.push_back(read_token_run(fields, option.name, item, wanted));
}

inline void read_setting(const JsonFields& fields, const Option& option, std::vector<SequenceBias>& value) {
  const nlohmann::json* const found = fields.find(option.name);
  if (found == nullptr) return;
  constexpr std::string_view wanted = "a list of [[token ids], bias]";
  if (!found->is_array() || found->empty()) fields.wrong(option.name, wanted);
  value.clear();
  for (const nlohmann::json& item : *found) {
    if (!item.is_array() || item.size() != 2) fields.wrong(option.name, wanted);
    value.push_back(
        {read_token_run(fields, option.name, item[0], wanted), read_finite(fields, option.name, item[1], wanted)});
  }
}

inline void read_setting(const JsonFields& fields, const Option& option, std::optional<LengthDecay>& value) {
  const nlohmann::json* const found = fields.find(option.name);
  if (found == nullptr) return;
  constexpr std::string_view wanted = "[start_index, decay_factor]";
  if (!found->is_array() || found->size() != 2) fields.wrong(option.name, wanted);
  value = {.start_index = fields.integer(option.name, (*found)[0], at_least(0)),
           .decay_factor = read_finite(fields, option.name, (*found)[1], wanted)};
}

inline void read_setting(const JsonFields& fields, const Option& option, std::optional<AnyWatermarkingConfig>& value) {
  if (!fields.has(option.name)) return;
  const JsonFields own = fields.section(option.name);
  WatermarkingConfig config;
  own.read("greenlist_ratio", config.greenlist_ratio);
  if (!(config.greenlist_ratio > 0.0 && config.greenlist_ratio < 1.0))
    own.wrong("greenlist_ratio", "a number between 0 and 1");
  own.read("bias", config.bias);
  own.read("hashing_key", config.hashing_key, within(0, 0x1p53));
  own.read("context_width", config.context_width, at_least(1));
  std::string scheme = "lefthash";
  own.read("seeding_scheme", scheme);
  if (scheme != "lefthash" && scheme != "selfhash") own.wrong("seeding_scheme", "\"lefthash\" or \"selfhash\"");
  if (scheme == "selfhash") config.seeding_scheme = SeedingScheme::selfhash;
  for (const auto& [key, ignored] : fields.find(option.name)->items())
    if (key != "greenlist_ratio" && key != "bias" && key != "hashing_key" && key != "context_width" &&
        key != "seeding_scheme")
      fail(own.place(detail::shown(key, 40)), " is not known; a file can have the settings of WatermarkingConfig only");
  value = config;
}

template <class T>
void read_setting(const JsonFields& fields, const Option& option, T& value) {
  fields.read(option, value);
}

/// What a field that is no option says, if generate() cannot do it.
inline void read_other_field(const JsonFields& fields, const GenerationField& field, GenerationConfig& config) {
  const nlohmann::json* const found = fields.find(field.name);
  if (found == nullptr || field.changes_nothing(*found)) return;
  const std::string value = found->dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  config.refused.push_back({std::string(field.name), value,
                            concat(fields.place(field.name), " is ", shown(value, 60), ". ", field.effect,
                                   ". Take it out of the file, or give the model another generation_config"),
                            field.refused});
}

}  // namespace detail

/// The settings in a parsed generation_config.json; `file` names it in errors. Fields that are absent or null have
/// their defaults. Each value is checked alone; GenerationConfig::validate checks them together, when it is known what
/// the caller changes, and throws what generate() cannot do. `warn`, if not empty, is told which fields neither this
/// library nor transformers knows. Throws Error naming file and field for a value that no run could use.
inline GenerationConfig generation_config_from_json(const nlohmann::json& json, const std::string& file,
                                                    const std::function<void(const std::string&)>& warn = {}) {
  const JsonFields fields(json, file);
  GenerationConfig config;
  std::vector<std::string_view> known(generation_metadata.begin(), generation_metadata.end());
  for_each_generation_option(
      [&]<class T>(const GenerationOption& option, T& value) {
        if constexpr (!std::is_same_v<T, std::optional<std::uint64_t>>) {  // the file has no seed
          detail::read_setting(fields, Option{option.name, option.of_file}, value);
          known.push_back(option.name);
        }
      },
      config);
  for (const GenerationField& field : generation_fields) {
    detail::read_other_field(fields, field, config);
    known.push_back(field.name);
  }
  std::string unknown;
  for (const auto& [key, value] : json.items()) {
    if (std::ranges::find(generate_arguments, key) != generate_arguments.end())
      fail(fields.place(key), ": this is an argument of generate(), not a setting of the file");
    if (std::ranges::find(known, key) == known.end() && unknown.size() < 200)
      unknown += concat(unknown.empty() ? "" : ", ", detail::shown(key, 40));
  }
  if (warn && !unknown.empty()) warn(concat(file, ": nothing here knows ", unknown, "; ignored"));
  return config;
}

/// `folder`/generation_config.json, or the defaults if there is none. `eos_token_id` (of config.json) is used where the
/// file names no eos token: without one, every answer would go on to max_new_tokens.
inline GenerationConfig read_generation_config(const std::filesystem::path& folder,
                                               const std::vector<TokenId>& eos_token_id = {},
                                               const std::function<void(const std::string&)>& warn = {}) {
  const std::filesystem::path path = folder / "generation_config.json";
  GenerationConfig config;
  // Only a file that is not there counts as missing; one that cannot be read is an error, not the defaults.
  std::error_code ignored;
  if (std::filesystem::status(path, ignored).type() != std::filesystem::file_type::not_found)
    config =
        generation_config_from_json(read_json_file(path, {.max_bytes = std::size_t{1} << 20}), path.string(), warn);
  if (config.eos_token_id.empty()) config.eos_token_id = eos_token_id;
  return config;
}

}  // namespace qwen3vl

/// Reading generation_config.json. Nothing that only computes includes this header.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "qwen3vl/config/generation_config.hpp"
#include "qwen3vl/json/json_file.hpp"

namespace qwen3vl {
namespace detail {

/// The fields of one generation_config.json. A field that is absent leaves its variable as it is. Each value is checked
/// alone; GenerationConfig::validate checks them together, when it is known what the caller changes.
class GenerationConfigFields {
 public:
  GenerationConfigFields(const nlohmann::json& json, std::string_view file) : json_(json), file_(file) {
    if (!json_.is_object()) fail(file_, ": wanted a JSON object, found ", json_.type_name());
  }

  // `none` is the value that null gets: so Python's None is stored, which turns a setting off.
  void read(const char* name, bool& value, bool none) const {
    const nlohmann::json* const found = find(name, value, none);
    if (found == nullptr) return;
    if (!found->is_boolean()) wrong(name, "true or false");
    value = found->get<bool>();
  }

  void read(const char* name, index_t& value, index_t none, index_t lowest) const {
    if (const auto* const found = find(name, value, none)) value = integer(name, *found, lowest);
  }

  void read(const char* name, std::optional<index_t>& value, index_t lowest) const {
    if (const auto* const found = find(name, value, std::nullopt)) value = integer(name, *found, lowest);
  }

  void read(const char* name, EarlyStopping& value) const {
    const nlohmann::json* const found = find(name, value, EarlyStopping::no);
    if (found == nullptr) return;
    if (!found->is_boolean() && *found != "never") wrong(name, "true, false or \"never\"");
    value = !found->is_boolean() ? EarlyStopping::never : found->get<bool>() ? EarlyStopping::yes : EarlyStopping::no;
  }

  void read(const char* name, float& value, float none, float lowest, float highest) const {
    const nlohmann::json* const found = find(name, value, none);
    if (found == nullptr) return;
    const double number = found->is_number() ? found->get<double>() : std::numeric_limits<double>::quiet_NaN();
    if (!(number >= double{lowest} && number <= double{highest}))
      wrong(name, concat("a number from ", lowest, " to ", highest));
    value = static_cast<float>(number);
  }

  void read_token(const char* name, std::optional<TokenId>& value) const {
    if (const auto* const found = find(name, value, std::nullopt)) value = token(name, *found);
  }

  /// One id or a list of them.
  void read_tokens(const char* name, std::vector<TokenId>& value) const {
    const nlohmann::json* const found = find(name, value, std::vector<TokenId>());
    if (found == nullptr) return;
    value.clear();
    if (!found->is_array()) return value.push_back(token(name, *found));
    for (const nlohmann::json& item : *found) value.push_back(token(name, item));
  }

 private:
  template <class T, class None>
  const nlohmann::json* find(const char* name, T& value, None&& none) const {
    const auto found = json_.find(name);
    if (found == json_.end()) return nullptr;
    if (!found->is_null()) return &*found;
    value = std::forward<None>(none);
    return nullptr;
  }

  /// Sizes beyond 31 bits are refused as well: no token id or count is that large, and sums of them cannot overflow.
  index_t integer(const char* name, const nlohmann::json& json, index_t lowest) const {
    constexpr index_t highest = std::numeric_limits<std::int32_t>::max();
    const bool fits = json.is_number_unsigned() ? json.get<std::uint64_t>() <= static_cast<std::uint64_t>(highest)
                                                : json.is_number_integer();
    if (!fits || json.get<index_t>() < lowest) wrong(name, concat("an integer from ", lowest, " to ", highest));
    return json.get<index_t>();
  }

  TokenId token(const char* name, const nlohmann::json& json) const {
    return static_cast<TokenId>(integer(name, json, 0));
  }

  [[noreturn]] void wrong(const char* name, std::string_view wanted) const {
    std::string found = json_.at(name).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    if (found.size() > 60) found.replace(57, std::string::npos, "...");
    fail(file_, ": ", name, " is ", found, "; wanted ", wanted);
  }

  const nlohmann::json& json_;
  std::string file_;
};

}  // namespace detail

/// The settings in a parsed generation_config.json; `file` names it in errors. Absent fields have their defaults, null
/// ones are off. Fields that GenerationConfig does not have are ignored, as transformers ignores those it does not
/// know. Throws Error naming file and field for a value that no run could use.
inline GenerationConfig generation_config_from_json(const nlohmann::json& json, const std::string& file) {
  const detail::GenerationConfigFields fields(json, file);
  // Scores are floats: a divisor outside these makes them infinite, or all of them zero.
  constexpr float least = std::numeric_limits<float>::min(), most = std::numeric_limits<float>::max();
  GenerationConfig config;
  fields.read("max_new_tokens", config.max_new_tokens, 1);
  fields.read("max_length", config.max_length, 1);
  fields.read("min_new_tokens", config.min_new_tokens, 0);
  fields.read("min_length", config.min_length, 0, 0);
  fields.read("do_sample", config.do_sample, false);
  fields.read("temperature", config.temperature, 1.0f, 0.0f, most);  // 0 is common beside "do_sample": false
  fields.read("top_k", config.top_k, 0, 0);
  fields.read("top_p", config.top_p, 1.0f, 0.0f, 1.0f);
  fields.read("min_p", config.min_p, 0.0f, 0.0f, 1.0f);
  fields.read("repetition_penalty", config.repetition_penalty, 1.0f, least, most);
  fields.read("no_repeat_ngram_size", config.no_repeat_ngram_size, 0, 0);
  fields.read("presence_penalty", config.presence_penalty, 0.0f, -2.0f, 2.0f);
  fields.read("frequency_penalty", config.frequency_penalty, 0.0f, -2.0f, 2.0f);
  fields.read("num_beams", config.num_beams, 1, 1);
  fields.read("length_penalty", config.length_penalty, 1.0f, -most, most);
  fields.read("early_stopping", config.early_stopping);
  fields.read("num_return_sequences", config.num_return_sequences, 1, 1);
  fields.read("prompt_lookup_num_tokens", config.prompt_lookup_num_tokens, 0, 0);
  fields.read("max_matching_ngram_size", config.max_matching_ngram_size, 2, 1);
  fields.read_tokens("eos_token_id", config.eos_token_id);
  fields.read_token("pad_token_id", config.pad_token_id);
  fields.read_token("bos_token_id", config.bos_token_id);
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

/// Reading generation_config.json. Defines GenerationConfig::from_pretrained.
#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "qwen3vl/config/generation_config.hpp"
#include "qwen3vl/io/json_file.hpp"

namespace qwen3vl {
namespace detail {

/// The fields of one generation_config.json. A field that is absent, or null (which is how Python's None is stored),
/// leaves its variable as it is. Each value is checked alone; GenerationConfig::validate checks them together, when it
/// is known what the caller changes.
class GenerationConfigFields {
 public:
  GenerationConfigFields(const nlohmann::json& json, std::string_view file) : json_(json), file_(file) {
    if (!json_.is_object()) fail(file_, ": wanted a JSON object, found ", json_.type_name());
  }

  void read(const char* name, bool& value) const {
    const nlohmann::json* const found = find(name);
    if (found == nullptr) return;
    if (!found->is_boolean()) wrong(name, "true or false");
    value = found->get<bool>();
  }

  void read(const char* name, std::int64_t& value, std::int64_t lowest) const {
    const nlohmann::json* const found = find(name);
    if (found != nullptr) value = integer(name, *found, lowest, std::numeric_limits<std::int32_t>::max());
  }

  void read(const char* name, double& value, double lowest, double highest) const {
    const nlohmann::json* const found = find(name);
    if (found == nullptr) return;
    if (!found->is_number()) wrong(name, "a number");
    const double number = found->get<double>();
    if (!(number >= lowest && number <= highest)) wrong(name, concat("a number from ", lowest, " to ", highest));
    value = number;
  }

  void read_token(const char* name, std::int32_t& value) const {
    const nlohmann::json* const found = find(name);
    if (found != nullptr) value = token(name, *found);
  }

  void read_tokens(const char* name, std::vector<std::int32_t>& value) const {
    const nlohmann::json* const found = find(name);
    if (found == nullptr) return;
    std::vector<std::int32_t> tokens;
    if (found->is_array()) {
      for (const nlohmann::json& item : *found) tokens.push_back(token(name, item));
    } else {
      tokens.push_back(token(name, *found));
    }
    value = std::move(tokens);
  }

  bool is_null(const char* name) const {
    const auto found = json_.find(name);
    return found != json_.end() && found->is_null();
  }

 private:
  const nlohmann::json* find(const char* name) const {
    const auto found = json_.find(name);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }

  std::int64_t integer(const char* name, const nlohmann::json& json, std::int64_t lowest, std::int64_t highest) const {
    const bool fits = json.is_number_unsigned() ? json.get<std::uint64_t>() <= static_cast<std::uint64_t>(highest)
                                                : json.is_number_integer();
    if (!fits || json.get<std::int64_t>() < lowest) wrong(name, concat("an integer from ", lowest, " to ", highest));
    return json.get<std::int64_t>();
  }

  std::int32_t token(const char* name, const nlohmann::json& json) const {
    return static_cast<std::int32_t>(integer(name, json, 0, std::numeric_limits<std::int32_t>::max()));
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

/// Reads the text of a generation_config.json; `file` names it in errors. Fields that are absent keep their value from
/// `defaults`, and so do token ids that are null; other null fields are off, as None is in transformers. Fields that
/// GenerationConfig has not are ignored, as transformers ignores those it does not know.
inline GenerationConfig parse_generation_config(std::string_view text, const std::string& file,
                                                GenerationConfig defaults = {}) {
  // A megabyte is a thousand times what such files have.
  const nlohmann::json json = parse_json(text, file, {.max_bytes = 1 << 20, .max_depth = 100});
  const detail::GenerationConfigFields fields(json, file);
  constexpr double most = std::numeric_limits<float>::max();      // scores are floats
  constexpr double least = std::numeric_limits<float>::min();     // dividing by less overflows
  GenerationConfig config = std::move(defaults);
  fields.read("max_new_tokens", config.max_new_tokens, 1);
  fields.read("do_sample", config.do_sample);
  if (fields.is_null("temperature")) config.temperature = 1.0;
  fields.read("temperature", config.temperature, 0.0, most);  // 0 is common beside do_sample false
  if (fields.is_null("top_k")) config.top_k = 0;
  fields.read("top_k", config.top_k, 0);
  if (fields.is_null("top_p")) config.top_p = 1.0;
  fields.read("top_p", config.top_p, 0.0, 1.0);
  if (fields.is_null("min_p")) config.min_p.reset();
  double min_p = config.min_p.value_or(-1.0);
  fields.read("min_p", min_p, 0.0, 1.0);
  if (min_p >= 0.0) config.min_p = min_p;
  if (fields.is_null("repetition_penalty")) config.repetition_penalty = 1.0;
  fields.read("repetition_penalty", config.repetition_penalty, least, most);
  if (fields.is_null("no_repeat_ngram_size")) config.no_repeat_ngram_size = 0;
  fields.read("no_repeat_ngram_size", config.no_repeat_ngram_size, 0);
  fields.read("num_beams", config.num_beams, 1);
  fields.read_tokens("eos_token_id", config.eos_token_id);
  fields.read_token("pad_token_id", config.pad_token_id);
  fields.read_token("bos_token_id", config.bos_token_id);
  return config;
}

inline GenerationConfig GenerationConfig::from_pretrained(const std::filesystem::path& folder,
                                                          GenerationConfig defaults) {
  const std::filesystem::path path = folder / "generation_config.json";
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) return defaults;
  return parse_generation_config(read_text_file(path, 1 << 20), path.string(), std::move(defaults));
}

inline GenerationConfig GenerationConfig::from_pretrained(const std::filesystem::path& folder) {
  return from_pretrained(folder, {});
}

}  // namespace qwen3vl

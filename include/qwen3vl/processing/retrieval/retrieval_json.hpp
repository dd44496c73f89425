/// Rows of --embed and --rerank: the dictionaries that QwenLM/Qwen3-VL-Embedding takes. Every error names its place, as
/// in "documents[2].image: ...".
#pragma once

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/json/fields.hpp"
#include "qwen3vl/json/json_text.hpp"
#include "qwen3vl/processing/chat/request_messages.hpp"
#include "qwen3vl/processing/retrieval/embedding_prompts.hpp"
#include "qwen3vl/processing/retrieval/reranker_prompts.hpp"

namespace qwen3vl {

/// A row of --embed: a text, or an object with any of text, image, video (a string or a list of them each),
/// instruction, fps, max_frames, and an id.
struct EmbeddingRow {
  EmbeddingInput input;
  nlohmann::ordered_json id;  ///< to be given back; null: none
};

/// A row of --rerank: an object with query, documents (each a text or an object with text, image, video), and any of
/// instruction, fps, max_frames, and an id.
struct RerankerRow {
  RerankerInput input;
  nlohmann::ordered_json id;
};

namespace detail::retrieval_json {

using Json = nlohmann::ordered_json;
using request_json::Keys;

/// A string or a list of strings.
inline std::vector<std::string> strings(const Json& value, const std::string& place) {
  if (value.is_string()) return {value.get<std::string>()};
  if (!value.is_array()) wrong_value(place, value, "a string or a list of strings");
  std::vector<std::string> all;
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (!value[i].is_string()) wrong_value(concat(place, "[", i, "]"), value[i], "a string");
    all.push_back(value[i].get<std::string>());
  }
  return all;
}

/// Whether a list that begins with this is a video's frames, by the ending of the name, as the published code has it.
inline bool is_image_name(const std::string& name) {
  constexpr std::array<std::string_view, 8> endings{".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tiff", ".svg"};
  std::string ending = std::filesystem::path(name).extension().string();
  for (char& c : ending) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return std::ranges::find(endings, ending) != endings.end();
}

inline ContentPart frames(const Json& list, const std::string& place) {
  ContentPart part = video();
  part.frames = strings(list, place);
  if (part.frames.empty()) fail(place, ": a video of no frames");
  return part;
}

/// One video (a path or a list of images), or a list of videos.
inline std::vector<ContentPart> videos(const Json& value, const std::string& place) {
  if (value.is_string()) return {video(value.get<std::string>())};
  if (!value.is_array()) wrong_value(place, value, "a path, a list of images, or a list of videos");
  if (!value.empty() && value[0].is_string() && is_image_name(value[0].get<std::string>()))
    return {frames(value, place)};
  std::vector<ContentPart> all;
  for (std::size_t i = 0; i < value.size(); ++i) {
    const std::string at = concat(place, "[", i, "]");
    if (!value[i].is_string() && !value[i].is_array()) wrong_value(at, value[i], "a path or a list of images");
    all.push_back(value[i].is_string() ? video(value[i].get<std::string>()) : frames(value[i], at));
  }
  return all;
}

/// A name must be there: media are not handed over beside a row.
inline void require_name(const ContentPart& part, const std::string& place) {
  if (part.frames.empty() && part.source.empty()) fail(place, ": names no file");
}

inline void read_item(Keys& keys, RetrievalItem& item) {
  if (const Json* const value = keys.find("text")) item.text = strings(*value, keys.place("text"));
  if (const Json* const value = keys.find("image"))
    for (std::string& source : strings(*value, keys.place("image"))) item.image.push_back(image(std::move(source)));
  if (const Json* const value = keys.find("video")) item.video = videos(*value, keys.place("video"));
  for (const ContentPart& part : item.image) require_name(part, keys.place("image"));
  for (const ContentPart& part : item.video) require_name(part, keys.place("video"));
}

inline RetrievalItem item(const Json& value, const std::string& place, const RequestOptions& options) {
  if (value.is_string()) return {.text = {value.get<std::string>()}};
  RetrievalItem item;
  Keys keys(value, place);
  read_item(keys, item);
  keys.done(options);
  return item;
}

/// What the two kinds of rows have in common.
template <class Input>
void read_settings(Keys& keys, Input& input, Json& id) {
  if (const Json* const value = keys.find("instruction")) {
    if (!value->is_string()) wrong_value(keys.place("instruction"), *value, "a string");
    input.instruction = value->get<std::string>();
  }
  const auto number = [&](const char* key, Range range, std::string_view wanted) {
    const Json* const value = keys.find(key);
    const double found = value == nullptr ? 0.0 : value->is_number() ? value->get<double>() : -1.0;
    if (value != nullptr && !range.has(found)) wrong_value(keys.place(key), *value, wanted);
    return value == nullptr ? std::nullopt : std::optional(found);
  };
  input.fps = number("fps", within(0, 1e6), "a number from 0 to 1000000");
  if (const auto found = number("max_frames", within(0, 1e6), "a number from 0 to 1000000"))
    input.max_frames = static_cast<std::int64_t>(*found);
  if (const Json* const found = keys.find("id")) id = *found;
}

}  // namespace detail::retrieval_json

/// Reads a row of --embed. Throws Error that names the place of a fault, and keys that mean nothing here.
inline EmbeddingRow embedding_row_from_json(std::string_view json, const RequestOptions& options = {}) {
  const nlohmann::ordered_json value = parse_ordered_json(json, "row", options.limits);
  EmbeddingRow row;
  if (value.is_string()) {
    row.input.text = {value.get<std::string>()};
    return row;
  }
  detail::request_json::Keys keys(value, "");
  detail::retrieval_json::read_item(keys, row.input);
  detail::retrieval_json::read_settings(keys, row.input, row.id);
  keys.done(options);
  return row;
}

/// Reads a row of --rerank.
inline RerankerRow reranker_row_from_json(std::string_view json, const RequestOptions& options = {}) {
  const nlohmann::ordered_json value = parse_ordered_json(json, "row", options.limits);
  RerankerRow row;
  detail::request_json::Keys keys(value, "");
  detail::retrieval_json::read_settings(keys, row.input, row.id);
  const nlohmann::ordered_json *const query = keys.find("query"), *const documents = keys.find("documents");
  if (query == nullptr) fail("row: has no \"query\"");
  row.input.query = detail::retrieval_json::item(*query, "query", options);
  const RetrievalItem& q = row.input.query;
  if (q.text.empty() && q.image.empty() && q.video.empty()) fail("query: has no text, image or video");
  if (documents == nullptr || !documents->is_array()) fail("row: has no list of \"documents\"");
  for (std::size_t i = 0; i < documents->size(); ++i)
    row.input.documents.push_back(detail::retrieval_json::item((*documents)[i], concat("documents[", i, "]"), options));
  keys.done(options);
  return row;
}

}  // namespace qwen3vl

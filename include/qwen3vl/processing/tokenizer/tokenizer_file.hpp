/// Reading tokenizer.json: the vocabulary and merges are streamed (they are 99 % of the file), the rest is a small
/// tree.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/utf8.hpp"
#include "qwen3vl/inputs/token_id.hpp"
#include "qwen3vl/json/json_file.hpp"

namespace qwen3vl {

/// An entry of `added_tokens`: text that is always one token.
struct AddedToken {
  TokenId id = -1;
  std::string content;
  bool special = false;      ///< left out by `skip_special_tokens`
  bool lstrip = false;       ///< includes white space before it
  bool rstrip = false;       ///< includes white space after it
  bool single_word = false;  ///< not inside a word
  bool normalized = true;    ///< searched after normalisation, not before
};

/// The contents of a tokenizer.json, checked for types and sizes, not yet for consistency.
struct TokenizerFile {
  static constexpr std::size_t max_bytes = std::size_t{1} << 28;
  static constexpr std::int64_t max_id = (1 << 22) - 1;
  static constexpr std::size_t max_depth = 24;
  static constexpr std::size_t max_values = 1'000'000;  // outside vocabulary and merges

  /// A piece of `strings`.
  struct Text {
    std::uint32_t offset = 0;
    std::uint32_t length = 0;
  };
  struct Entry {
    Text text;
    TokenId id = -1;
  };

  std::string path;
  std::string strings;
  std::vector<Entry> vocab;
  std::vector<std::pair<Text, Text>> merges;
  bool ignore_merges = false;
  nlohmann::json rest;  // the whole file without model.vocab and model.merges

  std::string_view text(Text piece) const { return {strings.data() + piece.offset, piece.length}; }

  /// The whole tokenizer.json again.
  nlohmann::json json() const {
    nlohmann::json whole = rest;
    nlohmann::json &tokens = whole["model"]["vocab"] = nlohmann::json::object(),
                   &pairs = whole["model"]["merges"] = nlohmann::json::array();
    for (const Entry& entry : vocab) tokens[std::string(text(entry.text))] = entry.id;
    for (const auto& [left, right] : merges) pairs.push_back({text(left), text(right)});
    return whole;
  }

  /// Reads a file; throws Error if it is not a valid tokenizer.json.
  static TokenizerFile read(const std::filesystem::path& path);
  /// The same from memory; `path` is for messages.
  static TokenizerFile parse(std::string_view json, std::string path);
};

namespace detail {

/// Receives nlohmann's parse events.
class TokenizerFileReader {
  using Json = nlohmann::json;
  enum class Place { tree, vocab, merges, merge_pair };

  TokenizerFile& file_;
  Place place_ = Place::tree;
  std::vector<Json*> open_;
  std::vector<std::string> keys_;  // of the open objects
  std::string key_;
  std::size_t values_ = 0;
  std::size_t parts_ = 0;  // of the merge being read
  TokenizerFile::Text pair_[2];

 public:
  explicit TokenizerFileReader(TokenizerFile& file) : file_(file) {}

  bool null() { return value(nullptr, "null"); }
  bool boolean(bool v) { return value(v, "a boolean"); }
  bool number_float(double v, const std::string&) { return value(v, "a fraction"); }
  bool binary(Json::binary_t&) { return value(nullptr, "binary data"); }
  bool number_unsigned(std::uint64_t v) {
    if (place_ == Place::vocab && v > static_cast<std::uint64_t>(TokenizerFile::max_id)) bad_id(v);
    if (place_ != Place::vocab) return value(v, "a number");
    return vocab_entry(static_cast<TokenId>(v));
  }
  bool number_integer(std::int64_t v) {
    if (place_ != Place::vocab) return value(v, "a number");
    if (v < 0 || v > TokenizerFile::max_id) bad_id(v);
    return vocab_entry(static_cast<TokenId>(v));
  }
  bool string(std::string& v) {
    if (place_ == Place::merges) {
      const std::size_t space = v.find(' ');
      if (space == 0 || space == std::string::npos || space + 1 == v.size() || v.find(' ', space + 1) != v.npos) {
        fail(where(), " is ", utf8::quoted(v), ", not two tokens with a space between");
      }
      const auto left = store(std::string_view(v).substr(0, space));
      add_merge(left, store(std::string_view(v).substr(space + 1)));
      return true;
    }
    if (place_ == Place::merge_pair) {
      if (parts_ == 2) fail(where(), " has more than two parts");
      if (v.empty()) fail(where(), " has an empty part");
      pair_[parts_++] = store(v);
      return true;
    }
    return value(std::move(v), "a string");
  }
  bool key(std::string& v) {
    key_ = std::move(v);
    if (place_ == Place::tree && open_.back()->contains(key_)) {
      fail(file_.path, ": ", path_here(), " occurs twice");
    }
    return true;
  }
  bool start_object(std::size_t) {
    if (at("vocab")) {
      place_ = Place::vocab;
      return true;
    }
    return open(Json::object(), "an object");
  }
  bool end_object() {
    if (place_ == Place::vocab) {
      place_ = Place::tree;
      key_ = "vocab";
      place(nullptr);
    } else {
      close();
    }
    return true;
  }
  bool start_array(std::size_t) {
    if (at("merges")) {
      place_ = Place::merges;
      return true;
    }
    if (place_ == Place::merges) {
      place_ = Place::merge_pair;
      parts_ = 0;
      return true;
    }
    return open(Json::array(), "an array");
  }
  bool end_array() {
    if (place_ == Place::merge_pair) {
      if (parts_ != 2) fail(where(), " has ", parts_, " parts, not two");
      place_ = Place::merges;
      add_merge(pair_[0], pair_[1]);
    } else if (place_ == Place::merges) {
      place_ = Place::tree;
      place(nullptr);
    } else {
      close();
    }
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) {
    std::string why = error.what();
    if (const auto at = why.find("syntax error"); at != std::string::npos) why.erase(0, at);
    fail(file_.path, ": not JSON at byte ", position, ": ", utf8::quoted(why, 200));
  }

 private:
  bool at(std::string_view name) const {
    return place_ == Place::tree && open_.size() == 2 && keys_[0] == "model" && key_ == name;
  }
  std::string path_here() const {
    std::string out;
    for (std::size_t i = 0; i + 1 < open_.size(); ++i) out += keys_[i] + ".";
    return utf8::quoted(out + key_);
  }
  std::string where() const {
    switch (place_) {
      case Place::vocab:
        return concat(file_.path, ": model.vocab[", utf8::quoted(key_), "]");
      case Place::merges:
      case Place::merge_pair:
        return concat(file_.path, ": model.merges[", file_.merges.size(), "]");
      default:
        return concat(file_.path, ": ", path_here());
    }
  }
  template <class Number>
  [[noreturn]] void bad_id(Number id) const {
    fail(where(), " is ", id, "; ids must lie in 0..", TokenizerFile::max_id);
  }
  bool vocab_entry(TokenId id) {
    if (file_.vocab.size() > static_cast<std::size_t>(TokenizerFile::max_id)) fail(where(), ": too many entries");
    file_.vocab.push_back({store(key_), id});
    return true;
  }
  void add_merge(TokenizerFile::Text left, TokenizerFile::Text right) {
    if (file_.merges.size() > static_cast<std::size_t>(TokenizerFile::max_id)) fail(where(), ": too many merges");
    file_.merges.emplace_back(left, right);
  }
  TokenizerFile::Text store(std::string_view text) {
    const TokenizerFile::Text piece{static_cast<std::uint32_t>(file_.strings.size()),
                                    static_cast<std::uint32_t>(text.size())};
    file_.strings += text;  // cannot exceed the file, whose size is limited
    return piece;
  }
  Json* place(Json v) {
    if (++values_ > TokenizerFile::max_values) fail(file_.path, ": more than ", TokenizerFile::max_values, " values");
    if (open_.empty()) {
      file_.rest = std::move(v);
      return &file_.rest;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) return &parent.emplace_back(std::move(v));
    return &(parent[key_] = std::move(v));
  }
  bool value(Json v, std::string_view what) {
    expect_tree(what);
    place(std::move(v));
    return true;
  }
  bool open(Json v, std::string_view what) {
    expect_tree(what);
    if (open_.size() == TokenizerFile::max_depth) fail(file_.path, ": nested deeper than ", open_.size(), " levels");
    Json* opened = place(std::move(v));
    open_.push_back(opened);
    keys_.push_back(std::move(key_));
    if (open_.size() == 1) keys_.clear();
    key_.clear();
    return true;
  }
  void close() {
    open_.pop_back();
    if (!keys_.empty()) {
      key_ = std::move(keys_.back());
      keys_.pop_back();
    }
  }
  void expect_tree(std::string_view what) const {
    if (place_ == Place::vocab) fail(where(), " is ", what, ", not an id");
    if (place_ != Place::tree) fail(where(), " is ", what, ", not two tokens");
  }
};

}  // namespace detail

inline TokenizerFile TokenizerFile::parse(std::string_view json, std::string path) {
  TokenizerFile file;
  file.path = std::move(path);
  if (json.size() > max_bytes) fail(file.path, " has more than ", max_bytes, " bytes (TokenizerFile::max_bytes)");
  file.strings.reserve(json.size() / 2);
  detail::TokenizerFileReader reader(file);
  nlohmann::json::sax_parse(json.begin(), json.end(), &reader);
  if (!file.rest.is_object()) fail(file.path, ": not a JSON object");
  return file;
}

inline TokenizerFile TokenizerFile::read(const std::filesystem::path& path) {
  return parse(read_text_file(path, max_bytes), path.string());
}

}  // namespace qwen3vl

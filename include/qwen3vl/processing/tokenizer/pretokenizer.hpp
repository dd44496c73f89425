/// Splitting text into the words that byte-pair encoding works on.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/json/fields.hpp"
#include "qwen3vl/processing/tokenizer/qwen_words.hpp"
#include "qwen3vl/processing/tokenizer/regex.hpp"

namespace qwen3vl {

/// The `pre_tokenizer` of a tokenizer.json: regular expressions that split one after the other, then byte level.
class Pretokenizer {
  struct Split {
    Regex regex;
    bool is_qwen;  // qwen_ascii_word may answer
  };
  std::vector<Split> splits_;

 public:
  /// Throws Error for anything but Split (a Regex, Isolated), ByteLevel, and Sequences of them that end in ByteLevel.
  Pretokenizer(const nlohmann::json& description, const std::string& path) {
    bool byte_level = false;
    read(description, path + ": pre_tokenizer", byte_level, 0);
    if (!byte_level) fail(path, ": pre_tokenizer has no ByteLevel step; only byte-level BPE is supported");
  }

  /// Calls `use(word)` for the words of `text` (valid UTF-8) in order; together they are the text. With
  /// `only_regex`, no short cut is taken: for tests.
  template <class Use>
  void operator()(std::string_view text, Use&& use, bool only_regex = false) const {
    split(text, 0, use, only_regex);
  }

 private:
  template <class Use>
  void split(std::string_view text, std::size_t level, Use& use, bool only_regex) const {
    if (text.empty()) return;
    if (level == splits_.size()) return use(text);
    const auto& [regex, is_qwen] = splits_[level];
    const bool short_cut = is_qwen && !only_regex;
    const bool last = level + 1 == splits_.size();
    const auto piece = [&](std::size_t begin, std::size_t end) {
      if (last) {
        if (begin < end) use(text.substr(begin, end - begin));
      } else {
        split(text.substr(begin, end - begin), level + 1, use, only_regex);
      }
    };
    Regex::Search search(regex);
    std::size_t done = 0, from = 0;
    while (from < text.size()) {
      if (short_cut) {
        if (const std::size_t end = detail::qwen_ascii_word(text, from); end != 0) {
          piece(from, end);
          done = from = end;
          continue;
        }
      }
      const Regex::Match match = regex.find(search, text, from);
      if (!match.found) break;
      piece(done, match.begin);
      piece(match.begin, match.end);
      done = from = match.end;
      // An empty match only cuts; search on behind the next character.
      if (match.begin == match.end && from < text.size()) from += utf8::decode(text.substr(from)).length;
    }
    piece(done, text.size());
  }

  void read(const nlohmann::json& step, const std::string& where, bool& byte_level, int depth) {
    const JsonFields fields(step, where, ".");
    const std::string type = fields.string("type");
    if (byte_level) fail(where, ": ", utf8::quoted(type), " after ByteLevel is unsupported");
    if (type == "Sequence") {
      if (depth > 0) fail(where, ": a Sequence in a Sequence is unsupported");
      const auto list = step.find("pretokenizers");
      if (list == step.end() || !list->is_array()) fail(where, ".pretokenizers: must be an array");
      for (std::size_t i = 0; i < list->size(); ++i) {
        read((*list)[i], concat(where, ".pretokenizers[", i, "]"), byte_level, depth + 1);
      }
    } else if (type == "Split") {
      const nlohmann::json* const pattern = fields.find("pattern");
      if (pattern == nullptr || !pattern->contains("Regex"))
        fail(where, ".pattern: must be an object with a Regex; other patterns are unsupported");
      if (const auto behavior = fields.string("behavior"); behavior != "Isolated")
        fail(where, ".behavior: ", utf8::quoted(behavior), " is unsupported; only \"Isolated\" is");
      if (fields.boolean("invert", false)) fail(where, ".invert: true is unsupported");
      add(fields.section("pattern").string("Regex"), where + ".pattern.Regex");
    } else if (type == "ByteLevel") {
      if (fields.boolean("add_prefix_space", true)) fail(where, ".add_prefix_space: true is unsupported");
      if (fields.boolean("use_regex", true)) {
        add(R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", where + ".use_regex");
      }
      byte_level = true;
    } else {
      fail(where, ".type: ", utf8::quoted(type), " is unsupported; Split, ByteLevel and Sequence are");
    }
  }

  void add(const std::string& pattern, std::string where) {
    if (splits_.size() == 8) fail(where, ": more than 8 patterns are unsupported");
    splits_.push_back({Regex(pattern, std::move(where)), pattern == detail::qwen_pattern});
  }
};

}  // namespace qwen3vl

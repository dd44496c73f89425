/// Tokens found in the text before splitting, such as <|im_start|>.
#pragma once

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/utf8.hpp"
#include "qwen3vl/processing/tokenizer/tokenizer_file.hpp"

namespace qwen3vl {

namespace detail {

/// Unicode's White_Space.
inline bool is_white_space(char32_t c) {
  if (c < 0x85) return c == ' ' || (c >= '\t' && c <= '\r');
  if (c == 0x85) return true;
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

/// `\w` of Unicode's regular expressions: Alphabetic, marks, decimal digits, connectors, joiners.
inline bool is_word_character(char32_t c) {
  if (c == 0x200C || c == 0x200D) return true;
  const bool other_alphabetic = (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
                                (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return other_alphabetic || (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) ||
         category == UTF8PROC_CATEGORY_PC;
}

}  // namespace detail

/// Finds added tokens: the leftmost, and of those the longest, as the reference's Aho-Corasick search does.
class AddedTokenMatcher {
  struct Node {
    const AddedToken* token = nullptr;
    std::vector<std::pair<unsigned char, std::uint32_t>> next;  // sorted by byte
  };

  // The position of a byte's transition, or where it would be inserted.
  template <class NodeType>
  static auto find(NodeType& node, unsigned char byte) {
    return std::lower_bound(node.next.begin(), node.next.end(), byte,
                            [](const auto& entry, unsigned char b) { return entry.first < b; });
  }

  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::array<bool, 256> starts_{};
  int only_start_ = -1;  // the first byte of all tokens, if they share it

 public:
  /// Adds a text to find (not empty). `token` must outlive the matcher.
  void add(std::string_view content, const AddedToken& token) {
    const auto first = static_cast<unsigned char>(content[0]);
    only_start_ = nodes_.size() == 1 || only_start_ == first ? first : -1;
    starts_[first] = true;
    std::uint32_t node = 0;
    for (const char c : content) {
      const auto byte = static_cast<unsigned char>(c);
      auto at = find(nodes_[node], byte);
      if (at == nodes_[node].next.end() || at->first != byte) {
        nodes_[node].next.insert(at, {byte, static_cast<std::uint32_t>(nodes_.size())});
        node = static_cast<std::uint32_t>(nodes_.size());
        nodes_.emplace_back();
      } else {
        node = at->second;
      }
    }
    nodes_[node].token = &token;
  }

  /// Calls `use(piece, nullptr)` for text between tokens and `use(piece, &token)` for each token, in order; together
  /// the pieces are the text. With `split_special_tokens`, special ones are text. Source of the details:
  /// AddedVocabulary::find_matches of Hugging Face tokenizers.
  template <class Use>
  void operator()(std::string_view text, Use&& use, bool split_special_tokens = false) const {
    std::size_t done = 0;
    for (std::size_t from = 0; from < text.size();) {
      const std::size_t begin = candidate(text, from);
      if (begin == text.size()) break;
      const auto [token, length] = longest(text.substr(begin));
      if (token == nullptr) {
        from = begin + 1;
        continue;
      }
      from = begin + length;
      std::size_t first = begin, last = from;
      if (split_special_tokens && token->special) continue;
      if (token->single_word && (word_before(text, begin) || word_after(text, from))) continue;
      if (token->lstrip) first = std::max(done, space_before(text, begin));
      if (token->rstrip) last = space_after(text, from);
      if (done < first) use(text.substr(done, first - done), nullptr);
      use(text.substr(first, last - first), token);
      done = last;
    }
    if (done < text.size()) use(text.substr(done), nullptr);
  }

 private:
  std::size_t candidate(std::string_view text, std::size_t from) const {
    if (nodes_.size() == 1) return text.size();
    if (only_start_ >= 0) {
      const void* at = std::memchr(text.data() + from, only_start_, text.size() - from);
      return at ? static_cast<std::size_t>(static_cast<const char*>(at) - text.data()) : text.size();
    }
    while (from < text.size() && !starts_[static_cast<unsigned char>(text[from])]) ++from;
    return from;
  }

  std::pair<const AddedToken*, std::size_t> longest(std::string_view text) const {
    std::pair<const AddedToken*, std::size_t> best{nullptr, 0};
    const Node* node = &nodes_[0];
    for (std::size_t i = 0; i < text.size(); ++i) {
      const auto byte = static_cast<unsigned char>(text[i]);
      const auto at = find(*node, byte);
      if (at == node->next.end() || at->first != byte) break;
      node = &nodes_[at->second];
      if (node->token) best = {node->token, i + 1};
    }
    return best;
  }

  static bool word_before(std::string_view text, std::size_t at) {
    return at > 0 && detail::is_word_character(utf8::decode_last(text.substr(0, at)));
  }
  static bool word_after(std::string_view text, std::size_t at) {
    return at < text.size() && detail::is_word_character(utf8::decode(text.substr(at)).code_point);
  }
  static std::size_t space_before(std::string_view text, std::size_t at) {
    while (at > 0) {
      const char32_t c = utf8::decode_last(text.substr(0, at));
      if (!detail::is_white_space(c)) break;
      at -= c < 0x80 ? 1 : c < 0x800 ? 2 : 3;  // no white-space character is longer
    }
    return at;
  }
  static std::size_t space_after(std::string_view text, std::size_t at) {
    while (at < text.size()) {
      const utf8::Step step = utf8::decode(text.substr(at));
      if (!detail::is_white_space(step.code_point)) break;
      at += step.length;
    }
    return at;
  }
};

}  // namespace qwen3vl

/// `sanitize_control_tokens`: what a user writes cannot become a control token. Control tokens in messages and
/// variables are wrapped in two private characters before the template is rendered, which tells them from the
/// template's own.
#pragma once

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qwen3vl {

/// A part of a prompt.
struct PromptPiece {
  std::string text;
  bool as_text = false;  ///< a control token that a user wrote, to be encoded as plain text
  /// First byte and end of each part that an assistant says, if return_assistant_tokens_mask asks for them.
  std::optional<std::vector<std::pair<std::size_t, std::size_t>>> of_assistant{};
};

/// Marks control tokens, and finds them again in the prompt (transformers' mark_control_tokens, encode_marked_chat).
class ControlTokens {
 public:
  static constexpr std::string_view begin = "\U000F0000", end = "\U000F0001";

  explicit ControlTokens(std::span<const std::string> tokens) : tokens_(tokens.begin(), tokens.end()) {
    std::erase(tokens_, std::string());
    // A token takes priority over the tokens that it contains.
    std::stable_sort(tokens_.begin(), tokens_.end(), [](const auto& a, const auto& b) { return a.size() > b.size(); });
    for (const std::string& token : tokens_) first_bytes_[static_cast<unsigned char>(token.front())] = true;
  }

  /// All strings inside of `json`, keys excepted.
  void mark(nlohmann::ordered_json& json) const {
    if (json.is_string()) {
      json = marked(json.get_ref<const std::string&>());
    } else if (json.is_structured()) {
      for (auto& item : json) mark(item);
    }
  }

  /// `text` with its control tokens marked. Marks that are in it already go, so that none can be forged.
  std::string marked(std::string_view given) const {
    std::string text(given);
    const auto may_begin = [&](char c) { return c == begin.front() || first_bytes_[static_cast<unsigned char>(c)]; };
    if (std::none_of(text.begin(), text.end(), may_begin)) return text;  // begin.front() is also that of `end`
    for (const std::string_view mark : {begin, end})
      for (std::size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at))
        text.erase(at, mark.size());
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t length = token_at(text, at);
      if (length == 0) {
        out += text[at++];
        continue;
      }
      out.append(begin).append(text, at, length).append(end);
      at += length;
    }
    return out;
  }

  /// The pieces of a rendered prompt. A mark that the template separated from its token goes, but still ends a piece,
  /// so that the texts beside it cannot join into a control token.
  std::vector<PromptPiece> pieces(std::string_view prompt) const {
    std::vector<PromptPiece> found(1);
    for (std::size_t at = 0; at < prompt.size();) {
      const std::string_view rest = prompt.substr(at);
      if (!rest.starts_with(begin) && !rest.starts_with(end)) {
        found.back().text += prompt[at++];
        continue;
      }
      const std::size_t length = rest.starts_with(begin) ? token_at(prompt, at + begin.size()) : 0;
      const bool whole = length > 0 && rest.substr(begin.size() + length).starts_with(end);
      if (whole) {
        found.push_back({std::string(rest.substr(begin.size(), length)), true});
        at += begin.size() + length + end.size();
      } else {
        at += begin.size();
      }
      found.emplace_back();
    }
    const PromptPiece first = found.front();
    std::erase_if(found, [](const PromptPiece& piece) { return piece.text.empty(); });
    if (first.text.empty()) found.insert(found.begin(), first);
    return found;
  }

 private:
  /// Length of the control token at `at`, the longest; 0 if there is none.
  std::size_t token_at(std::string_view text, std::size_t at) const {
    if (at >= text.size() || !first_bytes_[static_cast<unsigned char>(text[at])]) return 0;
    for (const std::string& token : tokens_)
      if (text.substr(at).starts_with(token)) return token.size();
    return 0;
  }

  std::vector<std::string> tokens_;
  bool first_bytes_[256] = {};
};

}  // namespace qwen3vl

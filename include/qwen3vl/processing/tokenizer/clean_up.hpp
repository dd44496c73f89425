/// Removes the spaces that word-piece tokenizers left before punctuation.
#pragma once

#include <string>
#include <string_view>
#include <utility>

namespace qwen3vl {

/// transformers' `clean_up_tokenization`: " ." becomes "." and so on, one replacement after the other. Byte-level
/// tokenizers such as Qwen's do not need it (it would eat spaces that were generated); it is off by default.
inline std::string clean_up_tokenization(std::string text) {
  constexpr std::pair<std::string_view, std::string_view> replacements[] = {
      {" .", "."},     {" ?", "?"},   {" !", "!"},   {" ,", ","},     {" ' ", "'"},
      {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : replacements) {
    std::string out;
    std::size_t begin = 0;
    for (auto at = text.find(from); at != std::string::npos; at = text.find(from, begin)) {
      out.append(text, begin, at - begin);
      out += to;
      begin = at + from.size();
    }
    out.append(text, begin);
    text = std::move(out);
  }
  return text;
}

}  // namespace qwen3vl

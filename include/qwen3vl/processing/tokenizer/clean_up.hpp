/// Removes the spaces that word-piece tokenizers left before punctuation.
#pragma once

#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "qwen3vl/base/warning.hpp"

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

/// Says once per process that it was not done.
inline void warn_about_clean_up() {
  static std::once_flag once;
  std::call_once(once, [] {
    print_warning(
        "clean_up_tokenization_spaces is ignored, as in transformers: it strips spaces that byte-level text needs; set "
        "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output, too, to have it all the same");
  });
}

}  // namespace qwen3vl

/// A regular expression of a tokenizer.json, run by PCRE2.
#pragma once

// Only functions that end in _8 are used, so that a program may choose another width for its own use.
#ifndef PCRE2_CODE_UNIT_WIDTH
#define PCRE2_CODE_UNIT_WIDTH 8
#endif
#include <pcre2.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/utf8.hpp"

namespace qwen3vl {

/// A compiled pattern; const use is safe from several threads. `\s` means Unicode's White_Space as in Oniguruma, which
/// the reference uses; PCRE2's own `\s` has U+180E too.
class Regex {
  template <auto Free>
  struct Deleter {
    template <class T>
    void operator()(T* p) const {
      Free(p);
    }
  };

  std::unique_ptr<pcre2_code_8, Deleter<pcre2_code_free_8>> code_;
  std::string name_;

 public:
  /// Found text, as byte offsets.
  struct Match {
    bool found = false;
    std::size_t begin = 0;
    std::size_t end = 0;
  };

  /// The memory of a search: one per thread and call.
  class Search {
    friend class Regex;
    std::unique_ptr<pcre2_match_data_8, Deleter<pcre2_match_data_free_8>> data_;
    std::unique_ptr<pcre2_match_context_8, Deleter<pcre2_match_context_free_8>> context_;

   public:
    explicit Search(const Regex& regex)
        : data_(pcre2_match_data_create_from_pattern_8(regex.code_.get(), nullptr)),
          context_(pcre2_match_context_create_8(nullptr)) {
      if (!data_ || !context_) throw std::bad_alloc();
      // A pattern that backtracks forever must fail, not hang; one that backs up over a long run of spaces, as Qwen's
      // does, needs a step for each.
      pcre2_set_depth_limit_8(context_.get(), 1'000'000);
      pcre2_set_heap_limit_8(context_.get(), 256 * 1024);  // KiB
    }
  };

  /// Throws Error if `pattern` is not a valid regular expression. `name` is its source, for messages.
  Regex(std::string_view pattern, std::string name) : name_(std::move(name)) {
    if (pattern.size() > 10'000) fail(name_, " has ", pattern.size(), " characters; 10000 is the limit");
    const std::string translated = translate(pattern);
    const std::unique_ptr<pcre2_compile_context_8, Deleter<pcre2_compile_context_free_8>> context(
        pcre2_compile_context_create_8(nullptr));
    if (!context) throw std::bad_alloc();
    pcre2_set_parens_nest_limit_8(context.get(), 100);
    pcre2_set_newline_8(context.get(), PCRE2_NEWLINE_LF);
    int error = 0;
    std::size_t offset = 0;
    // \C could stop inside of a character. In Oniguruma ^ and $ are always about lines.
    code_.reset(pcre2_compile_8(reinterpret_cast<PCRE2_SPTR8>(translated.data()), translated.size(),
                                PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset,
                                context.get()));
    if (!code_) fail(name_, " is not a valid regular expression: ", message(error), " (", utf8::quoted(pattern), ")");
    pcre2_jit_compile_8(code_.get(), PCRE2_JIT_COMPLETE);  // where it is not available, pcre2_match interprets
  }

  /// The first match in `text` (valid UTF-8) that begins at `start` or later; look-behind covers all of `text`. Throws
  /// Error if the pattern needs too many steps.
  Match find(Search& search, std::string_view text, std::size_t start) const {
    const std::size_t limit = 1'000'000 + 4 * (text.size() - start);
    pcre2_set_match_limit_8(search.context_.get(),
                            static_cast<std::uint32_t>(std::min<std::size_t>(limit, 0xFFFFFFFF)));
    const auto run = [&](std::uint32_t options) {
      return pcre2_match_8(code_.get(), reinterpret_cast<PCRE2_SPTR8>(text.data()), text.size(), start,
                           PCRE2_NO_UTF_CHECK | options, search.data_.get(), search.context_.get());
    };
    int status = run(0);
    if (status == PCRE2_ERROR_JIT_STACKLIMIT) status = run(PCRE2_NO_JIT);
    if (status == PCRE2_ERROR_NOMATCH) return {};
    if (status < 0) fail(name_, " cannot be matched against a text of ", text.size(), " bytes: ", message(status));
    const std::size_t* offsets = pcre2_get_ovector_pointer_8(search.data_.get());
    if (offsets[0] > offsets[1] || offsets[0] < start)
      fail(name_, " uses \\K to leave its match, which is unsupported");
    return {true, offsets[0], offsets[1]};
  }

 private:
  static std::string message(int error) {
    unsigned char buffer[256] = {};
    pcre2_get_error_message_8(error, buffer, sizeof buffer);
    return reinterpret_cast<const char*>(buffer);
  }

  std::string translate(std::string_view pattern) const {
    std::string out;
    bool in_class = false;
    for (std::size_t i = 0; i < pattern.size(); ++i) {
      const char c = pattern[i];
      if (c == '\\' && i + 1 < pattern.size()) {
        const char escaped = pattern[++i];
        if (escaped == 's') {
          out += in_class ? R"(\t-\r\x{85}\p{Z})" : R"([\t-\r\x{85}\p{Z}])";
        } else if (escaped == 'S' && !in_class) {
          out += R"([^\t-\r\x{85}\p{Z}])";
        } else if (std::string_view("SQwWbBhH").find(escaped) != std::string_view::npos) {
          fail(name_, " has \\", escaped, in_class ? " inside [ ]" : "",
               ", which is unsupported (it is not the same in Oniguruma and PCRE2)");
        } else {
          out += c;
          out += escaped;
        }
        continue;
      }
      if (in_class && c == ']') in_class = false;
      if (!in_class && c == '[') {
        in_class = true;
        out += c;
        if (i + 1 < pattern.size() && pattern[i + 1] == '^') out += pattern[++i];
        if (i + 1 < pattern.size() && pattern[i + 1] == ']') out += pattern[++i];
        continue;
      }
      // Oniguruma nests classes and intersects them; PCRE2 would silently read other sets.
      if (in_class && (c == '[' || (c == '&' && i + 1 < pattern.size() && pattern[i + 1] == '&'))) {
        fail(name_, " has ", c == '[' ? "[" : "&&", " inside [ ], which is unsupported");
      }
      out += c;
    }
    return out;
  }
};

}  // namespace qwen3vl

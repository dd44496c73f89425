/// Parses the model's output: reasoning, the answer itself, and tool calls.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/processing/chat/message.hpp"
#include "qwen3vl/processing/chat/tools.hpp"

namespace qwen3vl {

/// Parts of an answer, as far as they are known.
struct ParsedAnswer {
  /// The text before `</think>`, without surrounding line breaks; nullopt if the model did not think.
  std::optional<std::string> reasoning{};
  std::string text{};
  std::vector<ToolCall> tool_calls{};
  /// False if the tokens ran out inside the reasoning; there is then no text.
  bool reasoning_complete = true;
  /// Why a `<tool_call>` could not be read, one line each; the call is left in the text.
  std::vector<std::string> errors{};

  /// The answer as a message, to continue the conversation.
  Message message() const {
    return {.role = "assistant", .content = text, .tool_calls = tool_calls, .reasoning_content = reasoning};
  }
};

/// How an answer is read.
struct AnswerOptions {
  /// The prompt ended with `<think>`, so the answer begins inside the reasoning; see opens_reasoning().
  bool starts_in_reasoning = false;
  /// Otherwise `<tool_call>` is text.
  bool parse_tool_calls = true;
};

/// Whether a rendered prompt leaves a `<think>` open for the answer (`AnswerOptions::starts_in_reasoning`).
inline bool opens_reasoning(std::string_view prompt) {
  const auto turn = prompt.rfind("<|im_start|>assistant");
  if (turn == std::string_view::npos) {
    if (prompt.find("<|im_start|>") != std::string_view::npos) return false;
    // A template with other marks.
    const std::size_t last = prompt.find_last_not_of(" \n\r\t");
    return last != std::string_view::npos && prompt.substr(0, last + 1).ends_with("<think>");
  }
  const std::string_view begun = prompt.substr(turn);
  const auto open = begun.rfind("<think>"), close = begun.rfind("</think>");
  return open != std::string_view::npos && (close == std::string_view::npos || close < open);
}

/// Parses an answer while it is generated: pieces of text in (as from TokenStream, special tokens skipped), pieces of
/// its parts out. Concatenated, they equal parse_answer() of the whole, wherever the pieces end. Takes linear time, and
/// holds back only what is still ambiguous: the beginning of a tag, line breaks that may not belong to the text, a call
/// until it is complete.
class AnswerStream {
 public:
  explicit AnswerStream(const AnswerOptions& options = {}) : options_(options) {}

  /// What `piece` adds. `reasoning` is set once the model thinks, even if to "".
  ParsedAnswer push(std::string_view piece) {
    for (const char c : piece) feed(c);
    return take();
  }

  /// What is left at the end. A call whose `</tool_call>` is missing or cut off counts if it is complete. The stream is
  /// as new afterwards.
  ParsedAnswer flush() {
    if (state_ == State::opening) decide();
    const std::string partial = std::exchange(partial_, {});
    if (state_ == State::call) {
      end_call(partial, "");
    } else {
      for (const char c : partial) literal(c);
      if (state_ == State::text && !after_call_) out_.text += gap_;
      out_.reasoning_complete = state_ != State::reasoning;
    }
    ParsedAnswer rest = take();
    *this = AnswerStream(options_);
    return rest;
  }

 private:
  enum class State { opening, reasoning, text, call };
  static constexpr std::string_view think = "<think>", end_think = "</think>", call = "<tool_call>",
                                    end_call_mark = "</tool_call>";
  static constexpr std::size_t longest_opening = 64;

  ParsedAnswer take() { return std::exchange(out_, {}); }

  /// The mark that means something here.
  std::string_view mark() const {
    switch (state_) {
      case State::opening:
        return think;
      case State::reasoning:
        return end_think;
      case State::text:
        return options_.parse_tool_calls ? call : std::string_view();
      default:
        return in_string_ ? std::string_view() : end_call_mark;
    }
  }

  void feed(char c) {
    // All marks begin with the only < in them, so that a mismatch can only begin a new one.
    const std::string_view wanted = mark();
    if (!wanted.empty() && partial_.size() < wanted.size() && c == wanted[partial_.size()]) {
      partial_ += c;
      if (partial_.size() < wanted.size()) return;
      partial_.clear();
      found();
      return;
    }
    if (state_ == State::opening) {
      const bool blank = c == '\n' || c == ' ' || c == '\t' || c == '\r';
      if (partial_.empty() && blank && opening_.size() < longest_opening) {
        opening_ += c;
        return;
      }
      decide();
      feed(c);
      return;
    }
    const std::string partial = std::exchange(partial_, {});
    for (const char p : partial) literal(p);
    if (!partial.empty()) {
      feed(c);
    } else {
      literal(c);
    }
  }

  /// The answer does not begin with `<think>`.
  void decide() {
    const std::string held = std::exchange(opening_, {}) + std::exchange(partial_, {});
    if (options_.starts_in_reasoning) {
      begin_reasoning();
    } else {
      state_ = State::text;
    }
    for (const char c : held) feed(c);
  }

  void begin_reasoning() {
    state_ = State::reasoning;
    out_.reasoning.emplace();
    strip_ = true;
  }

  void found() {
    if (state_ == State::opening) {
      opening_.clear();
      begin_reasoning();
    } else if (state_ == State::reasoning) {
      gap_.clear();
      state_ = State::text;
      strip_ = true;
    } else if (state_ == State::text) {
      state_ = State::call;
      body_.clear();
      in_string_ = escaped_ = false;
    } else {
      end_call("", end_call_mark);
    }
  }

  /// A character that is in no mark.
  void literal(char c) {
    if (state_ == State::call) {
      body_ += c;
      // A mark inside a string of the arguments does not end the call. JSON strings have no line breaks, so a
      // superfluous quote does not hide a mark on a separate line.
      if (c == '\n' || (c == '"' && !escaped_)) in_string_ = c == '"' && !in_string_;
      escaped_ = in_string_ && c == '\\' && !escaped_;
      return;
    }
    const bool blank = c == '\n' || (after_call_ && (c == ' ' || c == '\t' || c == '\r'));
    if (blank) {
      if (!strip_) gap_ += c;
      return;
    }
    if (state_ == State::reasoning && !out_.reasoning) out_.reasoning.emplace();
    std::string& part = state_ == State::reasoning ? *out_.reasoning : out_.text;
    part += std::exchange(gap_, {});
    part += c;
    has_text_ = state_ == State::text;
    strip_ = after_call_ = false;
  }

  /// What is no call stays in the text as it was written.
  void end_call(std::string_view partial, std::string_view end) {
    state_ = State::text;
    std::string error;
    if (auto read = tool_call_from_json(body_, &error)) {
      out_.tool_calls.push_back(std::move(*read));
      gap_.clear();
      after_call_ = true;
      strip_ = !has_text_;
      return;
    }
    out_.text.append(std::exchange(gap_, {})).append(call).append(body_).append(partial).append(end);
    out_.errors.push_back(std::move(error));
    has_text_ = true;
    strip_ = after_call_ = false;
  }

  AnswerOptions options_;
  State state_ = State::opening;
  ParsedAnswer out_;
  std::string opening_;  // blanks before what may be <think>
  std::string partial_;  // the beginning of a mark
  std::string gap_;      // blanks that count only if something follows them
  std::string body_;     // of a call
  bool strip_ = false;   // at the beginning of a part: line breaks do not count
  bool has_text_ = false;
  bool after_call_ = false;  // blanks between calls do not count
  bool in_string_ = false, escaped_ = false;
};

/// Parses a whole answer. Calls that are not valid JSON stay in the text, and `errors` says why.
inline ParsedAnswer parse_answer(std::string_view answer, const AnswerOptions& options = {}) {
  AnswerStream stream(options);
  ParsedAnswer all = stream.push(answer);
  ParsedAnswer rest = stream.flush();
  if (rest.reasoning) all.reasoning = all.reasoning.value_or("") + *rest.reasoning;
  all.text += rest.text;
  for (ToolCall& call : rest.tool_calls) all.tool_calls.push_back(std::move(call));
  all.reasoning_complete = rest.reasoning_complete;
  all.errors.insert(all.errors.end(), rest.errors.begin(), rest.errors.end());
  return all;
}

}  // namespace qwen3vl

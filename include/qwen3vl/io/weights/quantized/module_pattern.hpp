/// Patterns of module names in quantisation settings: the part of Python's `re` that such files use.
#pragma once

#include <bitset>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"

namespace qwen3vl {

/// A regular expression: characters, classes, groups, alternatives, repetitions and lookahead. Takes time in proportion
/// to its length and to that of the name, whatever it is.
class ModulePattern {
 public:
  /// Throws Error if the pattern is wrong, or has what is not read (lookbehind, references, flags). `place` names the
  /// field, for messages.
  ModulePattern(std::string_view pattern, std::string place) : text_(pattern), place_(std::move(place)) {
    if (text_.size() > most_characters) refuse("is too long");
    code_ = alternatives();
    if (at_ < text_.size()) refuse("has a ')' too much");
    code_.push_back({.op = Op::match});
  }

  /// Python's re.match(pattern, name): at the start, not necessarily to the end. Names of more than 256 characters,
  /// which no module has, do not match.
  bool matches(std::string_view name) const {
    return name.size() <= longest_name && run(code_.data(), code_.size(), name, 0);
  }

 private:
  using Set = std::bitset<256>;
  enum class Op : unsigned char { set, split, jump, begin, end, boundary, look, match };
  struct Step {
    Op op;
    bool negated = false;  ///< look, boundary
    int a = 0, b = 0;      ///< where to go on, from here: split has two; look goes on at a, its own steps are between
    Set set{};
  };
  using Code = std::vector<Step>;

  static constexpr std::size_t most_characters = 1000, most_steps = 1000, longest_name = 256;
  static constexpr int most_depth = 30, most_repetitions = 200;

  [[noreturn]] void refuse(std::string_view why) const {
    fail(place_, " has the pattern '", detail::shown(text_), "', which ", why);
  }
  bool has(char c) const { return at_ < text_.size() && text_[at_] == c; }
  bool take(std::string_view text) {
    if (std::string_view(text_).substr(at_, text.size()) != text) return false;
    at_ += text.size();
    return true;
  }
  void append(Code& to, const Code& code) const {
    if (to.size() + code.size() > most_steps) refuse("is too long with its repetitions");
    to.insert(to.end(), code.begin(), code.end());
  }

  Code alternatives() {
    if (++depth_ > most_depth) refuse("has groups in groups without end");
    Code code = sequence();
    while (take("|")) {
      const Code other = sequence();
      Code both{{.op = Op::split, .a = 1, .b = static_cast<int>(code.size()) + 2}};
      append(both, code);
      both.push_back({.op = Op::jump, .a = static_cast<int>(other.size()) + 1});
      append(both, other);
      code = std::move(both);
    }
    --depth_;
    return code;
  }
  Code sequence() {
    Code code;
    while (at_ < text_.size() && !has('|') && !has(')')) append(code, repeated(atom()));
    return code;
  }
  Code repeated(const Code& once) {
    int least = 1, most = 1;  // most < 0: any number
    if (take("*")) {
      least = 0;
      most = -1;
    } else if (take("+")) {
      most = -1;
    } else if (take("?")) {
      least = 0;
    } else if (has('{') && at_ + 1 < text_.size() && text_[at_ + 1] >= '0' && text_[at_ + 1] <= '9') {
      ++at_;
      least = most = number();
      if (take(",")) most = has('}') ? -1 : number();
      if (!take("}") || (most >= 0 && most < least)) refuse("has a repetition that is not read");
    } else {
      return once;
    }
    if (take("?")) {
      // As few as possible: the same names match.
    } else if (has('*') || has('+') || has('{')) {
      refuse("has a repetition of a repetition");
    }
    Code code;
    for (int i = 0; i < least; ++i) append(code, once);
    const int size = static_cast<int>(once.size());
    if (most < 0) {
      append(code, {{.op = Op::split, .a = 1, .b = size + 2}});
      append(code, once);
      append(code, {{.op = Op::jump, .a = -size - 1}});
    }
    for (int i = least; i < most; ++i) {
      append(code, {{.op = Op::split, .a = 1, .b = size + 1}});
      append(code, once);
    }
    return code;
  }
  int number() {
    int value = 0;
    const std::size_t begin = at_;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      value = value * 10 + text_[at_] - '0';
      if (value > most_repetitions) refuse("repeats too often");
    }
    if (at_ == begin) refuse("has a repetition that is not read");
    return value;
  }

  Code atom() {
    if (take("(?=")) return look(false);
    if (take("(?!")) return look(true);
    if (take("(?:") || take("(")) {
      if (has('?')) refuse("has a kind of group that is not read");
      Code code = alternatives();
      if (!take(")")) refuse("has a '(' without its ')'");
      return code;
    }
    if (take("[")) return {{.op = Op::set, .set = bracket()}};
    if (take("^")) return {{.op = Op::begin}};
    if (take("$") || take("\\Z")) return {{.op = Op::end}};
    if (take("\\b")) return {{.op = Op::boundary}};
    if (take("\\B")) return {{.op = Op::boundary, .negated = true}};
    if (take(".")) return {{.op = Op::set, .set = Set().set().reset('\n')}};
    if (has('*') || has('+') || has('?')) refuse("repeats nothing");
    return {{.op = Op::set, .set = character()}};
  }
  Code look(bool negated) {
    if (std::exchange(looks_, true)) refuse("looks ahead while it looks ahead");
    const Code inside = alternatives();
    looks_ = false;
    if (!take(")")) refuse("has a '(' without its ')'");
    Code code{{.op = Op::look, .negated = negated, .a = static_cast<int>(inside.size()) + 2}};
    append(code, inside);
    code.push_back({.op = Op::match});
    return code;
  }
  /// One character, or an escape that stands for some.
  Set character() {
    if (at_ >= text_.size()) refuse("ends too early");
    const char c = text_[at_++];
    Set set;
    if (c != '\\') return set.set(static_cast<unsigned char>(c));
    if (at_ >= text_.size()) refuse("ends with a backslash");
    const char escaped = text_[at_++];
    switch (escaped) {
      case 'd':
      case 'D':
        range(set, '0', '9');
        break;
      case 'w':
      case 'W':
        range(set, '0', '9');
        range(set, 'a', 'z');
        range(set, 'A', 'Z');
        set.set('_');
        break;
      case 's':
      case 'S':
        for (const char blank : {' ', '\t', '\n', '\r', '\f', '\v'}) set.set(static_cast<unsigned char>(blank));
        break;
      default:
        if ((escaped >= '0' && escaped <= '9') || is_letter(escaped)) refuse("has an escape that is not read");
        return set.set(static_cast<unsigned char>(escaped));
    }
    return escaped == 'D' || escaped == 'W' || escaped == 'S' ? ~set : set;
  }
  Set bracket() {
    Set set;
    const bool negated = take("^");
    for (bool first = true; !has(']') || first; first = false) {
      Set one = first && take("]") ? Set().set(']') : character();
      if (has('-') && at_ + 1 < text_.size() && text_[at_ + 1] != ']' && one.count() == 1) {
        ++at_;
        const Set last = character();
        if (last.count() != 1 || index(last) < index(one)) refuse("has a range of characters that is not read");
        for (std::size_t c = index(one); c <= index(last); ++c) one.set(c);
      }
      set |= one;
    }
    ++at_;
    return negated ? ~set : set;
  }
  /// The first character of a set that has some.
  static std::size_t index(const Set& set) {
    std::size_t c = 0;
    while (!set[c]) ++c;
    return c;
  }
  static void range(Set& set, unsigned char first, unsigned char last) {
    for (std::size_t c = first; c <= last; ++c) set.set(c);
  }
  static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
  static bool is_word(std::string_view name, std::size_t i) {
    return i < name.size() && (is_letter(name[i]) || (name[i] >= '0' && name[i] <= '9') || name[i] == '_');
  }

  /// Follows all ways through the steps at once.
  static bool run(const Step* code, std::size_t size, std::string_view name, std::size_t from) {
    std::vector<std::size_t> now{0}, next;
    for (std::size_t at = from; !now.empty(); ++at) {
      std::vector<bool> seen(size, false);
      next.clear();
      while (!now.empty()) {
        const std::size_t i = now.back();
        now.pop_back();
        if (seen[i]) continue;
        seen[i] = true;
        const Step& step = code[i];
        const auto go = [&](int by) { now.push_back(i + static_cast<std::size_t>(by)); };
        switch (step.op) {
          case Op::match:
            return true;
          case Op::set:
            if (at < name.size() && step.set[static_cast<unsigned char>(name[at])]) next.push_back(i + 1);
            break;
          case Op::split:
            go(step.b);
            go(step.a);
            break;
          case Op::jump:
            go(step.a);
            break;
          case Op::begin:
            if (at == 0) go(1);
            break;
          case Op::end:
            if (at == name.size() || (at + 1 == name.size() && name[at] == '\n')) go(1);
            break;
          case Op::boundary:
            if (((at > 0 && is_word(name, at - 1)) != is_word(name, at)) != step.negated) go(1);
            break;
          case Op::look:
            if (run(code + i + 1, static_cast<std::size_t>(step.a) - 1, name, at) != step.negated) go(step.a);
            break;
        }
      }
      std::swap(now, next);
    }
    return false;
  }

  std::string text_, place_;
  std::size_t at_ = 0;
  int depth_ = 0;
  bool looks_ = false;
  Code code_;
};

}  // namespace qwen3vl

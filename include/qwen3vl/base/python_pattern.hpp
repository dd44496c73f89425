/// Regular expressions of Python's `re`, as settings of Python libraries have them to name modules; for short texts.
#pragma once

#include <algorithm>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"

namespace qwen3vl {

/// A compiled pattern: groups, alternatives, classes, greedy and lazy repetition, look-ahead, anchors and boundaries of
/// words. What else there is (look-behind, back references, flags) is an Error. Texts are ASCII; in others, a byte is a
/// character.
class PythonPattern {
 public:
  static constexpr std::size_t max_length = 100'000;  ///< of a pattern
  static constexpr int max_nesting = 50;              ///< of groups
  static constexpr int max_steps = 1'000'000;         ///< of a match
  static constexpr int max_depth = 4000;              ///< of what a match must remember
  /// Of all patterns of a file over all names: a second or two.
  static constexpr std::int64_t steps_of_all = 100'000'000;

  /// Throws Error that names `where` if the pattern is not valid or not supported.
  PythonPattern(std::string_view pattern, std::string where) : where_(std::move(where)), pattern_(pattern) {
    if (pattern.size() > max_length)
      fail(where_, " is a pattern of ", pattern.size(), " characters; ", max_length, " is the limit");
    whole_ = alternatives(0);
    if (at_ != pattern_.size()) unsupported("an unmatched )");
  }

  /// re.fullmatch and re.match, whether there is a match. Throw Error if that takes too many steps, or more than are
  /// left of `budget`, from which they are taken.
  bool matches_all(std::string_view text, std::int64_t* budget = nullptr) const { return run(text, true, budget); }
  bool matches_start(std::string_view text, std::int64_t* budget = nullptr) const { return run(text, false, budget); }

 private:
  enum class Kind { character, group, repeat, look_ahead, start, end, boundary };
  struct Node;
  using Sequence = std::vector<Node>;
  using Alternatives = std::vector<Sequence>;
  struct Node {
    Kind kind = Kind::character;
    bool negative = false;          // of look_ahead and boundary
    bool lazy = false;              // of repeat
    int least = 1, most = 1;        // of repeat; most < 0: any number
    std::bitset<256> characters{};  // of character
    Alternatives inside{};          // of group, look_ahead and repeat (one alternative with one node)
  };

  // ---- compiling
  [[noreturn]] void unsupported(std::string_view what) const {
    fail(where_, " has ", what, " at character ", at_, ", which is not understood: ", detail::shown(pattern_, 100));
  }
  bool ends() const { return at_ == pattern_.size(); }
  bool next_is(char c) const { return !ends() && pattern_[at_] == c; }
  bool take(std::string_view text) {
    if (!std::string_view(pattern_).substr(at_).starts_with(text)) return false;
    at_ += text.size();
    return true;
  }

  Alternatives alternatives(int depth) {
    if (depth > max_nesting) unsupported("groups nested too deeply");
    Alternatives all(1);
    while (!ends() && !next_is(')')) {
      if (take("|")) {
        all.emplace_back();
      } else {
        all.back().push_back(repeated(atom(depth)));
      }
    }
    return all;
  }

  Node atom(int depth) {
    Node node;
    if (take("(")) {
      node.kind = Kind::group;
      if (take("?")) {
        if (take("=") || take("!")) {
          node.kind = Kind::look_ahead;
          node.negative = pattern_[at_ - 1] == '!';
        } else if (take("P<")) {
          while (!ends() && !next_is('>')) ++at_;
          if (!take(">")) unsupported("a group whose name does not end");
        } else if (!take(":")) {
          unsupported("(?");
        }
      }
      node.inside = alternatives(depth + 1);
      if (!take(")")) unsupported("a ( without )");
    } else if (take("[")) {
      node.characters = character_class();
    } else if (take(".")) {
      node.characters.set().reset('\n');
    } else if (take("^") || take("\\A")) {
      node.kind = Kind::start;
    } else if (take("$") || take("\\Z")) {
      node.kind = Kind::end;
    } else if (take("\\b") || take("\\B")) {
      node.kind = Kind::boundary;
      node.negative = pattern_[at_ - 1] == 'B';
    } else if (next_is('*') || next_is('+') || next_is('?')) {
      unsupported("a repetition of nothing");
    } else {
      node.characters = one_character();
    }
    return node;
  }

  Node repeated(Node node) {
    Node repeat;
    repeat.kind = Kind::repeat;
    if (take("*")) {
      repeat.least = 0;
      repeat.most = -1;
    } else if (take("+")) {
      repeat.most = -1;
    } else if (take("?")) {
      repeat.least = 0;
    } else if (!next_is('{') || !counts(repeat)) {
      return node;
    }
    if (node.kind != Kind::character && node.kind != Kind::group) unsupported("a repetition of what takes no text");
    repeat.lazy = take("?");
    if (next_is('*') || next_is('+') || next_is('?')) unsupported("two repetitions");
    repeat.inside.emplace_back().push_back(std::move(node));
    return repeat;
  }

  /// {m}, {m,}, {,n}, {m,n}; anything else are characters, as in Python.
  bool counts(Node& repeat) {
    std::size_t i = at_ + 1;
    const auto number = [&](int none) {
      if (i >= pattern_.size() || pattern_[i] < '0' || pattern_[i] > '9') return none;
      int value = 0;
      for (; i < pattern_.size() && pattern_[i] >= '0' && pattern_[i] <= '9'; ++i) {
        value = value * 10 + (pattern_[i] - '0');
        if (value > 10'000) unsupported("a repetition of more than 10000 times");
      }
      return value;
    };
    const int least = number(-1);
    int most = least;
    if (i < pattern_.size() && pattern_[i] == ',') {
      ++i;
      most = number(-1);
    } else if (least < 0) {
      return false;
    }
    if (i >= pattern_.size() || pattern_[i] != '}') return false;
    if (most >= 0 && most < least) unsupported("a repetition whose end is below its start");
    at_ = i + 1;
    repeat.least = least < 0 ? 0 : least;
    repeat.most = most;
    return true;
  }

  static bool is_word(unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  }
  std::bitset<256> one_character() {
    std::bitset<256> set;
    if (!take("\\")) {
      set.set(static_cast<unsigned char>(pattern_[at_++]));
      return set;
    }
    if (ends()) unsupported("a \\ at its end");
    const char c = pattern_[at_++];
    if (c == 'd' || c == 'D') {
      for (int i = '0'; i <= '9'; ++i) set.set(static_cast<std::size_t>(i));
    } else if (c == 'w' || c == 'W') {
      for (std::size_t i = 0; i < 256; ++i) set.set(i, is_word(static_cast<unsigned char>(i)));
    } else if (c == 's' || c == 'S') {
      for (const char space : std::string_view(" \t\n\r\f\v")) set.set(static_cast<unsigned char>(space));
    } else if (c == 'n' || c == 't' || c == 'r') {
      set.set(c == 'n' ? '\n' : c == 't' ? '\t' : '\r');
    } else if (is_word(static_cast<unsigned char>(c)) && c != '_') {
      unsupported(concat("\\", c));
    } else {
      set.set(static_cast<unsigned char>(c));
    }
    return c == 'D' || c == 'W' || c == 'S' ? ~set : set;
  }

  std::bitset<256> character_class() {
    const bool negative = take("^");
    std::bitset<256> set;
    for (bool first = true; first || !next_is(']'); first = false) {
      if (ends()) unsupported("a [ without ]");
      const std::bitset<256> from = one_character();
      if (next_is('-') && at_ + 1 < pattern_.size() && pattern_[at_ + 1] != ']') {
        ++at_;
        const std::bitset<256> to = one_character();
        if (from.count() != 1 || to.count() != 1) unsupported("a range of classes");
        std::size_t low = 0, high = 0;
        for (std::size_t i = 0; i < 256; ++i) {
          if (from.test(i)) low = i;
          if (to.test(i)) high = i;
        }
        if (low > high) unsupported("a range whose end is below its start");
        for (std::size_t i = low; i <= high; ++i) set.set(i);
      } else {
        set |= from;
      }
    }
    ++at_;
    return negative ? ~set : set;
  }

  // ---- matching, by backtracking
  /// What is still to match after a node: a function of the position.
  class Then {
   public:
    template <class F>
    explicit Then(const F& f)
        : object_(&f), call_([](const void* object, std::size_t at) { return (*static_cast<const F*>(object))(at); }) {}
    bool operator()(std::size_t at) const { return call_(object_, at); }

   private:
    const void* object_;
    bool (*call_)(const void*, std::size_t);
  };

  struct Run {
    const PythonPattern& pattern;
    std::string_view text;
    std::int64_t left = max_steps;
    int depth = 0;

    bool one(const Node& node, std::size_t at) const {
      return at < text.size() && node.characters.test(static_cast<unsigned char>(text[at]));
    }
    bool any(const Alternatives& all, std::size_t at, const Then& then) {
      for (const Sequence& sequence : all)
        if (match(sequence, 0, at, then)) return true;
      return false;
    }
    bool match(const Sequence& sequence, std::size_t i, std::size_t at, const Then& then) {
      if (--left < 0 || depth > max_depth)
        fail(pattern.where_,
             " takes too many steps to match; write it more simply: ", detail::shown(pattern.pattern_, 100));
      while (i < sequence.size() && sequence[i].kind == Kind::character) {
        if (!one(sequence[i], at)) return false;
        ++i;
        ++at;
      }
      if (i == sequence.size()) return then(at);
      ++depth;
      const bool found =
          special(sequence[i], at, Then([&](std::size_t end) { return match(sequence, i + 1, end, then); }));
      --depth;
      return found;
    }
    bool special(const Node& node, std::size_t at, const Then& then) {
      switch (node.kind) {
        case Kind::group:
          return any(node.inside, at, then);
        case Kind::look_ahead:
          return any(node.inside, at, Then([](std::size_t) { return true; })) != node.negative && then(at);
        case Kind::start:
          return at == 0 && then(at);
        case Kind::end:
          return (at == text.size() || (at + 1 == text.size() && text[at] == '\n')) && then(at);
        case Kind::boundary: {
          const bool before = at > 0 && is_word(static_cast<unsigned char>(text[at - 1]));
          const bool after = at < text.size() && is_word(static_cast<unsigned char>(text[at]));
          return (before != after) != node.negative && then(at);
        }
        default:
          return node.inside[0][0].kind == Kind::character ? characters(node, at, then) : repeat(node, 0, at, then);
      }
    }
    bool characters(const Node& node, std::size_t at, const Then& then) {
      const Node& repeated = node.inside[0][0];
      std::size_t most = at;
      const std::size_t limit =
          node.most < 0 ? text.size() : std::min(text.size(), at + static_cast<std::size_t>(node.most));
      while (most < limit && one(repeated, most)) ++most;
      const std::size_t least = at + static_cast<std::size_t>(node.least);
      for (std::size_t i = 0; least + i <= most; ++i) {
        if (then(node.lazy ? least + i : most - i)) return true;
      }
      return false;
    }
    bool repeat(const Node& node, int done, std::size_t at, const Then& then) {
      if (--left < 0 || ++depth > max_depth)
        fail(pattern.where_,
             " takes too many steps to match; write it more simply: ", detail::shown(pattern.pattern_, 100));
      const auto more = [&] {
        return (node.most < 0 || done < node.most) && any(node.inside[0][0].inside, at, Then([&](std::size_t end) {
                                                            return (end > at || done < node.least) &&
                                                                   repeat(node, done + 1, end, then);
                                                          }));
      };
      const auto enough = [&] { return done >= node.least && then(at); };
      const bool found = node.lazy ? enough() || more() : more() || enough();
      --depth;
      return found;
    }
  };

  bool run(std::string_view text, bool to_the_end, std::int64_t* budget) const {
    Run run{*this, text};
    if (budget != nullptr) run.left = std::min(run.left, *budget);
    const std::int64_t before = run.left;
    const bool found = run.any(whole_, 0, Then([&](std::size_t end) { return !to_the_end || end == text.size(); }));
    if (budget != nullptr) *budget -= before - run.left;
    return found;
  }

  std::string where_, pattern_;
  std::size_t at_ = 0;
  Alternatives whole_;
};

}  // namespace qwen3vl

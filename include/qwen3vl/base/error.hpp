/// The one exception type of the library, and the helper that builds its messages.
#pragma once

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace qwen3vl {

/// Thrown for every mistake of a caller or in a file. `what()` is one line: what is wrong, where, and what to do about
/// it; programs print it unchanged.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Thrown if a device lacks the requested memory. generate() adds what the whole call takes.
class OutOfMemory : public Error {
 public:
  using Error::Error;
};

/// Thrown by a caller's progress callback to stop the operation. Not an `Error`: code that adds context to errors must
/// rethrow it unchanged. Everything computed so far, such as a prompt cache, stays usable.
class Cancelled : public std::runtime_error {
 public:
  Cancelled() : std::runtime_error("stopped") {}
};

namespace detail {

inline void append(std::string& out, std::string_view part) { out += part; }
inline void append(std::string& out, char part) { out += part; }

template <class T>
requires(std::is_arithmetic_v<T> && !std::is_same_v<T, char>) void append(std::string& out, T number) {
  if constexpr (std::is_same_v<T, bool>) {
    out += number ? "true" : "false";
  } else {
    char buffer[64];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, number).ptr;
    out.append(buffer, end);
  }
}

/// Text from a file for an error message: one printable line of limited length.
inline std::string shown(std::string_view text, std::size_t longest = 120) {
  std::string line;
  for (const char c : text.substr(0, longest)) line += c >= 0x20 && c < 0x7f ? c : '?';
  return text.size() > longest ? line + "..." : line;
}

}  // namespace detail

/// Concatenates strings, characters and numbers into one string (numbers in their shortest exact form).
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::string out;
  (detail::append(out, parts), ...);
  return out;
}

namespace detail {

/// Names for a message: the first three, and how many more there are.
inline std::string listed(const std::vector<std::string>& names) {
  constexpr std::size_t most = 3;
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < most; ++i) text += (i == 0 ? "" : ", ") + names[i];
  return names.size() > most ? concat(text, " and ", names.size() - most, " more") : text;
}

}  // namespace detail

/// Throws Error with the concatenated parts as its message.
template <class... Parts>
[[noreturn, gnu::cold]] void fail(const Parts&... parts) {  // cold: small, and apart from what succeeds
  throw Error(concat(parts...));
}

namespace detail {

/// Throws Error "cannot WHAT PATH", with the reason if `errno` has one; a caller that uses streams, which leave it as
/// the system set it, clears it before.
[[noreturn]] inline void fail_on_file(std::string_view what, const std::string& path) {
  const int error = errno;
  fail("cannot ", what, " ", path, error != 0 ? ": " : "", error != 0 ? std::strerror(error) : "");
}

}  // namespace detail

}  // namespace qwen3vl

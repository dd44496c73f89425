/// The targets under libFuzzer:
///
///     qwen3vl-fuzz TARGET [libFuzzer's options] [corpus folders]
///
/// One program for all targets, because it compiles faster than one for each.
#include <vector>

#include "target.hpp"

namespace {
const fuzz::Target* target = nullptr;
}

/// Removes the target's name from the arguments before libFuzzer reads them. In some modes libFuzzer restarts itself
/// without the name; it is then in the environment.
extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  constexpr const char* variable = "QWEN3VL_FUZZ_TARGET";
  static std::vector<char*> arguments(*argv, *argv + *argc);
  if (arguments.size() > 1 && (target = fuzz::find_target(arguments[1])) != nullptr) {
    ::setenv(variable, arguments[1], 1);
    arguments.erase(arguments.begin() + 1);
  } else if (const char* const name = std::getenv(variable)) {
    target = fuzz::find_target(name);
  }
  if (target == nullptr) {
    std::fprintf(stderr, "wanted: TARGET [options] [folders]; the targets are listed in tests/fuzz/CMakeLists.txt\n");
    std::exit(2);
  }
  static std::string limit = "-max_len=" + std::to_string(target->max_length);
  arguments.insert(arguments.begin() + 1, limit.data());
  *argc = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  *argv = arguments.data();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  target->run(std::as_bytes(std::span(data, size)));
  return 0;
}

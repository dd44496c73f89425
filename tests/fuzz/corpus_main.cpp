/// The targets without libFuzzer, for any compiler: runs every file of the corpora, truncated at many lengths and with
/// changed bytes. The inputs are the same every time.
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

#include "target.hpp"

namespace {

std::vector<std::byte> contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<std::byte> bytes;
  for (std::istreambuf_iterator<char> c(file), end; c != end; ++c) bytes.push_back(static_cast<std::byte>(*c));
  return bytes;
}

/// Runs from a buffer of exactly this size, so that reading past it is detected.
void run(const fuzz::Target& target, fuzz::Bytes bytes) {
  target.run(std::vector<std::byte>(bytes.begin(), bytes.end()));
}

std::size_t run_changed(const fuzz::Target& target, fuzz::Bytes bytes) {
  constexpr std::size_t cuts = 60, changes = 60;
  std::minstd_rand random(1);
  std::size_t runs = 0;
  for (std::size_t i = 0; i < cuts; ++i, ++runs) run(target, bytes.first(bytes.size() * i / cuts));
  std::vector<std::byte> changed;
  for (std::size_t i = 0; i < changes && !bytes.empty(); ++i, ++runs) {
    changed.assign(bytes.begin(), bytes.end());
    for (std::size_t j = 0; j <= i % 4; ++j) {
      std::byte& one = changed[random() % changed.size()];
      one = random() % 2 == 0 ? one ^ static_cast<std::byte>(1u << random() % 8) : static_cast<std::byte>(random());
    }
    run(target, changed);
  }
  return runs;
}

}  // namespace

int main(int argc, char** argv) {
  const fuzz::Target* const target = argc > 2 ? fuzz::find_target(argv[1]) : nullptr;
  if (target == nullptr) {
    std::fprintf(stderr, "wanted: TARGET FOLDER...\n");
    return 2;
  }
  std::size_t files = 0, runs = 0;
  for (int i = 2; i < argc; ++i) {
    if (!std::filesystem::exists(argv[i])) continue;  // a target without regressions has no such folder
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      if (!entry.is_regular_file()) continue;
      const std::vector<std::byte> bytes = contents(entry.path());
      std::fprintf(stderr, "%s\n", entry.path().c_str());
      run(*target, bytes);
      runs += 1 + run_changed(*target, bytes);
      ++files;
    }
  }
  std::printf("%s: %zu files, %zu runs\n", argv[1], files, runs);
  return files > 0 ? 0 : 1;
}

/// A random number generator whose numbers are the same on every machine.
#pragma once

#include <array>
#include <cstdint>

namespace qwen3vl {

/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): encrypts a counter. Chosen
/// because number n of stream s is found directly, so that a row of a batch has its own stream whatever the other rows
/// do, and because it is the generator of GPU libraries.
class Philox {
 public:
  using Block = std::array<std::uint32_t, 4>;

  /// Streams of one seed are independent of each other.
  explicit constexpr Philox(std::uint64_t seed, std::uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  /// The next number of the stream in [0, 1), a multiple of 2^-53. The standard library's distributions are not used:
  /// what they return differs from one implementation to another.
  constexpr double uniform() {
    const Block block = encrypt({low(drawn_), high(drawn_), low(stream_), high(stream_)}, {low(seed_), high(seed_)});
    ++drawn_;
    const std::uint64_t bits = (std::uint64_t{block[0]} << 32 | block[1]) >> 11;
    return static_cast<double>(bits) * 0x1p-53;
  }

  /// The ten rounds.
  static constexpr Block encrypt(Block counter, std::array<std::uint32_t, 2> key) {
    for (int round = 0; round < 10; ++round) {
      const std::uint64_t a = std::uint64_t{0xD2511F53u} * counter[0];
      const std::uint64_t b = std::uint64_t{0xCD9E8D57u} * counter[2];
      counter = {high(b) ^ counter[1] ^ key[0], low(b), high(a) ^ counter[3] ^ key[1], low(a)};
      key[0] += 0x9E3779B9u;
      key[1] += 0xBB67AE85u;
    }
    return counter;
  }

 private:
  static constexpr std::uint32_t low(std::uint64_t word) { return static_cast<std::uint32_t>(word); }
  static constexpr std::uint32_t high(std::uint64_t word) { return static_cast<std::uint32_t>(word >> 32); }

  std::uint64_t seed_;
  std::uint64_t stream_;
  std::uint64_t drawn_ = 0;
};

}  // namespace qwen3vl

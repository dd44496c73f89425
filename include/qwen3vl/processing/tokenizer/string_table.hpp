/// Open-addressing hash tables of the tokenizer: strings to ids, and pairs of ids to merges.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string_view>
#include <vector>

#include "qwen3vl/inputs/token_id.hpp"

namespace qwen3vl::detail {

/// A different seed per table, so that no file can make all entries collide.
inline std::uint64_t hash_seed() {
  std::random_device device;
  return (static_cast<std::uint64_t>(device()) << 32) ^ device();
}

inline std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

inline std::uint64_t hash_bytes(std::string_view bytes, std::uint64_t seed) {
  const char* p = bytes.data();
  std::size_t n = bytes.size();
  std::uint64_t hash = seed ^ (n * 0x9E3779B97F4A7C15u);
  std::uint64_t chunk = 0;
  for (; n > 8; p += 8, n -= 8) {
    std::memcpy(&chunk, p, 8);
    hash = mix(hash ^ chunk, seed | 0xA0761D6478BD642Fu);
  }
  chunk = 0;
  std::memcpy(&chunk, p, n);
  return mix(hash ^ chunk, (seed >> 7) | 0xE7037ED1A0B428DBu);
}

inline std::size_t table_size(std::size_t entries) { return std::bit_ceil(entries * 2 + 16); }

/// Ids by string. The owner stores the strings and looks them up by `bytes(id)`.
class StringTable {
  struct Slot {
    std::uint32_t check = 0;
    TokenId id = -1;
  };
  std::uint64_t seed_ = hash_seed();
  std::vector<Slot> slots_;
  std::size_t mask_ = 0;

 public:
  explicit StringTable(std::size_t entries = 0) : slots_(table_size(entries)), mask_(slots_.size() - 1) {}

  template <class Owner>
  TokenId find(std::string_view key, const Owner& owner) const {
    const std::uint64_t hash = hash_bytes(key, seed_);
    const auto check = static_cast<std::uint32_t>(hash >> 32);
    for (std::size_t i = hash & mask_;; i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      if (slot.id < 0) return -1;
      if (slot.check == check && owner.bytes(slot.id) == key) return slot.id;
    }
  }

  /// Adds a string that is not in the table; there must be fewer than the `entries` it was made for.
  void insert(std::string_view key, TokenId id) {
    const std::uint64_t hash = hash_bytes(key, seed_);
    std::size_t i = hash & mask_;
    while (slots_[i].id >= 0) i = (i + 1) & mask_;
    slots_[i] = {static_cast<std::uint32_t>(hash >> 32), id};
  }
};

/// The merge of two neighbouring tokens and its rank.
struct Merge {
  static constexpr std::uint32_t never = 0xFFFFFFFF;
  std::uint32_t rank = never;
  TokenId result = -1;
};

/// Merges by pair of ids.
class MergeTable {
  struct Slot {
    std::uint64_t pair = ~std::uint64_t{0};
    Merge merge;
  };
  std::uint64_t seed_ = hash_seed() | 1;
  std::vector<Slot> slots_;
  std::size_t mask_ = 0;

  static std::uint64_t pair_of(TokenId left, TokenId right) {
    return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32) | static_cast<std::uint32_t>(right);
  }
  std::size_t start(std::uint64_t pair) const { return mix(pair ^ seed_, 0x9E3779B97F4A7C15u ^ (seed_ << 1)) & mask_; }

 public:
  explicit MergeTable(std::size_t entries = 0) : slots_(table_size(entries)), mask_(slots_.size() - 1) {}

  Merge find(TokenId left, TokenId right) const {
    const std::uint64_t pair = pair_of(left, right);
    for (std::size_t i = start(pair);; i = (i + 1) & mask_) {
      if (slots_[i].pair == pair) return slots_[i].merge;
      if (slots_[i].merge.result < 0) return {};
    }
  }

  /// Adds or replaces a merge; there must be at most the `entries` that the table was made for.
  void insert(TokenId left, TokenId right, Merge merge) {
    const std::uint64_t pair = pair_of(left, right);
    std::size_t i = start(pair);
    while (slots_[i].merge.result >= 0 && slots_[i].pair != pair) i = (i + 1) & mask_;
    slots_[i] = {pair, merge};
  }
};

}  // namespace qwen3vl::detail

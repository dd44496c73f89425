/// Byte-pair encoding of one word over a vocabulary of byte strings.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/inputs/token_id.hpp"
#include "qwen3vl/processing/tokenizer/byte_level.hpp"
#include "qwen3vl/processing/tokenizer/string_table.hpp"
#include "qwen3vl/processing/tokenizer/tokenizer_file.hpp"

namespace qwen3vl {

/// The BPE model of a tokenizer.json: vocabulary and merges. Const functions are safe from several threads.
class Bpe {
  using Merge = detail::Merge;
  struct Slice {
    std::uint32_t offset = 0;
    std::uint32_t length = 0;
    bool present = false;
    bool byte_level =
        false;  // otherwise the entry has characters outside the alphabet: it decodes, but nothing encodes to it
  };

  std::string bytes_;          // of all entries, one after another
  std::vector<Slice> tokens_;  // by id
  detail::StringTable by_bytes_;
  std::map<std::string, TokenId, std::less<>> by_text_;  // only entries outside the byte-level alphabet
  detail::MergeTable merges_;
  std::array<TokenId, 256> byte_ids_{};
  std::size_t size_ = 0;
  std::size_t longest_ = 0;
  bool ignore_merges_ = false;

  // Does a word that is an entry of the vocabulary encode to that entry? Nearly always, but only merging tells.
  // Determined at first use; racing threads write the same result.
  static constexpr std::uint8_t unknown = 0, one_token = 1, several_tokens = 2;
  std::unique_ptr<std::atomic<std::uint8_t>[]> whole_;

  static constexpr std::size_t short_word = 48;

 public:
  /// Throws Error if ids, bytes or merges of `file` are inconsistent.
  explicit Bpe(const TokenizerFile& file)
      : by_bytes_(file.vocab.size()), merges_(file.merges.size()), ignore_merges_(file.ignore_merges) {
    TokenId end = 0;
    for (const auto& entry : file.vocab) end = std::max(end, entry.id + 1);
    tokens_.resize(static_cast<std::size_t>(end));
    whole_ = std::make_unique<std::atomic<std::uint8_t>[]>(tokens_.size());
    for (const auto& entry : file.vocab) add(file, entry);
    for (unsigned b = 0; b < 256; ++b) {
      const char byte = static_cast<char>(b);
      byte_ids_[b] = by_bytes_.find({&byte, 1}, *this);
      if (byte_ids_[b] < 0) {
        fail(file.path, ": model.vocab has no entry ", utf8::quoted(byte_level::to_text({&byte, 1})), " for byte ", b,
             "; a byte-level vocabulary must have all 256");
      }
    }
    std::string joined;
    for (std::size_t rank = 0; rank < file.merges.size(); ++rank) {
      const auto left_text = file.text(file.merges[rank].first);
      const auto right_text = file.text(file.merges[rank].second);
      joined.assign(left_text).append(right_text);
      const auto left = find(left_text), right = find(right_text), result = find(joined);
      if (!left || !right || !result) {
        fail(file.path, ": model.merges[", rank, "] joins ", utf8::quoted(left_text), " and ", utf8::quoted(right_text),
             ", but ",
             utf8::quoted(!left    ? left_text
                          : !right ? right_text
                                   : joined),
             " is not in model.vocab");
      }
      merges_.insert(*left, *right, {static_cast<std::uint32_t>(rank), *result});
    }
  }

  /// Number of entries.
  std::size_t size() const { return size_; }
  /// One more than the largest id.
  TokenId id_end() const { return static_cast<TokenId>(tokens_.size()); }
  bool contains(TokenId id) const { return id >= 0 && id < id_end() && tokens_[static_cast<std::size_t>(id)].present; }
  /// The bytes of an entry; `id` must be one.
  std::string_view bytes(TokenId id) const {
    const Slice& slice = tokens_[static_cast<std::size_t>(id)];
    return {bytes_.data() + slice.offset, slice.length};
  }
  /// The entry as the vocabulary writes it, such as "Ġthe"; `id` must be one.
  std::string text(TokenId id) const {
    return tokens_[static_cast<std::size_t>(id)].byte_level ? byte_level::to_text(bytes(id)) : std::string(bytes(id));
  }
  /// The id of an entry as the vocabulary writes it.
  std::optional<TokenId> find(std::string_view text) const {
    const auto bytes = byte_level::to_bytes(text);
    if (bytes) {
      const TokenId id = by_bytes_.find(*bytes, *this);
      return id < 0 ? std::nullopt : std::optional(id);
    }
    const auto at = by_text_.find(text);
    return at == by_text_.end() ? std::nullopt : std::optional(at->second);
  }

  /// Appends the tokens of one word (of any bytes). O(n log n).
  void encode(std::string_view word, std::vector<TokenId>& out) const {
    if (word.empty()) return;
    if (word.size() == 1) return out.push_back(byte_ids_[static_cast<unsigned char>(word[0])]);
    if (word.size() > longest_) return merge(word, out);
    const TokenId id = by_bytes_.find(word, *this);
    if (id < 0) return merge(word, out);
    auto& whole = whole_[static_cast<std::size_t>(id)];
    std::uint8_t state = ignore_merges_ ? one_token : whole.load(std::memory_order_relaxed);
    if (state == one_token) return out.push_back(id);
    const std::size_t before = out.size();
    merge(word, out);
    if (state == unknown) {
      state = out.size() == before + 1 && out.back() == id ? one_token : several_tokens;
      whole.store(state, std::memory_order_relaxed);
    }
  }

 private:
  void add(const TokenizerFile& file, const TokenizerFile::Entry& entry) {
    const std::string_view text = file.text(entry.text);
    Slice& slice = tokens_[static_cast<std::size_t>(entry.id)];
    if (slice.present) {
      fail(file.path, ": model.vocab gives the id ", entry.id, " to both ", utf8::quoted(this->text(entry.id)), " and ",
           utf8::quoted(text));
    }
    if (find(text)) fail(file.path, ": model.vocab has the entry ", utf8::quoted(text), " twice");
    auto bytes = byte_level::to_bytes(text);
    const std::string_view stored = bytes ? std::string_view(*bytes) : text;
    slice = {static_cast<std::uint32_t>(bytes_.size()), static_cast<std::uint32_t>(stored.size()), true,
             bytes.has_value()};
    bytes_ += stored;
    if (bytes) {
      by_bytes_.insert(stored, entry.id);
      longest_ = std::max(longest_, stored.size());
    } else {
      by_text_.emplace(stored, entry.id);
    }
    ++size_;
  }

  void merge(std::string_view word, std::vector<TokenId>& out) const {
    return word.size() <= short_word ? merge_short(word, out) : merge_long(word, out);
  }

  // For a few dozen ranks a linear scan is fastest.
  void merge_short(std::string_view word, std::vector<TokenId>& out) const {
    TokenId ids[short_word];
    std::uint32_t ranks[short_word];  // of joining i and i + 1
    TokenId results[short_word];
    std::size_t n = word.size();
    for (std::size_t i = 0; i < n; ++i) ids[i] = byte_ids_[static_cast<unsigned char>(word[i])];
    const auto look_up = [&](std::size_t i) {
      const Merge merge = i + 1 < n ? merges_.find(ids[i], ids[i + 1]) : Merge{};
      ranks[i] = merge.rank;
      results[i] = merge.result;
    };
    for (std::size_t i = 0; i < n; ++i) look_up(i);
    while (n > 1) {
      const std::size_t best = static_cast<std::size_t>(std::min_element(ranks, ranks + n) - ranks);
      if (ranks[best] == Merge::never) break;
      ids[best] = results[best];
      std::copy(ids + best + 2, ids + n, ids + best + 1);
      std::copy(ranks + best + 2, ranks + n, ranks + best + 1);
      std::copy(results + best + 2, results + n, results + best + 1);
      --n;
      look_up(best);
      if (best > 0) look_up(best - 1);
    }
    out.insert(out.end(), ids, ids + n);
  }

  // A list of the word's tokens and a heap of candidate merges, smallest rank first, then leftmost.
  void merge_long(std::string_view word, std::vector<TokenId>& out) const {
    constexpr std::uint32_t none = 0xFFFFFFFF;
    if (word.size() >= none) fail("a word of ", word.size(), " bytes cannot be tokenised");
    struct Symbol {
      TokenId id;
      std::uint32_t previous, next;
    };
    const auto n = static_cast<std::uint32_t>(word.size());
    std::vector<Symbol> symbols(n);
    for (std::uint32_t i = 0; i < n; ++i) {
      symbols[i] = {byte_ids_[static_cast<unsigned char>(word[i])], i == 0 ? none : i - 1, i + 1 == n ? none : i + 1};
    }
    std::vector<std::uint64_t> heap;  // rank, position of the left token
    heap.reserve(n);
    const auto candidate = [&](std::uint32_t at) {
      const std::uint32_t next = symbols[at].next;
      return next == none ? Merge{} : merges_.find(symbols[at].id, symbols[next].id);
    };
    const auto key = [](Merge merge, std::uint32_t at) { return (static_cast<std::uint64_t>(merge.rank) << 32) | at; };
    for (std::uint32_t i = 0; i < n; ++i) {
      if (const Merge merge = candidate(i); merge.rank != Merge::never) heap.push_back(key(merge, i));
    }
    std::make_heap(heap.begin(), heap.end(), std::greater<>());
    while (!heap.empty()) {
      std::pop_heap(heap.begin(), heap.end(), std::greater<>());
      const std::uint64_t top = heap.back();
      heap.pop_back();
      const auto at = static_cast<std::uint32_t>(top);
      if (symbols[at].id < 0) continue;  // merged into its left neighbour
      const Merge merge = candidate(at);
      if (merge.rank != static_cast<std::uint32_t>(top >> 32)) continue;  // the pair has changed since
      const std::uint32_t next = symbols[at].next;
      symbols[at].id = merge.result;
      symbols[at].next = symbols[next].next;
      symbols[next].id = -1;
      if (symbols[at].next != none) symbols[symbols[at].next].previous = at;
      for (const std::uint32_t i : {at, symbols[at].previous}) {
        if (i == none) continue;
        if (const Merge again = candidate(i); again.rank != Merge::never) {
          heap.push_back(key(again, i));
          std::push_heap(heap.begin(), heap.end(), std::greater<>());
        }
      }
    }
    for (std::uint32_t i = 0; i != none; i = symbols[i].next) out.push_back(symbols[i].id);
  }
};

}  // namespace qwen3vl

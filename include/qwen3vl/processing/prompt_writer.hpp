/// The tokens of prompts: placeholders of images and videos repeated as their grids require, truncation, and which
/// tokens are an assistant's.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/inputs/prompts.hpp"
#include "qwen3vl/processing/chat/control_tokens.hpp"
#include "qwen3vl/processing/placeholders.hpp"
#include "qwen3vl/processing/tokenizer/nfc.hpp"
#include "qwen3vl/processing/tokenizer/tokenizer_settings.hpp"

namespace qwen3vl::detail {

/// How a processor writes prompts.
struct PromptRules {
  TokenId image_token, video_token;
  std::int64_t image_merge_size, video_merge_size;
  std::size_t batch_size;  ///< prompts in all, for errors
  std::size_t max_tokens;  ///< of a prompt, before it is truncated
  std::optional<index_t> truncated_length;
  TruncationSide truncation_side;
};

/// Appends prompts to a batch whose media are there already.
class PromptWriter {
 public:
  PromptWriter(const PromptRules& rules, Prompts& prompts) : rules_(rules), prompts_(prompts) {
    for (const GridThw& grid : prompts.media.video_grid_thw)
      temporal_patches_.insert(temporal_patches_.end(), static_cast<std::size_t>(grid.t), {1, grid.h, grid.w});
  }

  /// Appends a prompt of tokens `words`, in which each placeholder is one token. `of_assistant`, if not empty: which of
  /// the words are an assistant's. Throws Error for too long a prompt, and where truncation would cut an image or
  /// video.
  void append(std::span<const TokenId> words, std::span<const std::uint8_t> of_assistant = {}) {
    const index_t row = prompts_.batch_size(), first = prompts_.tokens();
    std::vector<MediaSpan> spans;
    index_t length = 0;
    for (const TokenId word : words) {
      if (!is_placeholder(word)) {
        ++length;
        continue;
      }
      const bool image = word == rules_.image_token;
      const GridThw& grid =
          image ? prompts_.media.image_grid_thw.at(images_++) : temporal_patches_.at(temporal_patch_++);
      const index_t count = tokens_of(grid, image ? rules_.image_merge_size : rules_.video_merge_size);
      spans.push_back(
          {.row = row, .begin = length, .count = count, .grid = grid, .kind = image ? image_token : video_token});
      length += count;
    }
    // Before the tokens are written out.
    if (static_cast<std::size_t>(length) > rules_.max_tokens)
      fail(name(row), " has ", length, " tokens, over the limit of ", rules_.max_tokens,
           " (ProcessorOptions::max_tokens)");

    const index_t kept = std::min(length, rules_.truncated_length.value_or(length));
    const index_t begin = rules_.truncation_side == TruncationSide::left ? length - kept : 0, end = begin + kept;
    for (MediaSpan& span : spans) {
      if (span.begin < begin || span.end() > end)
        fail(name(row), " has ", length, " tokens, and cutting it to max_length ", kept, " would cut ",
             span.kind == image_token ? "an image" : "a video",
             "; leave truncation out, or give a larger max_length or fewer pixels");
      span.begin += first - begin;
      prompts_.spans.push_back(span);
    }
    auto span = spans.begin();
    index_t at = 0;
    for (std::size_t i = 0; i < words.size(); ++i) {
      const index_t count = is_placeholder(words[i]) ? (span++)->count : 1;
      if (at >= begin && at < end) {
        prompts_.ids.insert(prompts_.ids.end(), static_cast<std::size_t>(count), words[i]);
        if (!of_assistant.empty())
          prompts_.assistant_masks.insert(prompts_.assistant_masks.end(), static_cast<std::size_t>(count),
                                          of_assistant[i]);
      }
      at += count;
    }
    prompts_.rows.append(kept);
  }

 private:
  bool is_placeholder(TokenId word) const { return word == rules_.image_token || word == rules_.video_token; }
  std::string name(index_t row) const { return rules_.batch_size > 1 ? concat("prompt ", row) : "the prompt"; }

  const PromptRules rules_;
  Prompts& prompts_;
  std::vector<GridThw> temporal_patches_;
  std::size_t images_ = 0, temporal_patch_ = 0;  // written so far
};

/// The ends of the parts of a prompt's text: what an assistant says, and what stands between.
inline std::vector<std::size_t> part_ends(const PromptPiece& piece) {
  std::vector<std::size_t> ends = {piece.text.size()};
  if (piece.of_assistant)
    for (const auto& [begin, end] : *piece.of_assistant) ends.insert(ends.end(), {begin, end});
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  return ends;
}

/// Appends the parts of a piece to `texts`, to be changed one by one.
inline void append_parts(const PromptPiece& piece, std::vector<std::string>& texts) {
  std::size_t begin = 0;
  for (const std::size_t end : part_ends(piece)) texts.push_back(piece.text.substr(begin, end - begin)), begin = end;
}

/// Puts the changed parts, from `next` on, together again. Returns what is behind them.
inline std::vector<std::string>::const_iterator join_parts(std::vector<std::string>::const_iterator next,
                                                           PromptPiece& piece) {
  const std::vector<std::size_t> ends = part_ends(piece);
  std::vector<std::size_t> new_ends;
  std::string text;
  for (std::size_t i = 0; i < ends.size(); ++i) new_ends.push_back((text += *next++).size());
  const auto moved = [&](std::size_t& place) {
    if (place != 0)
      place = new_ends[static_cast<std::size_t>(std::find(ends.begin(), ends.end(), place) - ends.begin())];
  };
  if (piece.of_assistant)
    for (auto& [begin, end] : *piece.of_assistant) moved(begin), moved(end);
  piece.text = std::move(text);
  return next;
}

/// Which tokens overlap one of the `ranges` of bytes of a text. `offsets`: the code points that each token is of.
inline std::vector<std::uint8_t> overlapping(std::string_view text, std::span<const CharacterRange> offsets,
                                             std::span<const std::pair<std::size_t, std::size_t>> ranges) {
  std::vector<std::uint8_t> marked(offsets.size());
  const auto characters = [&](std::size_t bytes) {
    return std::count_if(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(bytes),
                         [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
  };
  for (const auto& [first, last] : ranges) {
    const auto begin = characters(first), end = characters(last);
    for (std::size_t i = 0; i < offsets.size(); ++i)
      if (offsets[i].first < end && offsets[i].second > begin) marked[i] = 1;
  }
  return marked;
}

}  // namespace qwen3vl::detail

/// Pictures and clips in prompts: each placeholder of a prompt's text becomes as many as there are merged patches.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/inputs/grid.hpp"
#include "qwen3vl/processing/video/video_sampling.hpp"

namespace qwen3vl {

/// Stands in a prompt where a picture's features go; one per merged patch once expanded.
inline constexpr std::string_view image_placeholder = "<|image_pad|>";
/// The same for clips.
inline constexpr std::string_view video_placeholder = "<|video_pad|>";
/// What stands around a picture, and around each temporal patch of a clip.
inline constexpr std::string_view vision_start = "<|vision_start|>", vision_end = "<|vision_end|>";

/// How a clip's expansion stands in the prompt. The chat formats write <|vision_start|><|video_pad|><|vision_end|>;
/// each temporal patch becomes a time and a pair of its own.
enum class VideoPrompt {
  keep_outer_pair,     ///< only <|video_pad|> is replaced: transformers 5
  without_outer_pair,  ///< all three are replaced: transformers 4.57, with which the released models were evaluated
};

namespace detail {

inline std::size_t count_occurrences(std::string_view text, std::string_view word) {
  std::size_t count = 0;
  for (auto at = text.find(word); at != std::string_view::npos; at = text.find(word, at + word.size())) ++count;
  return count;
}

/// Throws Error, in transformers' words, unless `texts` have one placeholder per picture (or clip).
inline void check_placeholders(std::span<const std::string> texts, std::string_view placeholder, std::size_t media,
                               std::string_view what) {
  std::size_t found = 0;
  for (const std::string& text : texts) found += count_occurrences(text, placeholder);
  if (found == media) return;
  if (media == 0) fail("Found ", found, " ", placeholder, " tokens in the text but no ", what, " were passed.");
  fail("The total number of ", placeholder, " tokens in the prompts should be the same as the number of ", what,
       " passed. Found total ", found, " ", placeholder, " tokens and ", media, " ", what, ".");
}

/// Text tokens of all pictures together, checked: a prompt of more than 2^31 tokens cannot be meant.
inline std::size_t count_image_tokens(std::span<const GridThw> grids, std::int64_t merge_size) {
  constexpr std::int64_t limit = std::int64_t{1} << 31;
  std::int64_t total = 0;
  for (const GridThw& grid : grids) {
    std::int64_t tokens = 0;
    if (merge_size < 1 || grid.t < 1 || grid.h < merge_size || grid.w < merge_size ||
        __builtin_mul_overflow(grid.h / merge_size, grid.w / merge_size, &tokens) ||
        __builtin_mul_overflow(tokens, grid.t, &tokens) || tokens > limit - total) {
      fail("a picture of ", grid.t, " x ", grid.h, " x ", grid.w, " patches with merge size ", merge_size,
           " cannot become tokens");
    }
    total += tokens;
  }
  return static_cast<std::size_t>(total);
}

}  // namespace detail

/// Replaces each `<|image_pad|>` of `texts` by `grid.tokens(merge_size)` of them; `grids` are the pictures in the order
/// of their placeholders, text by text. Throws Error if their numbers differ.
inline std::vector<std::string> expand_image_placeholders(std::span<const std::string> texts,
                                                          std::span<const GridThw> grids, std::int64_t merge_size) {
  detail::check_placeholders(texts, image_placeholder, grids.size(), "images");
  detail::count_image_tokens(grids, merge_size);
  std::vector<std::string> expanded;
  expanded.reserve(texts.size());
  std::size_t next = 0;
  for (const std::string& text : texts) {
    std::string out;
    std::size_t from = 0;
    for (auto at = text.find(image_placeholder); at != std::string::npos; at = text.find(image_placeholder, from)) {
      out.append(text, from, at - from);
      const std::int64_t tokens = grids[next++].tokens(merge_size);
      out.reserve(out.size() + static_cast<std::size_t>(tokens) * image_placeholder.size());
      for (std::int64_t i = 0; i < tokens; ++i) out += image_placeholder;
      from = at + image_placeholder.size();
    }
    out.append(text, from);
    expanded.push_back(std::move(out));
  }
  return expanded;
}

/// Replaces each `<|video_pad|>` of `texts` by the clip's temporal patches, each with the seconds in `timestamps`
/// before it; clips are in the order of their placeholders, text by text. Throws Error if their numbers differ.
inline std::vector<std::string> expand_video_placeholders(std::span<const std::string> texts,
                                                          std::span<const GridThw> grids,
                                                          std::span<const std::vector<double>> timestamps,
                                                          std::int64_t merge_size,
                                                          VideoPrompt form = VideoPrompt::keep_outer_pair) {
  detail::check_placeholders(texts, video_placeholder, grids.size(), "videos");
  detail::count_image_tokens(grids, merge_size);
  std::vector<std::string> expanded;
  expanded.reserve(texts.size());
  std::size_t next = 0;
  for (const std::string& text : texts) {
    std::string out;
    std::size_t from = 0;
    for (auto at = text.find(video_placeholder); at != std::string::npos; at = text.find(video_placeholder, from)) {
      out.append(text, from, at - from);
      from = at + video_placeholder.size();
      if (form == VideoPrompt::without_outer_pair && out.ends_with(vision_start) &&
          std::string_view(text).substr(from).starts_with(vision_end)) {
        out.resize(out.size() - vision_start.size());
        from += vision_end.size();
      }
      const GridThw& grid = grids[next];
      if (timestamps[next].size() != static_cast<std::size_t>(grid.t))
        fail("a clip of ", grid.t, " temporal patches with ", timestamps[next].size(), " timestamps");
      const std::int64_t tokens = (grid.h / merge_size) * (grid.w / merge_size);
      for (const double seconds : timestamps[next]) {
        out.append(timestamp_text(seconds)).append(vision_start);
        for (std::int64_t i = 0; i < tokens; ++i) out += video_placeholder;
        out += vision_end;
      }
      ++next;
    }
    out.append(text, from);
    expanded.push_back(std::move(out));
  }
  return expanded;
}

}  // namespace qwen3vl

/// Images and videos in prompts: their placeholders, and the times that a prompt gives for a video.
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
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// Stands in a prompt where an image's features go; its token is repeated for each merged patch.
inline constexpr std::string_view image_placeholder = "<|image_pad|>";
/// The same for videos.
inline constexpr std::string_view video_placeholder = "<|video_pad|>";
/// What stands around an image, and around each temporal patch of a video.
inline constexpr std::string_view vision_start = "<|vision_start|>", vision_end = "<|vision_end|>";

/// How a video's temporal patches stand in the prompt. The chat formats write
/// <|vision_start|><|video_pad|><|vision_end|>; each temporal patch becomes a time and a pair of marks.
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

/// Throws Error, in transformers' words, unless `texts` have one placeholder per image (or video).
inline void check_placeholders(std::span<const std::string> texts, std::string_view placeholder, std::size_t media,
                               std::string_view what) {
  std::size_t found = 0;
  for (const std::string& text : texts) found += count_occurrences(text, placeholder);
  if (found == media) return;
  if (media == 0) fail("Found ", found, " ", placeholder, " tokens in the text but no ", what, " were passed.");
  fail("The total number of ", placeholder, " tokens in the prompts should be the same as the number of ", what,
       " passed. Found total ", found, " ", placeholder, " tokens and ", media, " ", what, ".");
}

/// Text tokens of an image or of a temporal patch, checked: more than 2^31 cannot be meant.
inline index_t tokens_of(const GridThw& grid, std::int64_t merge_size) {
  if (merge_size < 1 || grid.t < 1 || grid.h < merge_size || grid.w < merge_size ||
      grid.tokens(merge_size) > std::int64_t{1} << 31)
    fail("an image of ", grid.t, " x ", grid.h, " x ", grid.w, " patches with merge size ", merge_size,
         " cannot become tokens");
  return grid.tokens(merge_size);
}

}  // namespace detail

/// Replaces each `<|video_pad|>` of `texts` by the video's temporal patches, each with the seconds in `timestamps`
/// before its own `<|video_pad|>`; videos are in the order of their placeholders, text by text, as many as there are.
inline std::vector<std::string> write_timestamps(std::span<const std::string> texts,
                                                 std::span<const std::vector<double>> timestamps, VideoPrompt form) {
  std::vector<std::string> written;
  written.reserve(texts.size());
  std::size_t next = 0;
  for (const std::string& text : texts) {
    std::string& out = written.emplace_back();
    std::size_t from = 0;
    for (auto at = text.find(video_placeholder); at != std::string::npos; at = text.find(video_placeholder, from)) {
      out.append(text, from, at - from);
      from = at + video_placeholder.size();
      if (form == VideoPrompt::without_outer_pair && out.ends_with(vision_start) &&
          std::string_view(text).substr(from).starts_with(vision_end)) {
        out.resize(out.size() - vision_start.size());
        from += vision_end.size();
      }
      if (next == timestamps.size()) fail("there are more ", video_placeholder, " than videos with timestamps");
      for (const double seconds : timestamps[next])
        out.append(timestamp_text(seconds)).append(vision_start).append(video_placeholder).append(vision_end);
      ++next;
    }
    out.append(text, from);
  }
  return written;
}

}  // namespace qwen3vl

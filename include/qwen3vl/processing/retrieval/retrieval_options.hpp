/// Options of EmbeddingProcessor and RerankerProcessor.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "qwen3vl/base/option.hpp"

namespace qwen3vl {

/// What holds for all inputs. The pixel budget and max_length are those of ProcessorOptions, with the defaults of the
/// published code: `min_pixels` 4096 and `max_pixels` 1843200 of an image, `max_video_pixels` 15728640 of a list of
/// frames, all together (its total_pixels, 7864320, is for pairs of frames); `max_length` 8192 tokens of an embedding's
/// prompt, 10240 of a reranker's.
struct RetrievalOptions {
  std::optional<std::string> default_instruction{};  ///< where an input has none; not set: the published one
  double fps = 1.0;                                  ///< frames taken of each second of a video file
  std::int64_t max_frames = 64;                      ///< the most of them; a list of more frames is thinned out
};

/// Calls f(Option, member...) for the numbers of RetrievalOptions.
template <class F, class... Options>
void for_each_retrieval_option(F&& f, Options&... o) {
  f(Option{"fps", {.lowest = above_zero.lowest, .highest = 1e6}, "Frames taken of each second of a video file"},
    o.fps...);
  f(Option{"max_frames", within(1, 1e6), "The most of them, and of a list of frames"}, o.max_frames...);
}

}  // namespace qwen3vl

/// A batch of prompts as a model reads it: token ids without padding, and the positions of images and videos among
/// them. Plain host data. The padded rows and mask of transformers are ModelInputs; inputs/padding.hpp converts between
/// the two.
#pragma once

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/inputs/model_inputs.hpp"
#include "qwen3vl/tensor/segments.hpp"

namespace qwen3vl {

/// Two independent 64-bit hashes of pixels, since the tokens of a prompt do not identify the image they stand for.
struct ContentId {
  std::uint64_t hash[2] = {0, 0};

  bool operator==(const ContentId&) const = default;
};

/// Multiply and fold, over pairs of values.
inline ContentId content_id(std::span<const float> pixels) {
  constexpr std::uint64_t multiplier[2] = {0x9e3779b97f4a7c15u, 0xd6e8feb86659fd93u};
  ContentId id{{multiplier[1], multiplier[0]}};
  for (std::size_t i = 0; i < pixels.size(); i += 2) {
    std::uint64_t word = 0;
    std::memcpy(&word, &pixels[i], sizeof(float) * std::min<std::size_t>(2, pixels.size() - i));
    for (std::size_t which = 0; which < 2; ++which) {
      std::uint64_t& h = id.hash[which];
      // The second hash sees the two values in the other order: a sign at the top of a word would pass both alike.
      h = (h ^ std::rotl(word, static_cast<int>(32 * which))) * multiplier[which];
      h ^= h >> 29;
    }
  }
  return id;
}

/// The tokens of one image, or of one temporal patch of a video, in a prompt. A video has one span per temporal patch:
/// the patches are separated in the prompt (each follows a timestamp) and have separate positions, and the vision tower
/// does not attend across them.
struct MediaSpan {
  index_t row = 0;    ///< row of the batch
  index_t begin = 0;  ///< index of the first token in the packed ids
  index_t count = 0;  ///< number of tokens
  GridThw grid{};     ///< for a temporal patch of a video: t = 1
  TokenType kind = image_token;
  std::optional<ContentId> content{};  ///< of its pixels; empty until computed

  index_t end() const { return begin + count; }
  /// False if either has no content id.
  bool same_content(const MediaSpan& other) const { return content && grid == other.grid && content == other.content; }
  bool same_place(const MediaSpan& other) const { return begin == other.begin && count == other.count; }
};

/// The tokens of B prompts.
struct PromptTokens {
  std::vector<TokenId> ids;      ///< [tokens] of all prompts, one after the other
  Segments rows;                 ///< the tokens of each prompt
  std::vector<MediaSpan> spans;  ///< in the order of their tokens

  index_t batch_size() const { return rows.count(); }
  index_t tokens() const { return static_cast<index_t>(ids.size()); }
  std::span<const TokenId> row(index_t b) const {
    return std::span(ids).subspan(static_cast<std::size_t>(rows.offset(b)), static_cast<std::size_t>(rows.length(b)));
  }
};

/// What became of an image, or of each frame of a video. Sizes are in pixels.
struct ImageSource {
  std::string name{};  ///< the file, if it is known
  index_t row = 0;     ///< the prompt that it is in
  index_t height = 0, width = 0;
  index_t resized_height = 0, resized_width = 0;
};
struct VideoSource : ImageSource {
  std::int64_t total_num_frames = 0;
  double fps = 0.0;                          ///< of the source; the assumed rate where it is not known
  std::vector<std::int64_t> frames_indices;  ///< the frames taken, by their place in the source
  std::vector<double> timestamps;            ///< seconds of each temporal patch
};

/// Prompt tokens with their images and videos: what a Processor returns and generate() accepts.
struct Prompts : PromptTokens {
  Media media;
  /// For reports, in the order of the media's grids; generate() does not need them.
  std::vector<ImageSource> image_sources{};
  std::vector<VideoSource> video_sources{};
  /// [tokens] 1: of an assistant; empty unless return_assistant_tokens_mask asks for it. No input of a model.
  std::vector<std::uint8_t> assistant_masks{};
};

/// Several batches as one.
inline Prompts joined(std::span<const Prompts> parts) {
  Prompts all;
  const auto join = [&](auto member) {
    for (const Prompts& part : parts)
      (all.*member).insert((all.*member).end(), (part.*member).begin(), (part.*member).end());
  };
  join(&Prompts::ids);
  join(&Prompts::assistant_masks);
  if (!all.assistant_masks.empty() && all.assistant_masks.size() != all.ids.size())
    fail("some of the prompts to be joined have assistant_masks, and some have not");
  for (const Prompts& part : parts) {
    const index_t row = all.rows.count(), token = all.rows.total();
    for (MediaSpan span : part.spans) {
      span.row += row;
      span.begin += token;
      all.spans.push_back(span);
    }
    const auto append = [&](auto& to, const auto& from) {
      for (auto one : from) to.push_back(std::move(one)), to.back().row += row;
    };
    append(all.image_sources, part.image_sources);
    append(all.video_sources, part.video_sources);
    for (index_t b = 0; b < part.rows.count(); ++b) all.rows.append(part.rows.length(b));
  }
  const auto join_media = [&](auto pixels, auto grids) {
    index_t patches = 0, size = 0;
    for (const Prompts& part : parts) {
      const auto& own = part.media.*grids;
      (all.media.*grids).insert((all.media.*grids).end(), own.begin(), own.end());
      const HostMatrix<float>& values = part.media.*pixels;
      if (values.rows() == 0) continue;
      if (patches > 0 && values.extent(1) != size)
        fail("patches of ", size, " and of ", values.extent(1), " values cannot be joined");
      patches += values.rows();
      size = values.extent(1);
    }
    if (patches == 0) return;
    HostMatrix<float>& to = all.media.*pixels = HostMatrix<float>(patches, size);
    float* next = to.data();
    for (const Prompts& part : parts) next = std::ranges::copy((part.media.*pixels).span(), next).out;
  };
  join_media(&Media::pixel_values, &Media::image_grid_thw);
  join_media(&Media::pixel_values_videos, &Media::video_grid_thw);
  return all;
}

/// What generate() accepts.
template <class T>
concept PromptInput = std::same_as<T, Prompts> || std::same_as<T, ModelInputs>;

/// The pixels [patches * patch_dim] of each span. Throws Error unless spans, grids and pixels agree.
inline std::vector<std::span<const float>> pixels_of(std::span<const MediaSpan> spans, const Media& media) {
  std::vector<std::span<const float>> pixels;
  index_t images = 0, videos = 0;  // patches so far
  for (const MediaSpan& span : spans) {
    const HostMatrix<float>& all = span.kind == image_token ? media.pixel_values : media.pixel_values_videos;
    index_t& patch = span.kind == image_token ? images : videos;
    const GridThw& grid = span.grid;
    const index_t rows = all.rows() - patch;
    if (grid.t < 1 || grid.h < 1 || grid.w < 1 || grid.h > rows || grid.w > rows / grid.h ||
        grid.t > rows / (grid.h * grid.w))
      fail("the grids of the images make more patches than the ", all.rows(), " that there are");
    pixels.push_back(all.slice(patch, grid.patches()).span());
    patch += grid.patches();
  }
  if (images != media.pixel_values.rows() || videos != media.pixel_values_videos.rows())
    fail("the grids of images and videos make ", images, " and ", videos, " patches, pixel_values has ",
         media.pixel_values.rows(), " and pixel_values_videos ", media.pixel_values_videos.rows());
  return pixels;
}

/// Computes the content ids of spans that have none from their `pixels`.
inline void identify(std::span<MediaSpan> spans, std::span<const std::span<const float>> pixels) {
  for (std::size_t i = 0; i < spans.size(); ++i)
    if (!spans[i].content) spans[i].content = content_id(pixels[i]);
}

}  // namespace qwen3vl

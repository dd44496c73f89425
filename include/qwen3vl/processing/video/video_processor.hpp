/// Videos to patches (Qwen3VLVideoProcessor): sample frames, resize, rescale, normalise, cut.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "qwen3vl/inputs/grid.hpp"
#include "qwen3vl/io/checkpoint/checkpoint_files.hpp"
#include "qwen3vl/io/video/frame_source.hpp"
#include "qwen3vl/processing/image/convert_rgb.hpp"
#include "qwen3vl/processing/image/patches.hpp"
#include "qwen3vl/processing/image/preprocessor_files.hpp"
#include "qwen3vl/processing/image/smart_resize.hpp"
#include "qwen3vl/processing/video/video_options.hpp"
#include "qwen3vl/processing/video/video_options_json.hpp"
#include "qwen3vl/processing/video/video_sampling.hpp"
#include "qwen3vl/tensor/host.hpp"

namespace qwen3vl {

/// One video as patches.
struct VideoPatches {
  HostMatrix<float> pixel_values_videos;     ///< [patches, channels * temporal * patch * patch]
  GridThw grid;                              ///< frames / temporal_patch_size, rows, columns
  std::vector<std::int64_t> frames_indices;  ///< the frames taken, by their place in the video as recorded
  std::vector<double> timestamps;            ///< seconds of each temporal patch
  ImageSize source{};                        ///< pixels of a frame before it is resized
};

/// How one video is read, in place of what the options say.
struct FramePlan {
  std::vector<std::int64_t> indices;     ///< the frames to take, ascending; one may occur twice
  std::vector<std::int64_t> recorded{};  ///< their places in the video as recorded, if not these
  /// What is done to each frame first; empty: nothing.
  std::function<Image(const Image&)> prepare{};
  /// The size that so many frames of this height and width are resized to.
  std::function<ImageSize(std::int64_t count, std::int64_t height, std::int64_t width)> size;
  std::function<Image(const Image&, ImageSize)> resize;
};

/// All videos of a call.
struct VideoFeatures {
  HostMatrix<float> pixel_values_videos;  ///< [patches of all videos, channels * temporal * patch * patch]
  std::vector<GridThw> video_grid_thw;    ///< one for each video
  std::vector<std::vector<std::int64_t>> frames_indices;
  std::vector<std::vector<double>> timestamps;
};

class VideoProcessor {
 public:
  /// Of all frames of a video together, as resized. More than size["longest_edge"] can be set to.
  static constexpr std::int64_t most_pixels = std::int64_t{1} << 31;

  /// Throws Error for invalid options, except for a conflict between `fps` and `num_frames`, which is reported when
  /// frames are sampled.
  explicit VideoProcessor(const VideoProcessorOptions& options = {}) : options_(options) {
    options_.ImageProcessorOptions::validate();
  }

  /// Reads processor_config.json, as transformers 5 saves it, or video_preprocessor_config.json, or the
  /// images' preprocessor_config.json, in this order, which is transformers'.
  static VideoProcessor from_pretrained(const CheckpointFiles& checkpoint, const Warn& warn = print_warning) {
    PreprocessorFiles files(checkpoint);
    return from_pretrained(files, warn);
  }
  static VideoProcessor from_pretrained(PreprocessorFiles& files, const Warn& warn = print_warning) {
    return VideoProcessor(video_processor_options_from_json(
        files.settings("video_processor", {"video_preprocessor_config.json", "preprocessor_config.json"}),
        VideoProcessorOptions::of_class(), warn));
  }

  const VideoProcessorOptions& options() const { return options_; }

  /// The frames of a video that are taken. Throws Error.
  std::vector<std::int64_t> frames_of(const VideoMetadata& metadata) const {
    if (options_.do_sample_frames) {
      if (!metadata.frames_indices.empty())
        fail("the video is already a sample of ", metadata.frames_indices.size(),
             " frames; set do_sample_frames to false");
      return sample_frames(metadata, options_);
    }
    const std::int64_t count = metadata.available_frames();
    if (count < 1 || count > VideoProcessorOptions::max_countable)
      fail("all ", count, " frames of a video are to be taken, but at least 1 and at most ",
           VideoProcessorOptions::max_countable, " can be; set do_sample_frames to true");
    std::vector<std::int64_t> indices(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) indices[static_cast<std::size_t>(i)] = i;
    return indices;
  }

  /// The size in pixels that `num_frames` frames are resized to. Throws Error for extreme shapes.
  ImageSize resized_size(std::int64_t num_frames, std::int64_t height, std::int64_t width) const {
    const std::int64_t factor = options_.patch_size * options_.merge_size;
    if (!options_.do_resize) {
      if (height % factor != 0 || width % factor != 0)
        fail("frames of ", height, " x ", width,
             " pixels are not resized (do_resize is false), but their sides must be multiples of ", factor);
      return {height, width};
    }
    detail::require_edges(options_);
    std::int64_t max_pixels = options_.longest_edge;
    if (options_.cap_pixels_per_frame) {
      if (num_frames < 1) fail("a video of ", num_frames, " frames");
      const auto least = static_cast<std::int64_t>(static_cast<double>(options_.shortest_edge) * 1.05);
      max_pixels =
          std::max(std::min(options_.max_video_tokens * factor * factor, options_.longest_edge / num_frames), least) *
          num_frames;
    }
    return smart_resize_video(num_frames, height, width, options_.temporal_patch_size, factor, options_.shortest_edge,
                              max_pixels);
  }

  /// Patches that a video of this many sampled frames becomes (get_num_of_video_patches); merge_size * merge_size of
  /// them are a token. No frame is read.
  std::int64_t number_of_patches(std::int64_t num_frames, std::int64_t height, std::int64_t width) const {
    return grid_of(num_frames, resized_size(num_frames, height, width)).patches();
  }

  /// One video as the options say.
  VideoPatches operator()(Video& video, const VideoProgress& progress = {}) const {
    return (*this)(video,
                   {.indices = frames_of(video.metadata()),
                    .size = [this](auto... sizes) { return resized_size(sizes...); },
                    .resize =
                        [this](const Image& frame, ImageSize size) {
                          return qwen3vl::resize(frame, size, options_.resample, options_.backend);
                        }},
                   progress);
  }

  /// One video as `plan` says. Frames are read one at a time; those of one temporal patch are in memory together,
  /// resized. Throws Error for videos that cannot be decoded and frames of different sizes. `progress` is called for
  /// each frame.
  VideoPatches operator()(Video& video, const FramePlan& plan, const VideoProgress& progress = {}) const {
    const std::vector<std::int64_t>& indices = plan.indices;
    const auto count = static_cast<std::int64_t>(indices.size()), temporal = options_.temporal_patch_size;
    VideoPatches patches;
    ImageSize source, target;
    std::vector<Image> group;
    std::vector<const Image*> frames;
    std::optional<PatchCutter> cutter;
    float* to = nullptr;
    for (std::int64_t i = 0; i < count; ++i) {
      if (progress) progress(i, count);
      Image frame = decoded(video, indices[static_cast<std::size_t>(i)]);
      if (i == 0) patches.source = {frame.height, frame.width};
      if (plan.prepare) frame = plan.prepare(frame);
      if (i == 0) {
        source = {frame.height, frame.width};
        target = plan.size(count, frame.height, frame.width);
        check_size(count, target);
        patches.grid = grid_of(count, target);
        options_.check_statistics("frames have", frame.channels);
        patches.pixel_values_videos = HostMatrix<float>(
            patches.grid.patches(), frame.channels * temporal * options_.patch_size * options_.patch_size);
        to = patches.pixel_values_videos.data();
        cutter.emplace(options_, frame.channels);
        group.resize(static_cast<std::size_t>(temporal));
      } else if (ImageSize{frame.height, frame.width} != source || frame.channels != group.front().channels) {
        fail("frame ", indices[static_cast<std::size_t>(i)], " is of ", frame.height, " x ", frame.width, " x ",
             frame.channels, ", the first of ", source.height, " x ", source.width, " x ", group.front().channels,
             "; the frames of a video must be alike");
      }
      Image& resized = group[static_cast<std::size_t>(i % temporal)];
      resized = plan.resize(frame, target);
      frames.push_back(&resized);
      // The last frame stands for those that are missing to a full patch.
      if (i + 1 == count) frames.resize(static_cast<std::size_t>(temporal), &resized);
      if (static_cast<std::int64_t>(frames.size()) < temporal) continue;
      to = (*cutter)(frames, to);
      frames.clear();
    }
    if (progress) progress(count, count);
    const std::vector<std::int64_t>& recorded = video.metadata().frames_indices;
    for (const std::int64_t i : indices)
      patches.frames_indices.push_back(recorded.empty() ? i : recorded[static_cast<std::size_t>(i)]);
    if (!plan.recorded.empty()) patches.frames_indices = plan.recorded;
    patches.timestamps = video_timestamps(patches.frames_indices, frames_per_second(video.metadata()), temporal);
    return patches;
  }

 private:
  GridThw grid_of(std::int64_t num_frames, ImageSize size) const {
    const std::int64_t temporal = options_.temporal_patch_size;
    return {(num_frames + temporal - 1) / temporal, size.height / options_.patch_size,
            size.width / options_.patch_size};
  }

  Image decoded(Video& video, std::int64_t index) const {
    Image frame = video.frame(index);
    frame.check();
    return options_.do_convert_rgb && frame.channels != 3 ? convert_to_rgb(frame) : frame;
  }

  /// The budget bounds the pixels of all frames, but not where each side is enlarged to a patch or nothing is resized.
  static void check_size(std::int64_t count, const ImageSize& size) {
    const double pixels =
        static_cast<double>(count) * static_cast<double>(size.height) * static_cast<double>(size.width);
    if (pixels > static_cast<double>(most_pixels))
      fail(count, " frames of ", size.height, " x ", size.width, " are more than ", most_pixels,
           " pixels; take fewer frames");
  }

  VideoProcessorOptions options_;
};

/// Puts videos together, in order.
inline VideoFeatures join(std::vector<VideoPatches> videos) {
  VideoFeatures all;
  if (videos.empty()) return all;
  index_t patches = 0;
  for (const VideoPatches& video : videos) patches += video.grid.patches();
  const index_t values = videos.front().pixel_values_videos.extent(1);
  all.pixel_values_videos = HostMatrix<float>(patches, values);
  float* to = all.pixel_values_videos.data();
  for (VideoPatches& video : videos) {
    if (video.pixel_values_videos.extent(1) != values)
      fail("videos of different channels or patch sizes: ", video.pixel_values_videos.extent(1), " and ", values,
           " values per patch");
    to = std::ranges::copy(video.pixel_values_videos.span(), to).out;
    video.pixel_values_videos = {};  // both copies are never whole in memory
    all.video_grid_thw.push_back(video.grid);
    all.frames_indices.push_back(std::move(video.frames_indices));
    all.timestamps.push_back(std::move(video.timestamps));
  }
  return all;
}

}  // namespace qwen3vl

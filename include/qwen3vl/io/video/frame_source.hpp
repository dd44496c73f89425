/// Sources of video frames, read one at a time and in order, so that only requested frames are kept.
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/io/image/image.hpp"

namespace qwen3vl {

/// What is known about a video before any frame is decoded (transformers' VideoMetadata).
struct VideoMetadata {
  std::int64_t total_num_frames = 0;
  std::optional<double> fps{};  ///< frames per second; unknown: 24 is assumed where a number is needed
  int height = 0;               ///< pixels; 0: unknown before a frame is decoded
  int width = 0;
  std::string video_backend{};  ///< the decoder: "folder", "gif", "libav", "memory"
  /// If the source yields a sample of a longer video: the indices of its frames. Empty: all frames.
  std::vector<std::int64_t> frames_indices{};

  /// The number of frames that the source yields.
  std::int64_t available_frames() const {
    return frames_indices.empty() ? total_num_frames : static_cast<std::int64_t>(frames_indices.size());
  }
};

/// A frame source yields frames by index; indices must not decrease from call to call, and a repeated index gives the
/// same frame. Frames in between are skipped, and decoded if the format requires it. Throws Error for frames that
/// cannot be decoded and indices out of range.
template <class S>
concept FrameSource = requires(S& source, std::int64_t index) {
  { source.metadata() } -> std::convertible_to<const VideoMetadata&>;
  { source.frame(index) } -> std::convertible_to<Image>;
};

/// Frames in memory: for tests, cameras and users with their own decoder.
class MemoryFrames {
 public:
  explicit MemoryFrames(std::vector<Image> frames, std::optional<double> fps = std::nullopt)
      : MemoryFrames(std::move(frames), VideoMetadata{.fps = fps}) {}

  /// With the caller's metadata; values left at 0 are filled in. Throws Error if it contradicts the frames.
  MemoryFrames(std::vector<Image> frames, VideoMetadata metadata)
      : frames_(std::move(frames)), metadata_(std::move(metadata)) {
    if (frames_.empty()) fail("a video has no frames");
    const auto count = static_cast<std::int64_t>(frames_.size());
    if (metadata_.total_num_frames == 0) metadata_.total_num_frames = count;
    if (metadata_.available_frames() != count)
      fail("a video of ", count, " frames whose metadata is of ", metadata_.available_frames());
    metadata_.height = frames_.front().height;
    metadata_.width = frames_.front().width;
    if (metadata_.video_backend.empty()) metadata_.video_backend = "memory";
  }

  const VideoMetadata& metadata() const { return metadata_; }
  const Image& frame(std::int64_t index) const {
    if (index < 0 || index >= metadata_.available_frames())
      fail("frame ", index, " of a video of ", metadata_.available_frames(), " frames");
    return frames_[static_cast<std::size_t>(index)];
  }

 private:
  std::vector<Image> frames_;
  VideoMetadata metadata_;
};

/// Any frame source, type-erased so that processors need not be templates. Move-only.
class Video {
 public:
  template <FrameSource S>
  requires(!std::same_as<S, Video>) Video(S source)  // NOLINT(google-explicit-constructor): a frame source is a video
      : source_(std::make_unique<Holder<S>>(std::move(source))) {}

  const VideoMetadata& metadata() const { return source_->metadata(); }
  /// See FrameSource.
  Image frame(std::int64_t index) { return source_->frame(index); }

 private:
  struct Base {
    virtual ~Base() = default;
    virtual const VideoMetadata& metadata() const = 0;
    virtual Image frame(std::int64_t index) = 0;
  };
  template <class S>
  struct Holder final : Base {
    explicit Holder(S held) : source(std::move(held)) {}
    const VideoMetadata& metadata() const override { return source.metadata(); }
    Image frame(std::int64_t index) override { return source.frame(index); }
    S source;
  };
  std::unique_ptr<Base> source_;
};

}  // namespace qwen3vl

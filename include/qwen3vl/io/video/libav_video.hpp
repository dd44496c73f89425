/// Video files through libav (FFmpeg's libraries). Needs libavformat, libavcodec, libavutil and libswscale: the CMake
/// target qwen3vl::video.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "qwen3vl/base/mapped_file.hpp"
#include "qwen3vl/io/video/frame_source.hpp"
#include "qwen3vl/io/video/libav_converter.hpp"
#include "qwen3vl/io/video/libav_input.hpp"

namespace qwen3vl {

/// The frames of a file's best video stream as RGB; frame i is the i-th shown. Only the last requested frame is kept.
///
/// Opening reads all packets of the stream once, without decoding, to count them. Where a packet need not be a frame
/// (because of the codec, or because the file is truncated, begins within a scene, is edited or contradicts itself), it
/// decodes all frames once and counts those, whatever the file claims. A truncated end is ignored; a frame that cannot
/// be decoded is an error, unless libav's decoder conceals it.
///
/// The frame rate is the file's average (what PyAV calls average_rate), else libav's guess, else unknown. Frames are
/// rotated upright in quarter turns by the display matrix (as in torchcodec since 0.11; PyAV does not). Pixel aspect
/// ratio and interlacing are ignored, as in both.
///
/// Only this file is read: files that it refers to are not opened, nor is the network.
class LibavVideo {
 public:
  /// Of `limits`, only max_pixels and max_frames apply: films are larger than images. Throws Error that names the file
  /// and says what is wrong.
  explicit LibavVideo(const std::filesystem::path& path, std::optional<double> fps = std::nullopt,
                      const ImageLimits& limits = {})
      : LibavVideo(MappedFile::open(path), path.string(), fps, limits) {}

  LibavVideo(MappedFile file, std::string name, std::optional<double> fps = std::nullopt,
             const ImageLimits& limits = {})
      : file_(std::make_unique<MappedFile>(std::move(file))), name_(std::move(name)), limits_(limits) {
    const detail::LibavSilence silence;
    begin();
    describe(fps);
    const bool frames_are_packets = scan();
    begin();
    if (frames_are_packets) {
      metadata_.total_num_frames = static_cast<std::int64_t>(times_.size());
    } else {
      times_.clear();
      keys_.clear();
      while (decode_next()) {
      }
      metadata_.total_num_frames = decoded_ + 1;
      if (decoded_ < 0) fail(name_, " has a video without frames that can be decoded", reason());
      current_ = false;  // all frames have been passed
    }
  }

  const VideoMetadata& metadata() const { return metadata_; }

  const Image& frame(std::int64_t index) {
    if (index < 0 || index >= metadata_.total_num_frames)
      fail("frame ", index, " of a video of ", metadata_.total_num_frames, " frames");
    if (index == shown_) return image_;
    const detail::LibavSilence silence;
    const bool ready = std::exchange(current_, false);  // start over if this one cannot be decoded
    shown_ = -1;
    if (!ready || index < decoded_) begin();
    input_->reset_budget();
    if (!seek(index)) {
      while (decoded_ < index)
        if (!decode_next())
          fail(name_, " ends after ", decoded_ + 1, " of ", metadata_.total_num_frames, " frames; it is damaged",
               reason());
    }
    image_ = detail::upright(convert_(*frame_), orientation_);
    shown_ = index;
    current_ = true;
    return image_;
  }

 private:
  // ---- opening

  /// Reopens the file with a new decoder, because not all formats seek back to the same first packet.
  void begin() {
    codec_.reset();
    input_ = std::make_unique<detail::LibavInput>(*file_, name_, limits_.max_pixels);
    const AVCodecParameters& parameters = *input_->stream().codecpar;
    const auto width = parameters.width, height = parameters.height;
    if (width < 1 || height < 1 ||
        static_cast<std::size_t>(width) > limits_.max_pixels / static_cast<std::size_t>(height))
      fail(name_, " is a video of ", width, " x ", height, ", which is nothing or over the limit of ",
           limits_.max_pixels, " pixels (ImageLimits::max_pixels)");
    const AVCodec* const decoder = avcodec_find_decoder(parameters.codec_id);
    if (decoder == nullptr)
      fail(name_, " is encoded as ", avcodec_get_name(parameters.codec_id),
           ", which this build of libav cannot decode");
    codec_.reset(detail::libav_made(avcodec_alloc_context3(decoder)));
    check(avcodec_parameters_to_context(codec_.get(), &parameters));
    codec_->pkt_timebase = input_->stream().time_base;
    codec_->max_pixels = static_cast<std::int64_t>(std::min(limits_.max_pixels, std::size_t{INT64_MAX}));
    // Slice threads rather than frame threads, whose errors come late and belong to no packet.
    codec_->thread_type = FF_THREAD_SLICE;
    codec_->thread_count = 0;
    check(avcodec_open2(codec_.get(), decoder, nullptr));
    if (!frame_) frame_.reset(detail::libav_made(av_frame_alloc()));
    if (!packet_) packet_.reset(detail::libav_made(av_packet_alloc()));
    restarted(-1);
  }

  void restarted(std::int64_t decoded) {
    decoded_ = decoded;
    error_ = 0;
    held_ = ended_ = by_time_ = false;
  }

  void describe(std::optional<double> fps) {
    AVStream& stream = input_->stream();
    const auto rate = [&](AVRational number) {
      if (!fps && number.num > 0 && number.den > 0) fps = av_q2d(number);
    };
    rate(stream.avg_frame_rate);
    rate(av_guess_frame_rate(&input_->format(), &stream, nullptr));
    if (const std::int32_t* const matrix = display_matrix(stream)) orientation_ = detail::orientation_of(matrix);
    metadata_ = {
        .fps = fps, .height = stream.codecpar->height, .width = stream.codecpar->width, .video_backend = "libav"};
    if (orientation_ >= 5) std::swap(metadata_.height, metadata_.width);
  }

  static const std::int32_t* display_matrix(const AVStream& stream) {
    constexpr std::size_t size = 9 * sizeof(std::int32_t);
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(60, 31, 102)
    const AVPacketSideData* const data = av_packet_side_data_get(
        stream.codecpar->coded_side_data, stream.codecpar->nb_coded_side_data, AV_PKT_DATA_DISPLAYMATRIX);
    return data != nullptr && data->size >= size ? reinterpret_cast<const std::int32_t*>(data->data) : nullptr;
#else
    for (int i = 0; i < stream.nb_side_data; ++i) {
      const AVPacketSideData& data = stream.side_data[i];
      if (data.type == AV_PKT_DATA_DISPLAYMATRIX && static_cast<std::size_t>(data.size) >= size)
        return reinterpret_cast<const std::int32_t*>(data.data);
    }
    return nullptr;
#endif
  }

  /// Scans the packets: `times_` of all frames in presentation order, `keys_` those where decoding can begin. False if
  /// frames must be decoded to be counted.
  bool scan() {
    const AVCodecParameters& parameters = *input_->stream().codecpar;
    bool sure = one_frame_each(parameters);
    std::size_t packets = 0;
    int result = 0;
    while ((result = input_->read_packet(*packet_)) >= 0) {
      if (++packets > limits_.max_frames)
        fail(name_, " has more frames than the limit of ", limits_.max_frames, " (ImageLimits::max_frames)");
      const std::int64_t time = packet_->pts;
      const bool key = (packet_->flags & AV_PKT_FLAG_KEY) != 0;
      if (time == AV_NOPTS_VALUE || (packet_->flags & (AV_PKT_FLAG_CORRUPT | AV_PKT_FLAG_DISCARD)) != 0) sure = false;
      if (packets == 1 ? !key : time < times_.front()) sure = false;  // shown before it can be decoded
      times_.push_back(time);
      if (key) keys_.push_back(time);
    }
    if (packets == 0) fail(name_, " has a video without frames: ", detail::libav_error(result));
    std::sort(times_.begin(), times_.end());
    std::sort(keys_.begin(), keys_.end());
    if (std::adjacent_find(times_.begin(), times_.end()) != times_.end()) sure = false;
    const std::int64_t announced = input_->stream().nb_frames;
    return sure && result == AVERROR_EOF && (announced == 0 || announced == static_cast<std::int64_t>(packets));
  }

  /// Whether each packet of a sound file is one frame. Not if some packets are not shown (VP8, packed MPEG-4) or are
  /// half an image.
  static bool one_frame_each(const AVCodecParameters& parameters) {
    const AVCodecDescriptor* const codec = avcodec_descriptor_get(parameters.codec_id);
    if (codec != nullptr && (codec->props & AV_CODEC_PROP_INTRA_ONLY) != 0) return true;
    switch (parameters.codec_id) {
      case AV_CODEC_ID_H264:
      case AV_CODEC_ID_HEVC:
        return parameters.field_order == AV_FIELD_PROGRESSIVE || parameters.field_order == AV_FIELD_UNKNOWN;
      case AV_CODEC_ID_FFV1:
      case AV_CODEC_ID_PNG:
      case AV_CODEC_ID_VP9:
      case AV_CODEC_ID_AV1:
        return true;
      default:
        return false;
    }
  }

  // ---- decoding

  void check(int result) const {
    if (result < 0) fail(name_, " cannot be decoded: ", detail::libav_error(result));
  }

  std::string reason() const { return error_ == 0 ? "" : concat(" (", detail::libav_error(error_), ")"); }

  /// The next frame into `frame_`; false: there is none.
  bool decode_next() {
    for (;;) {
      int result = avcodec_receive_frame(codec_.get(), frame_.get());
      if (result >= 0) {
        ++decoded_;
        return true;
      }
      if (result == AVERROR_EOF || (ended_ && result == AVERROR(EAGAIN))) return false;
      if (result != AVERROR(EAGAIN)) {
        if (ended_) return false;
        error_ = result;
      }
      result = std::exchange(held_, false) ? 0 : input_->read_packet(*packet_);
      if (result < 0) {
        ended_ = true;
        result = avcodec_send_packet(codec_.get(), nullptr);
        if (result < 0 && result != AVERROR_EOF) return false;
        continue;
      }
      // Only the last packet may be truncated.
      if (error_ != 0) fail(name_, " is damaged: it cannot be decoded after ", decoded_ + 1, " frames", reason());
      result = avcodec_send_packet(codec_.get(), packet_.get());
      // In a file that begins within a scene, packets without their reference frames are skipped.
      const bool headless = decoded_ < 0 && (packet_->flags & AV_PKT_FLAG_KEY) == 0;
      if (result < 0 && !headless) error_ = result;
    }
  }

  /// Seeks to a key frame before the requested frame if that saves work, and decodes from there. False if the result is
  /// not as expected; the frame can then be reached by decoding from the current place.
  bool seek(std::int64_t index) {
    if (keys_.empty()) return false;
    const std::int64_t time = times_[static_cast<std::size_t>(index)];
    const auto after = std::upper_bound(keys_.begin(), keys_.end(), time);
    if (after == keys_.begin()) return go_on_by_time(index);
    const auto key = std::lower_bound(times_.begin(), times_.end(), *(after - 1)) - times_.begin();
    if (key <= decoded_ + least_jump) return go_on_by_time(index);
    AVFormatContext& format = input_->format();
    bool found = av_seek_frame(&format, input_->stream().index, *(after - 1), AVSEEK_FLAG_BACKWARD) >= 0;
    if (found) {
      avcodec_flush_buffers(codec_.get());
      restarted(-1);
      held_ = found = input_->read_packet(*packet_) >= 0 && (packet_->flags & AV_PKT_FLAG_KEY) != 0 &&
                      packet_->pts <= time && std::binary_search(times_.begin(), times_.end(), packet_->pts);
      by_time_ = true;
    }
    return (found && go_on_by_time(index)) || give_up_seeking();
  }

  /// After a seek, frames are identified by their times.
  bool go_on_by_time(std::int64_t index) {
    if (!by_time_) return false;
    while (decoded_ < index) {
      if (!decode_next()) return give_up_seeking();
      const std::int64_t time = frame_->best_effort_timestamp;
      const auto place = std::lower_bound(times_.begin(), times_.end(), time);
      if (place == times_.end() || *place != time) return give_up_seeking();
      decoded_ = place - times_.begin();
    }
    return decoded_ == index || give_up_seeking();
  }

  bool give_up_seeking() {
    keys_.clear();
    begin();
    return false;
  }

  /// The distance to a key frame from which seeking pays off.
  static constexpr std::int64_t least_jump = 16;

  std::unique_ptr<MappedFile> file_;  // at a fixed address, because libav reads through it
  std::string name_;
  ImageLimits limits_;
  VideoMetadata metadata_;
  int orientation_ = 1;
  std::vector<std::int64_t> times_, keys_;
  std::unique_ptr<detail::LibavInput> input_;
  detail::LibavPtr<AVCodecContext> codec_;
  detail::LibavPtr<AVFrame> frame_;
  detail::LibavPtr<AVPacket> packet_;
  detail::LibavConverter convert_;
  std::int64_t decoded_ = -1;  // the frame in frame_
  bool current_ = true;        // whether decoding can continue from there
  bool ended_ = false;         // the decoder has all packets
  bool held_ = false;          // packet_ has not been given to it yet
  bool by_time_ = false;
  int error_ = 0;  // of the last packet
  Image image_;
  std::int64_t shown_ = -1;  // the frame in image_
};

/// A VideoOpener.
inline Video open_with_libav(MappedFile file, std::string name, std::optional<double> fps, const ImageLimits& limits) {
  return LibavVideo(std::move(file), std::move(name), fps, limits);
}

}  // namespace qwen3vl

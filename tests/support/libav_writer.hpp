/// Writes video files for tests, through libav's encoders.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "qwen3vl/io/image/image_file.hpp"
#include "qwen3vl/io/video/libav_input.hpp"

extern "C" {
#include <libavutil/frame.h>
#include <libavutil/opt.h>
}

namespace qwen3vl::test {

struct WriterOptions {
  std::string codec;
  AVPixelFormat format{};
  AVRational rate{25, 1};             ///< frames per second; frame i is shown at i / rate ...
  std::vector<std::int64_t> times{};  ///< ... unless this says when, in 1 / rate
  int key_every = 12, b_frames = 0;
  std::vector<std::int32_t> matrix{};  ///< the display matrix
  AVColorSpace space = AVCOL_SPC_UNSPECIFIED;
  AVColorRange range = AVCOL_RANGE_UNSPECIFIED;
  std::map<std::string, std::string> codec_options{}, muxer_options{};
  std::function<bool(const AVPacket&, int)> keep{};  ///< which packets, in the order of decoding, are written
};

inline void must(int result, const char* what) {
  if (result < 0) fail("the test's writer: ", what, ": ", detail::libav_error(result));
}

/// Whether this libav has an encoder.
inline bool has_encoder(const std::string& name) { return avcodec_find_encoder_by_name(name.c_str()) != nullptr; }

/// Writes `count` frames, which `paint` fills in (pixel format of the options), to a file whose format its name says.
inline void write_video(const std::filesystem::path& path, const WriterOptions& options, int width, int height,
                        int count, const std::function<void(AVFrame&, int)>& paint) {
  const detail::LibavSilence silence;
  const AVCodec* const encoder = avcodec_find_encoder_by_name(options.codec.c_str());
  if (encoder == nullptr) fail("the test's writer: no encoder ", options.codec);
  AVFormatContext* format = nullptr;
  must(avformat_alloc_output_context2(&format, nullptr, nullptr, path.c_str()), "format");
  const std::unique_ptr<AVFormatContext, void (*)(AVFormatContext*)> format_owner(format, [](AVFormatContext* f) {
    avio_closep(&f->pb);
    avformat_free_context(f);
  });
  AVStream* const stream = detail::libav_made(avformat_new_stream(format, nullptr));
  const detail::LibavPtr<AVCodecContext> codec(detail::libav_made(avcodec_alloc_context3(encoder)));
  codec->width = width;
  codec->height = height;
  codec->pix_fmt = options.format;
  codec->time_base = av_inv_q(options.rate);
  codec->framerate = options.rate;
  codec->gop_size = options.key_every;
  codec->max_b_frames = options.b_frames;
  codec->colorspace = options.space;
  codec->color_range = options.range;
  codec->bit_rate = 2'000'000;
  codec->thread_count = 1;
  codec->strict_std_compliance = FF_COMPLIANCE_EXPERIMENTAL;
  if ((format->oformat->flags & AVFMT_GLOBALHEADER) != 0) codec->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
  for (const auto& [key, value] : options.codec_options)
    must(av_opt_set(codec.get(), key.c_str(), value.c_str(), AV_OPT_SEARCH_CHILDREN), key.c_str());
  must(avcodec_open2(codec.get(), encoder, nullptr), "codec");
  must(avcodec_parameters_from_context(stream->codecpar, codec.get()), "parameters");
  stream->time_base = codec->time_base;
  if (options.times.empty()) stream->avg_frame_rate = options.rate;
  if (!options.matrix.empty()) {
    constexpr std::size_t size = 9 * sizeof(std::int32_t);
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(60, 31, 102)
    auto* const matrix = reinterpret_cast<std::int32_t*>(av_packet_side_data_new(&stream->codecpar->coded_side_data,
                                                                                 &stream->codecpar->nb_coded_side_data,
                                                                                 AV_PKT_DATA_DISPLAYMATRIX, size, 0)
                                                             ->data);
#else
    auto* const matrix =
        reinterpret_cast<std::int32_t*>(av_stream_new_side_data(stream, AV_PKT_DATA_DISPLAYMATRIX, size));
#endif
    std::copy_n(options.matrix.data(), 9, matrix);
  }
  must(avio_open(&format->pb, path.c_str(), AVIO_FLAG_WRITE), "file");
  AVDictionary* muxer = nullptr;
  for (const auto& [key, value] : options.muxer_options) av_dict_set(&muxer, key.c_str(), value.c_str(), 0);
  const int written = avformat_write_header(format, &muxer);
  av_dict_free(&muxer);
  must(written, "header");

  const detail::LibavPtr<AVFrame> frame(detail::libav_made(av_frame_alloc()));
  const detail::LibavPtr<AVPacket> packet(detail::libav_made(av_packet_alloc()));
  int packets = 0;
  const auto encode = [&](AVFrame* next) {
    must(avcodec_send_frame(codec.get(), next), "encode");
    while (avcodec_receive_packet(codec.get(), packet.get()) >= 0) {
      if (options.keep && !options.keep(*packet, packets++)) continue;
      if (packet->duration == 0) packet->duration = 1;
      av_packet_rescale_ts(packet.get(), codec->time_base, stream->time_base);
      packet->stream_index = 0;
      must(av_interleaved_write_frame(format, packet.get()), "write");
    }
  };
  for (int i = 0; i < count; ++i) {
    av_frame_unref(frame.get());
    frame->format = options.format;
    frame->width = width;
    frame->height = height;
    frame->colorspace = options.space;
    frame->color_range = options.range;
    must(av_frame_get_buffer(frame.get(), 0), "frame");
    paint(*frame, i);
    frame->pts = options.times.empty() ? i : options.times[static_cast<std::size_t>(i)];
    encode(frame.get());
  }
  encode(nullptr);
  must(av_write_trailer(format), "trailer");
}

/// Copies RGB pixels into a frame of an RGB format, byte by byte.
inline void put_rgb(AVFrame& frame, const Image& image) {
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      const std::uint8_t* const rgb = image.pixels.data() + image.offset(y, x);
      const auto at = [&](int plane, int step) { return frame.data[plane] + y * frame.linesize[plane] + x * step; };
      switch (frame.format) {
        case AV_PIX_FMT_RGB24:
          std::memcpy(at(0, 3), rgb, 3);
          break;
        case AV_PIX_FMT_BGR24:
          for (int c = 0; c < 3; ++c) at(0, 3)[c] = rgb[2 - c];
          break;
        case AV_PIX_FMT_RGBA:
          std::memcpy(at(0, 4), rgb, 3);
          at(0, 4)[3] = static_cast<std::uint8_t>(x * 7 + y);
          break;
        case AV_PIX_FMT_BGR0:
          for (int c = 0; c < 3; ++c) at(0, 4)[c] = rgb[2 - c];
          at(0, 4)[3] = 0;
          break;
        case AV_PIX_FMT_GBRP:
          *at(0, 1) = rgb[1];
          *at(1, 1) = rgb[2];
          *at(2, 1) = rgb[0];
          break;
        case AV_PIX_FMT_GRAY8:
          *at(0, 1) = rgb[0];
          break;
        default:
          fail("the test's writer: no RGB format");
      }
    }
  }
}

}  // namespace qwen3vl::test

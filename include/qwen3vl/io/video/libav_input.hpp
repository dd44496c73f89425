/// A restricted use of libav (FFmpeg's libraries): owners of its objects, its errors as ours, its log off, and files
/// read from memory, so that it never opens anything itself. Needs libavformat, libavcodec and libavutil.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/mapped_file.hpp"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/avstring.h>
#include <libavutil/log.h>
}

namespace qwen3vl::detail {

/// What libav says about one of its error numbers.
inline std::string libav_error(int error) {
  std::array<char, AV_ERROR_MAX_STRING_SIZE> text{};
  av_strerror(error, text.data(), text.size());
  return text.data();
}

/// Suppresses libav's messages on stderr during its lifetime. The log level is global to the process: the first of
/// several instances (in threads) turns it off, the last restores what the first found, even if the program set it
/// meanwhile.
class LibavSilence {
 public:
  LibavSilence() {
    const std::lock_guard lock(state().mutex);
    if (state().users++ > 0) return;
    state().level = av_log_get_level();
    av_log_set_level(AV_LOG_QUIET);
  }
  LibavSilence(const LibavSilence&) = delete;
  LibavSilence& operator=(const LibavSilence&) = delete;
  ~LibavSilence() {
    const std::lock_guard lock(state().mutex);
    if (--state().users == 0) av_log_set_level(state().level);
  }

 private:
  struct State {
    std::mutex mutex;
    int users = 0, level = 0;
  };
  static State& state() {
    static State all;
    return all;
  }
};

struct LibavFree {
  void operator()(AVFrame* frame) const { av_frame_free(&frame); }
  void operator()(AVPacket* packet) const { av_packet_free(&packet); }
  void operator()(AVCodecContext* codec) const { avcodec_free_context(&codec); }
  void operator()(AVFormatContext* format) const { avformat_close_input(&format); }
  void operator()(AVIOContext* io) const {
    av_freep(&io->buffer);  // libav may have replaced the original buffer
    avio_context_free(&io);
  }
};
template <class T>
using LibavPtr = std::unique_ptr<T, LibavFree>;

/// For libav functions that return null when out of memory.
template <class T>
T* libav_made(T* made) {
  if (made == nullptr) fail("libav is out of memory");
  return made;
}

/// A video file, opened: its format, its video stream and the packets of that. Not movable, because libav keeps its
/// address.
class LibavInput {
 public:
  /// `file` must outlive this. Throws Error.
  LibavInput(const MappedFile& file, std::string name, std::size_t max_pixels) : file_(file), name_(std::move(name)) {
    reset_budget();
    io_.reset(libav_made(avio_alloc_context(static_cast<unsigned char*>(libav_made(av_malloc(buffer_size))),
                                            buffer_size, 0, this, &LibavInput::read, nullptr, &LibavInput::seek)));
    const AVInputFormat* const kind = probe();
    open(kind);
    find_streams(max_pixels);
  }
  LibavInput(const LibavInput&) = delete;
  LibavInput& operator=(const LibavInput&) = delete;

  AVFormatContext& format() { return *format_; }
  AVStream& stream() { return *format_->streams[stream_]; }

  /// Reads the next packet of the video stream; a negative result is libav's reason for none.
  int read_packet(AVPacket& packet) {
    for (;;) {
      av_packet_unref(&packet);
      const int result = av_read_frame(format_.get(), &packet);
      if (result < 0 || packet.stream_index == stream_) return result;
    }
  }

  /// Sets how much one operation may read. A file can make libav seek back and forth forever; 64 times the file (and
  /// 256 MiB) is more than honest files need.
  void reset_budget() { budget_ = file_.bytes().size() * std::uint64_t{64} + (std::uint64_t{1} << 28); }

 private:
  static constexpr int buffer_size = 1 << 15;
  /// Formats that refer to other files or are not files.
  static constexpr const char* refused_formats =
      "hls,applehttp,dash,concat,concatf,image2,imf,sdp,rtsp,rtp,sap,lavfi,avisynth,vapoursynth,webm_dash_manifest";

  [[noreturn]] void unreadable(int error) const {
    if (refused_) fail(name_, " is a list of other files, which are not opened; give the video file itself");
    fail(name_, " is no video that libav can read, or damaged: ", libav_error(error));
  }

  const AVInputFormat* probe() {
#if LIBAVFORMAT_VERSION_MAJOR < 59
    AVInputFormat* kind = nullptr;
#else
    const AVInputFormat* kind = nullptr;
#endif
    // By content only: no name is given, because some formats are recognised by name alone.
    const int result = av_probe_input_buffer2(io_.get(), &kind, "", nullptr, 0, 0);
    if (result < 0) unreadable(result);
    if (av_match_name(kind->name, refused_formats) != 0)
      fail(name_, " is a list of other files (", kind->name, "), which are not opened; give the video file itself");
    if (std::string_view(kind->name).ends_with("_pipe"))
      fail(name_, " is an image (", kind->name, "), not a video; give a folder of numbered images");
    return kind;
  }

  void open(const AVInputFormat* kind) {
    AVFormatContext* format = libav_made(avformat_alloc_context());
    format->pb = io_.get();
    format->opaque = this;
    // Files that a file names would be opened through this, or, by a format of formats, through a protocol.
    format->io_open = &LibavInput::refuse;
    AVDictionary* options = nullptr;
    av_dict_set(&options, "protocol_whitelist", "none", 0);
#if LIBAVFORMAT_VERSION_MAJOR < 59
    const int result = avformat_open_input(&format, "", const_cast<AVInputFormat*>(kind), &options);
#else
    const int result = avformat_open_input(&format, "", kind, &options);
#endif
    av_dict_free(&options);
    if (result < 0) unreadable(result);  // libav has freed the format
    format_.reset(format);
  }

  void find_streams(std::size_t max_pixels) {
    // libav decodes some frames to find what the header omits; the limit applies there too.
    std::vector<AVDictionary*> options(format_->nb_streams, nullptr);
    const std::string limit = std::to_string(max_pixels);
    for (AVDictionary*& each : options) av_dict_set(&each, "max_pixels", limit.c_str(), 0);
    int result = avformat_find_stream_info(format_.get(), options.empty() ? nullptr : options.data());
    for (AVDictionary*& each : options) av_dict_free(&each);
    if (result < 0 || refused_) unreadable(result);
    result = av_find_best_stream(format_.get(), AVMEDIA_TYPE_VIDEO, -1, -1, nullptr, 0);
    if (result < 0 || (format_->streams[result]->disposition & AV_DISPOSITION_ATTACHED_PIC) != 0)
      fail(name_, " has no video in it");
    stream_ = result;
    for (unsigned i = 0; i < format_->nb_streams; ++i)
      if (static_cast<int>(i) != stream_) format_->streams[i]->discard = AVDISCARD_ALL;
  }

  static int refuse(AVFormatContext* format, AVIOContext**, const char*, int, AVDictionary**) {
    static_cast<LibavInput*>(format->opaque)->refused_ = true;
    return AVERROR(EACCES);
  }

  static int read(void* opaque, std::uint8_t* to, int size) {
    LibavInput& self = *static_cast<LibavInput*>(opaque);
    const auto bytes = self.file_.bytes();
    if (self.position_ >= bytes.size()) return AVERROR_EOF;
    const std::size_t count = std::min(static_cast<std::size_t>(size), bytes.size() - self.position_);
    if (count > self.budget_) return AVERROR(EIO);
    std::memcpy(to, bytes.data() + self.position_, count);
    self.budget_ -= count;
    self.position_ += count;
    return static_cast<int>(count);
  }

  /// As lseek: positions beyond the end are allowed and read nothing.
  static std::int64_t seek(void* opaque, std::int64_t offset, int whence) {
    LibavInput& self = *static_cast<LibavInput*>(opaque);
    const auto size = static_cast<std::int64_t>(self.file_.bytes().size());
    whence &= ~AVSEEK_FORCE;
    if (whence == AVSEEK_SIZE) return size;
    const std::int64_t from = whence == SEEK_END ? size : whence == SEEK_CUR ? std::int64_t(self.position_) : 0;
    if (offset < -from || offset > INT64_MAX - from) return AVERROR(EINVAL);
    self.position_ = static_cast<std::size_t>(from + offset);
    return from + offset;
  }

  const MappedFile& file_;
  std::string name_;
  std::size_t position_ = 0;
  std::uint64_t budget_ = 0;
  bool refused_ = false;
  int stream_ = -1;
  LibavPtr<AVIOContext> io_;  // freed after the format
  LibavPtr<AVFormatContext> format_;
};

}  // namespace qwen3vl::detail

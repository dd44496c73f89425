/// An animated GIF as a video. Frames are composed as in FFmpeg, whose decoder the reference's libraries use. Not
/// stb_image's reader, which decodes all frames at once and has open memory errors in its released versions.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/mapped_file.hpp"
#include "qwen3vl/io/image/gif_lzw.hpp"
#include "qwen3vl/io/image/image_kind.hpp"
#include "qwen3vl/io/video/frame_source.hpp"

namespace qwen3vl {

/// Whether a file has a GIF signature.
inline bool is_gif(std::span<const std::byte> file) { return image_kind(file) == ImageKind::gif; }

/// The frames of a GIF as RGB, transparency over white. One image is in memory, that of the last requested frame; later
/// frames are painted over it, an earlier one restarts. The frame rate is FFmpeg's: from the mean delay in whole
/// hundredths of a second, 0 counting as 10; unknown if no frame has a delay.
class GifFile {
 public:
  /// Scans the file without decoding frames. Throws Error that names the file and says what is wrong.
  explicit GifFile(const std::filesystem::path& path, std::optional<double> fps = std::nullopt,
                   const ImageLimits& limits = {})
      : GifFile(MappedFile::open(path), path.string(), fps, limits) {}

  GifFile(MappedFile file, std::string name, std::optional<double> fps = std::nullopt, const ImageLimits& limits = {})
      : file_(std::move(file)), name_(std::move(name)) {
    if (file_.bytes().size() > limits.max_file_bytes)
      fail(name_, " has ", file_.bytes().size(), " bytes, more than the limit of ", limits.max_file_bytes,
           " (ImageLimits::max_file_bytes)");
    if (!is_gif(file_.bytes())) fail(name_, " is not a GIF");
    scan(fps, limits);
  }

  const VideoMetadata& metadata() const { return metadata_; }

  const Image& frame(std::int64_t index) {
    if (index < 0 || index >= metadata_.total_num_frames)
      fail("frame ", index, " of a video of ", metadata_.total_num_frames, " frames");
    if (index < painted_) painted_ = -1;
    while (painted_ < index) {
      const std::int64_t next = painted_ + 1;
      painted_ = -1;  // restart if this one cannot be decoded
      if (next == 0) begin();
      paint(static_cast<std::size_t>(next));
      painted_ = next;
    }
    return canvas_;
  }

 private:
  enum class Disposal : std::uint8_t { keep, background, restore };

  struct Rect {
    std::uint16_t left, top, width, height;
  };

  /// A frame's place in the image and in the file.
  struct Frame : Rect {
    std::size_t palette, data, data_size;  // in the file: the palette, the blocks of codes
    std::uint16_t colours;
    std::int16_t transparent;  // a colour index, or -1
    std::uint8_t colour_bits;
    bool interlaced;
    Disposal disposal;
  };

  using Colour = std::array<std::uint8_t, 3>;
  static constexpr Colour white{255, 255, 255}, black{0, 0, 0};

  // ---- scanning the file

  std::uint8_t byte(std::size_t at) const {
    if (at >= file_.bytes().size()) damaged("it ends early");
    return std::to_integer<std::uint8_t>(file_.bytes()[at]);
  }
  std::uint16_t number(std::size_t at) const { return static_cast<std::uint16_t>(byte(at) | byte(at + 1) << 8); }
  Colour colour(std::size_t at) const { return {byte(at), byte(at + 1), byte(at + 2)}; }

  /// The end of a chain of data blocks, including the terminating empty one.
  std::size_t skip_blocks(std::size_t at) const {
    while (const std::size_t size = byte(at)) at += size + 1;
    return at + 1;
  }

  [[noreturn]] void damaged(std::string_view how) const {
    if (frames_.empty()) fail(name_, " is damaged: ", how);
    fail(name_, " is damaged after frame ", frames_.size() - 1, ": ", how);
  }

  void scan(std::optional<double> fps, const ImageLimits& limits) {
    const std::size_t width = number(6), height = number(8);
    if (width < 1 || height < 1 || width > limits.max_pixels / height)
      fail(name_, " is a video of ", width, " x ", height, ", which is nothing or over the limit of ",
           limits.max_pixels, " pixels (ImageLimits::max_pixels)");
    const auto table_size = [](int flags) { return flags & 0x80 ? std::size_t{2} << (flags & 7) : std::size_t{0}; };
    const std::size_t colours = table_size(byte(10)), palette = 13;
    std::size_t at = palette + colours * 3;
    if (colours > 0) background_ = byte(11) < colours ? colour(palette + byte(11) * std::size_t{3}) : black;

    std::uint64_t pixels = 0, hundredths = 0, delays = 0;
    Frame next{};
    int delay = -1;  // in hundredths of a second; -1: unspecified
    const auto forget = [&] {
      next = {};
      next.transparent = -1;
      delay = -1;
    };
    forget();
    const std::size_t size = file_.bytes().size();
    // The trailer byte is often missing; ending between frames is accepted too.
    for (std::uint8_t kind = 0; at < size && (kind = byte(at)) != 0x3b;) {
      if (kind == 0x21) {  // an extension; the graphic control extension says how the next frame is shown
        if (byte(at + 1) == 0xf9 && byte(at + 2) == 4) {
          const int flags = byte(at + 3), disposal = flags >> 2 & 7;
          next.disposal = disposal == 2 ? Disposal::background : disposal == 3 ? Disposal::restore : Disposal::keep;
          delay = number(at + 4);
          next.transparent = flags & 1 ? static_cast<std::int16_t>(byte(at + 6)) : std::int16_t{-1};
        }
        at = skip_blocks(at + 2);
      } else if (kind == 0x2c) {
        if (frames_.size() >= limits.max_frames)
          fail(name_, " has more frames than the limit of ", limits.max_frames, " (ImageLimits::max_frames)");
        next.left = number(at + 1), next.top = number(at + 3), next.width = number(at + 5),
        next.height = number(at + 7);
        const int flags = byte(at + 9);
        next.interlaced = (flags & 0x40) != 0;
        const std::size_t own = table_size(flags);
        next.colours = static_cast<std::uint16_t>(own > 0 ? own : colours);
        next.palette = own > 0 ? at + 10 : palette;
        at += 10 + own * 3;
        if (next.colours == 0) damaged("a frame without colours");
        if (next.width == 0 || next.height == 0) damaged("a frame without pixels");
        next.colour_bits = byte(at++);
        if (next.colour_bits < 1 || next.colour_bits > 8)
          damaged(concat("a frame whose codes begin with ", int{next.colour_bits}, " bits"));
        pixels += std::uint64_t{next.width} * next.height;
        if (pixels > limits.max_gif_pixels)
          fail(name_, " has frames of more pixels than the limit of ", limits.max_gif_pixels,
               " (ImageLimits::max_gif_pixels)");
        next.data = at;
        at = skip_blocks(at);
        next.data_size = at - next.data;
        if (delay >= 0) hundredths += static_cast<std::uint64_t>(delay == 0 ? 10 : delay), ++delays;
        frames_.push_back(next);
        forget();
      } else {
        damaged(concat("byte ", at, " begins neither a frame nor an extension"));
      }
    }
    if (frames_.empty()) damaged("it has no frames");
    if (!fps && delays > 0) {
      const std::uint64_t mean = hundredths / delays;  // integer division, as in FFmpeg
      fps = 100.0 / static_cast<double>(mean);
    }
    metadata_ = {.total_num_frames = static_cast<std::int64_t>(frames_.size()),
                 .fps = fps,
                 .height = static_cast<int>(height),
                 .width = static_cast<int>(width),
                 .video_backend = "gif"};
  }

  // ---- painting

  void begin() {
    canvas_ = {.height = metadata_.height, .width = metadata_.width, .channels = 3, .pixels = {}};
    canvas_.resize_pixels();
    const Rect whole{0, 0, static_cast<std::uint16_t>(canvas_.width), static_cast<std::uint16_t>(canvas_.height)};
    fill(whole, frames_[0].transparent < 0 && background_ ? *background_ : white);
  }

  /// The part of a frame inside the image; frames may extend beyond it.
  int visible_width(const Rect& frame) const { return std::clamp(canvas_.width - frame.left, 0, int{frame.width}); }
  int visible_height(const Rect& frame) const { return std::clamp(canvas_.height - frame.top, 0, int{frame.height}); }

  template <class F>
  void for_each_row(const Rect& frame, F&& f) {
    const int width = visible_width(frame);
    if (width == 0) return;
    for (int y = 0; y < visible_height(frame); ++y)
      f(canvas_.pixels.data() + canvas_.offset(frame.top + y, frame.left), static_cast<std::size_t>(width) * 3);
  }

  void fill(const Rect& frame, const Colour& colour) {
    for_each_row(frame, [&](std::uint8_t* row, std::size_t bytes) {
      for (std::size_t i = 0; i < bytes; i += 3) std::ranges::copy(colour, row + i);
    });
  }

  void paint(std::size_t index) {
    if (index > 0) dispose(frames_[index - 1]);
    const Frame& frame = frames_[index];
    if (frame.disposal == Disposal::restore) {
      saved_.clear();
      for_each_row(frame, [&](std::uint8_t* row, std::size_t bytes) { saved_.insert(saved_.end(), row, row + bytes); });
    }
    std::array<Colour, 256> palette{};  // black beyond the file's palette
    for (std::size_t i = 0; i < frame.colours; ++i) palette[i] = colour(frame.palette + i * 3);

    const auto* const data = reinterpret_cast<const std::uint8_t*>(file_.bytes().data()) + frame.data;
    detail::GifLzw codes({data, frame.data_size}, frame.colour_bits);
    std::span<const std::uint8_t> colours;
    const int shown_width = visible_width(frame), shown_height = visible_height(frame);
    detail::GifRows rows(frame.height, frame.interlaced);
    for (int i = 0; i < frame.height; ++i) {
      const int y = rows.next();
      std::uint8_t* const row = y < shown_height && shown_width > 0
                                    ? canvas_.pixels.data() + canvas_.offset(frame.top + y, frame.left)
                                    : nullptr;
      for (int x = 0; x < frame.width;) {
        if (colours.empty() && (colours = codes.next()).empty())
          fail(name_, " is damaged: the data of frame ", index, " ends or breaks off in row ", i, " of ", frame.height);
        const auto run = std::min<std::size_t>(colours.size(), static_cast<std::size_t>(frame.width - x));
        for (std::size_t j = 0; j < run && row != nullptr; ++j) {
          const int place = x + static_cast<int>(j);
          if (colours[j] != frame.transparent && place < shown_width)
            std::ranges::copy(palette[colours[j]], row + std::ptrdiff_t{place} * 3);
        }
        colours = colours.subspan(run);
        x += static_cast<int>(run);
      }
    }
  }

  /// Disposes of a frame before the next one.
  void dispose(const Frame& frame) {
    if (frame.disposal == Disposal::background)
      fill(frame, frame.transparent < 0 ? background_.value_or(black) : white);
    if (frame.disposal == Disposal::restore) {
      auto from = saved_.begin();
      for_each_row(frame, [&](std::uint8_t* row, std::size_t bytes) {
        std::copy_n(from, bytes, row);
        from += static_cast<std::ptrdiff_t>(bytes);
      });
    }
  }

  MappedFile file_;
  std::string name_;
  VideoMetadata metadata_;
  std::vector<Frame> frames_;
  std::optional<Colour> background_;  // none without a global palette
  Image canvas_;
  std::vector<std::uint8_t> saved_;  // the pixels under a frame that will be undone
  std::int64_t painted_ = -1;        // the frame that the canvas shows
};

}  // namespace qwen3vl

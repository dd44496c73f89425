/// Frames of libav as RGB images. Needs libswscale and libavutil.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/io/image/image_file.hpp"

extern "C" {
#include <libavutil/display.h>
#include <libavutil/frame.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
}

namespace qwen3vl::detail {

/// Converts frames to RGB. YUV is converted with the frame's colour space (BT.601 and narrow range if unspecified, as
/// in swscale), and with the flags that PyAV and torchcodec give swscale, so that pixels are theirs. RGB is copied bit
/// for bit; transparency is dropped.
class LibavConverter {
 public:
  Image operator()(const AVFrame& frame) {
    prepare(frame);
    Image image{.height = frame.height, .width = frame.width, .channels = 3, .pixels = {}};
    const std::size_t row = image.offset(0, frame.width), stride = (row + 127) / 64 * 64;
    // swscale's vector code may write past the end of a row, so it does not write to the image's own pixels.
    rows_.resize(stride * static_cast<std::size_t>(frame.height) + 64);
    std::uint8_t* const to[4] = {rows_.data(), nullptr, nullptr, nullptr};
    const int strides[4] = {static_cast<int>(stride), 0, 0, 0};
    if (sws_scale(scaler_.get(), frame.data, frame.linesize, 0, frame.height, to, strides) != frame.height)
      fail("a frame cannot be converted to RGB");
    image.reserve_pixels();
    for (int y = 0; y < frame.height; ++y) {
      const std::uint8_t* const from = rows_.data() + stride * static_cast<std::size_t>(y);
      image.pixels.insert(image.pixels.end(), from, from + row);
    }
    return image;
  }

 private:
  struct Free {
    void operator()(SwsContext* scaler) const { sws_freeContext(scaler); }
  };
  struct Kind {
    int width, height, format;
    AVColorSpace space;
    AVColorRange range;
    bool operator==(const Kind&) const = default;
  };

  void prepare(const AVFrame& frame) {
    const Kind kind{frame.width, frame.height, frame.format, frame.colorspace, frame.color_range};
    if (scaler_ && kind == kind_) return;
    const auto format = static_cast<AVPixelFormat>(frame.format);
    const AVPixFmtDescriptor* const about = av_pix_fmt_desc_get(format);
    scaler_.reset(sws_getContext(frame.width, frame.height, format, frame.width, frame.height, AV_PIX_FMT_RGB24,
                                 SWS_BILINEAR, nullptr, nullptr, nullptr));
    if (!scaler_ || about == nullptr)
      fail("frames of the pixel format ", about != nullptr ? about->name : "?", " and ", frame.width, " x ",
           frame.height, " pixels cannot be converted to RGB");
    kind_ = kind;
    if ((about->flags & (AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL)) != 0) return;
    int *from_table = nullptr, *to_table = nullptr;
    int from_range = 0, to_range = 0, brightness = 0, contrast = 0, saturation = 0;
    if (sws_getColorspaceDetails(scaler_.get(), &from_table, &from_range, &to_table, &to_range, &brightness, &contrast,
                                 &saturation) < 0)
      return;
    // If the frame does not say, the pixel format decides.
    if (frame.color_range == AVCOL_RANGE_JPEG) from_range = 1;
    if (frame.color_range == AVCOL_RANGE_MPEG) from_range = 0;
    sws_setColorspaceDetails(scaler_.get(), sws_getCoefficients(frame.colorspace), from_range, to_table, to_range,
                             brightness, contrast, saturation);
  }

  std::unique_ptr<SwsContext, Free> scaler_;
  Kind kind_{};
  std::vector<std::uint8_t> rows_;
};

/// The EXIF orientation (see upright) of a display matrix: rounded to the nearest quarter turn, as in torchcodec;
/// mirrored images are left alone.
inline int orientation_of(const std::int32_t* display_matrix) {
  const double degrees = av_display_rotation_get(display_matrix);  // counterclockwise
  if (!std::isfinite(degrees)) return 1;
  switch ((static_cast<int>(std::lround(degrees / 90.0)) % 4 + 4) % 4) {
    case 1:
      return 8;
    case 2:
      return 3;
    case 3:
      return 6;
    default:
      return 1;
  }
}

}  // namespace qwen3vl::detail

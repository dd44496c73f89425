/// The decoders of the CMake targets that a program links: libjpeg-turbo (qwen3vl::jpeg), libwebp (qwen3vl::webp),
/// FFmpeg's libraries (qwen3vl::video), any of them.
#pragma once

#include "qwen3vl/io/video/media_readers.hpp"
#if defined(QWEN3VL_HAVE_TURBOJPEG) && QWEN3VL_HAVE_TURBOJPEG
#include "qwen3vl/io/image/turbojpeg_image.hpp"
#endif
#if defined(QWEN3VL_HAVE_LIBWEBP) && QWEN3VL_HAVE_LIBWEBP
#include "qwen3vl/io/image/webp_image.hpp"
#endif
#if defined(QWEN3VL_HAVE_LIBAV) && QWEN3VL_HAVE_LIBAV
#include "qwen3vl/io/video/libav_video.hpp"
#endif

namespace qwen3vl {

/// Hand it on: open_video(path, {.readers = linked_readers()}), ProcessorOptions{.readers = linked_readers()}.
///
/// The one function of the library that depends on these definitions. It is static, because a program may have files
/// compiled with and without them: each has its own, where inline functions that differ would be an error that no tool
/// reports. For the same reason no inline function, default argument or member of the library may call it.
static inline MediaReaders linked_readers() {
  MediaReaders readers;
#if defined(QWEN3VL_HAVE_TURBOJPEG) && QWEN3VL_HAVE_TURBOJPEG
  readers.jpeg = decode_by_turbojpeg;
#endif
#if defined(QWEN3VL_HAVE_LIBWEBP) && QWEN3VL_HAVE_LIBWEBP
  readers.webp = decode_by_libwebp;
#endif
#if defined(QWEN3VL_HAVE_LIBAV) && QWEN3VL_HAVE_LIBAV
  readers.video = open_with_libav;
#endif
  return readers;
}

}  // namespace qwen3vl

/// The place where a decoder of video files is plugged in. The library itself reads folders of images and GIFs.
#pragma once

#include <atomic>
#include <optional>
#include <string>

#include "qwen3vl/base/mapped_file.hpp"
#include "qwen3vl/io/video/frame_source.hpp"

namespace qwen3vl {

/// Opens a video file; `name` is for messages, `fps` replaces the file's frame rate. Throws Error.
using VideoOpener = Video (*)(MappedFile file, std::string name, std::optional<double> fps, const ImageLimits& limits);

/// What open_video calls for files that it cannot read by itself; none to begin with. Including
/// io/video/libav_video.hpp sets it to libav; a program may set its own.
///
/// A variable of the running program, not an `#if` in open_video: a program may be made of files some of which are
/// compiled with libav and some without. Were open_video (or Processor, which calls it) different in the two, that
/// would be two definitions of one function, and the linker would keep either.
inline std::atomic<VideoOpener> video_opener{nullptr};

}  // namespace qwen3vl

/// Decoders that the library does not have itself, as values that are handed to what reads files.
#pragma once

#include <optional>
#include <string>

#include "qwen3vl/base/mapped_file.hpp"
#include "qwen3vl/io/image/image.hpp"
#include "qwen3vl/io/video/frame_source.hpp"

namespace qwen3vl {

/// Opens a video file; `name` is for messages, `fps` replaces the file's frame rate. Throws Error.
using VideoOpener = Video (*)(MappedFile file, std::string name, std::optional<double> fps, const ImageLimits& limits);

/// What reads images and videos that need a library. linked_readers() (io/video/linked_readers.hpp) has those that a
/// program links.
struct MediaReaders : ImageReaders {
  VideoOpener video = nullptr;  ///< null: video files are an Error; folders of images and GIFs are read all the same
};

}  // namespace qwen3vl

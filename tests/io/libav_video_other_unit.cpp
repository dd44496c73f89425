// A file of a program with libav that is itself compiled without: both must be one open_video, see video_opener.hpp.
#undef QWEN3VL_HAVE_LIBAV
#include "qwen3vl/io/video/video_file.hpp"

std::int64_t frames_counted_without_libav(const std::filesystem::path& path) {
  return qwen3vl::open_video(path).metadata().total_num_frames;
}

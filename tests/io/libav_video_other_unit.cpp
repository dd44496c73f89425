// A source file compiled without libav in a program that has it: its linked_readers() has no video reader, but readers
// that are passed in work all the same.
#undef QWEN3VL_HAVE_LIBAV
#include "qwen3vl/io/video/linked_readers.hpp"
#include "qwen3vl/io/video/video_file.hpp"

std::int64_t frames_counted_without_libav(const std::filesystem::path& path, const qwen3vl::MediaReaders* readers) {
  const qwen3vl::VideoFileOptions options{.readers = readers != nullptr ? *readers : qwen3vl::linked_readers()};
  return qwen3vl::open_video(path, options).metadata().total_num_frames;
}

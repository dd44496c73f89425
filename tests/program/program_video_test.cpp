// The program on video files: the videos of the trained checkpoints, encoded without loss, give the expected answers.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE program_video
#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

#include "qwen3vl/io/video/frame_folder.hpp"
#include "qwen3vl/processing/image/convert_rgb.hpp"
#include "support/libav_writer.hpp"
#include "support/program_run.hpp"

using namespace qwen3vl::test;

namespace {

/// The images of a folder as a file of the same frame rate.
void encode(const fs::path& video, const fs::path& file) {
  qwen3vl::FrameFolder folder(video);
  std::vector<qwen3vl::Image> frames;
  for (std::int64_t i = 0; i < folder.metadata().total_num_frames; ++i)
    frames.push_back(qwen3vl::convert_to_rgb(folder.frame(i)));
  const WriterOptions options{
      .codec = "ffv1", .format = AV_PIX_FMT_BGR0, .rate = av_d2q(folder.metadata().fps.value(), 1000)};
  write_video(file, options, frames[0].width, frames[0].height, static_cast<int>(frames.size()),
              [&](AVFrame& frame, int i) { put_rgb(frame, frames[static_cast<std::size_t>(i)]); });
}

}  // namespace

BOOST_AUTO_TEST_CASE(expected_token_ids_of_video_files) {
  const TemporaryFolder folder;
  int videos = 0;
  for (const Checkpoint& checkpoint : checkpoints())
    for (json one : expected_cases(checkpoint)) {
      if (!one.contains("video_grid_thw")) continue;
      for (json& part : one["messages"][0]["content"])
        if (part.contains("video")) {
          encode(part["video"].get<std::string>(), folder / "clip.mkv");
          part["video"] = "clip.mkv";
        }
      write(folder / "chat.json", one["messages"].dump());
      const std::string chat = "--messages '" + (folder / "chat.json").string() + "'";
      const std::vector<json> answers = json_lines(run(checkpoint, chat + " --json --all-frames"));
      BOOST_REQUIRE(answers.size() == 1u);
      check_answer(answers.front(), one);
      ++videos;
    }
  BOOST_TEST(videos == 3 * static_cast<int>(checkpoints().size()));  // each checkpoint answers three videos
}

BOOST_AUTO_TEST_CASE(no_video) {
  const TemporaryFolder folder;
  write(folder / "text.mp4", "This is no clip.\n");
  check_error(run("--prompt x --video '" + (folder / "text.mp4").string() + "'"), "text.mp4");
}

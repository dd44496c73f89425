/// A folder of numbered images as a video.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "qwen3vl/io/image/image_file.hpp"
#include "qwen3vl/io/video/frame_source.hpp"
#include "qwen3vl/json/fields.hpp"
#include "qwen3vl/json/json_file.hpp"

namespace qwen3vl {

/// The images of a folder in the order of the last number in their names ("2.png" before "10.png"), decoded on demand.
/// The frame rate is in `folder`/clip.json ({"fps": 4}), unless the caller gives it.
class FrameFolder {
 public:
  /// Throws Error for a folder without numbered image files (.png, .jpg, .jpeg, .webp, .bmp), or with duplicate
  /// numbers.
  explicit FrameFolder(const std::filesystem::path& folder, std::optional<double> fps = std::nullopt,
                       const ImageLimits& limits = {}, const ImageReaders& readers = {})
      : limits_(limits), readers_(readers) {
    std::error_code error;
    const std::filesystem::directory_iterator entries(folder, error);
    if (error) fail("cannot read the folder ", folder.string(), ": ", error.message());
    std::vector<std::pair<std::uint64_t, std::filesystem::path>> numbered;
    for (const auto& entry : entries) {
      const auto number = frame_number(entry.path());
      if (number) numbered.emplace_back(*number, entry.path());
    }
    if (numbered.empty())
      fail(folder.string(), " has no numbered images (such as 0001.png); wanted the frames of a video");
    std::sort(numbered.begin(), numbered.end());
    for (std::size_t i = 1; i < numbered.size(); ++i)
      if (numbered[i].first == numbered[i - 1].first)
        fail(numbered[i - 1].second.string(), " and ", numbered[i].second.filename().string(),
             " have the same number; which frame comes first?");
    for (auto& [number, path] : numbered) files_.push_back(std::move(path));
    metadata_ = {.total_num_frames = static_cast<std::int64_t>(files_.size()),
                 .fps = fps ? fps : fps_of(folder),
                 .video_backend = "folder"};
  }

  const VideoMetadata& metadata() const { return metadata_; }

  const Image& frame(std::int64_t index) {
    if (index < 0 || index >= metadata_.total_num_frames)
      fail("frame ", index, " of a video of ", metadata_.total_num_frames, " frames");
    if (index != decoded_) frame_ = load_image(files_[static_cast<std::size_t>(index)], limits_, readers_);
    decoded_ = index;
    return frame_;
  }

 private:
  /// The last number in the name of an image file.
  static std::optional<std::uint64_t> frame_number(const std::filesystem::path& path) {
    std::string extension = path.extension().string();
    std::transform(extension.begin(), extension.end(), extension.begin(),
                   [](unsigned char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); });
    if (extension != ".png" && extension != ".jpg" && extension != ".jpeg" && extension != ".webp" &&
        extension != ".bmp")
      return std::nullopt;
    const std::string name = path.stem().string();
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    const auto end = std::find_if(name.rbegin(), name.rend(), is_digit);
    const auto begin = std::find_if_not(end, name.rend(), is_digit);
    if (end == name.rend() || begin - end > 18) return std::nullopt;
    return std::stoull(std::string(begin.base(), end.base()));
  }

  static std::optional<double> fps_of(const std::filesystem::path& folder) {
    const std::filesystem::path file = folder / "clip.json";
    std::error_code ignored;
    if (!std::filesystem::exists(file, ignored)) return std::nullopt;
    const nlohmann::json json = read_json_file(file);
    std::optional<double> fps;
    if (json.is_object()) JsonFields(json, file.string()).read("fps", fps, above_zero);
    return fps;
  }

  std::vector<std::filesystem::path> files_;
  ImageLimits limits_;
  ImageReaders readers_;
  VideoMetadata metadata_;
  Image frame_;
  std::int64_t decoded_ = -1;
};

}  // namespace qwen3vl

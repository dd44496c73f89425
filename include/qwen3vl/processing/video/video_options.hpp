/// Settings of the video processor, and reading them from video_preprocessor_config.json.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>

#include "qwen3vl/processing/image/image_options.hpp"

namespace qwen3vl {

/// Settings with transformers' names: those of pictures, for each frame, and those of time. Defaults are those of the
/// released Qwen3-VL checkpoints. do_center_crop, crop_size, do_pad and pad_size are accepted in files and, as in the
/// reference, have no effect.
struct VideoProcessorOptions : ImageProcessorOptions {
  VideoProcessorOptions() {
    shortest_edge = 4096;     // of all frames together
    longest_edge = 25165824;  // of all frames together
  }

  bool do_sample_frames = true;              ///< false: all frames
  std::optional<double> fps = 2.0;           ///< frames taken per second of the clip
  std::optional<std::int64_t> num_frames{};  ///< frames taken, instead: `fps` must then be reset
  std::int64_t min_frames = 4;               ///< limits of what `fps` takes
  std::int64_t max_frames = 768;
  /// Whether one frame has at most 768 * (patch_size * merge_size)^2 pixels and its share of the budget, as in
  /// qwen-vl-utils. Without it a clip of few frames spends the whole budget on them.
  bool cap_pixels_per_frame = false;

  /// Throws Error for values that make no sense; in the reference's words where it has some.
  void validate() const {
    ImageProcessorOptions::validate();
    if (!do_sample_frames) return;
    if (fps && num_frames) fail("`num_frames` and `fps` are mutually exclusive arguments, please use only one!");
    if (fps && !(*fps > 0.0 && *fps <= 1e6)) fail("fps is ", *fps, "; it must be above 0, and at most a million");
    const auto count = [](const char* name, std::int64_t value) {
      if (value < 1 || value > max_countable) fail(name, " is ", value, "; it must be from 1 to ", max_countable);
    };
    if (num_frames) count("num_frames", *num_frames);
    count("min_frames", min_frames);
    count("max_frames", max_frames);
  }

  /// More frames than this are not taken from one clip, whatever the options say.
  static constexpr std::int64_t max_countable = std::int64_t{1} << 16;
};

/// Reads video_preprocessor_config.json over `options`; unknown fields are ignored. Throws Error that names file and
/// field. That `fps` and `num_frames` exclude each other is told when frames are sampled.
inline VideoProcessorOptions video_processor_options_from_json(const nlohmann::json& json, const std::string& file,
                                                               VideoProcessorOptions options = {}) {
  static_cast<ImageProcessorOptions&>(options) = image_processor_options_from_json(json, file, options);
  const auto read_bool = [&](const char* name, bool& value) {
    const auto found = json.find(name);
    if (found == json.end() || found->is_null()) return;
    if (!found->is_boolean()) fail(file, ": ", name, " is not true or false");
    value = found->get<bool>();
  };
  const auto read_count = [&](const char* name, auto& value) {
    const auto found = json.find(name);
    if (found == json.end() || found->is_null()) return;
    if (!found->is_number_integer() || found->get<double>() < 1.0 ||
        found->get<double>() > static_cast<double>(VideoProcessorOptions::max_countable))
      fail(file, ": ", name, " is not a number of frames from 1 to ", VideoProcessorOptions::max_countable);
    value = found->get<std::int64_t>();
  };
  read_bool("do_sample_frames", options.do_sample_frames);
  read_bool("cap_pixels_per_frame", options.cap_pixels_per_frame);
  read_count("num_frames", options.num_frames);
  read_count("min_frames", options.min_frames);
  read_count("max_frames", options.max_frames);
  if (const auto fps = json.find("fps"); fps != json.end()) {
    if (!fps->is_null() && !fps->is_number()) fail(file, ": fps is not a number");
    options.fps = fps->is_null() ? std::optional<double>() : fps->get<double>();
  }
  return options;
}

}  // namespace qwen3vl

/// Reading the settings of the video processor from video_preprocessor_config.json.
#pragma once

#include <string_view>
#include <vector>

#include "qwen3vl/processing/image/image_options_json.hpp"
#include "qwen3vl/processing/video/video_options.hpp"

namespace qwen3vl {

/// Reads video_preprocessor_config.json over `options`. Fields that have no effect are told to `warn`; `min_pixels` and
/// `max_pixels` beside `size` are such, unlike for images. Throws Error that names file and field. A conflict between
/// `fps` and `num_frames` is reported when frames are sampled.
inline VideoProcessorOptions video_processor_options_from_json(const JsonFields& fields,
                                                               VideoProcessorOptions options = {},
                                                               const Warn& warn = print_warning) {
  detail::check_processor_type(fields, "video_processor_type", "Qwen3VLVideoProcessor", {"Qwen3VLVideoProcessor"});
  detail::read_frame_options(fields, false, options);
  std::vector<std::string_view> known{"image_processor_type", "video_processor_type"};
  for_each_image_option([&](const Option& option, const auto&) { known.push_back(option.name); }, options);
  for_each_video_option(
      [&](const Option& option, auto& value) {
        known.push_back(option.name);
        // A rate that nothing is sampled by may be any number.
        const Option wanted = option.name == "fps" ? Option{option.name} : option;
        const bool used = option.name == "max_video_tokens" ? options.cap_pixels_per_frame : options.do_sample_frames;
        detail::read_processor_option(fields, wanted, used, value);
      },
      options);
  if (fields.has("video_metadata")) fields.wrong("video_metadata", "null: it is not the same for all videos");
  if (fields.has("crop_size") && !fields.boolean("do_center_crop", false)) known.emplace_back("crop_size");
  // An image processor's settings, where a checkpoint has no others.
  const auto same = [&](const char* name, std::int64_t edge) {
    const nlohmann::json* const value = fields.find(name);
    return value != nullptr && *value == edge;
  };
  if (same("min_pixels", options.shortest_edge)) known.emplace_back("min_pixels");
  if (same("max_pixels", options.longest_edge)) known.emplace_back("max_pixels");
  detail::warn_about_fields(fields, known, warn);
  return options;
}

}  // namespace qwen3vl

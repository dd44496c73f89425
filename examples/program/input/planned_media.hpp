/// The images and videos of --memory-plan: their patches, tokens and bytes, without decoding more than a frame.
#pragma once

#include <cstddef>
#include <vector>

#include "program/input/arguments.hpp"
#include "qwen3vl/config/config.hpp"
#include "qwen3vl/inputs/grid.hpp"

namespace program {

/// Totals of the images and videos of one prompt.
struct PlannedMedia {
  std::vector<GridThw> grid_thw;
  index_t image_tokens = 0;      ///< with their begin and end tokens
  index_t video_tokens = 0;      ///< likewise, with their timestamps
  std::size_t source_bytes = 0;  ///< decoded at one time: all images, or one frame of each video
};

/// Reads only the processor settings of `arguments.model`; without a model, those of the released models. Throws Error
/// for files that are not images or videos.
PlannedMedia plan_media(const Arguments& arguments, const VisionConfig& vision);

}  // namespace program

/// --inputs: what would go into the model.
#pragma once

#include <exception>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "preparation.hpp"
#include "question.hpp"
#include "report.hpp"

namespace program {

/// One conversation as its prompt, the ids, the grids of its images and videos, and what became of them.
inline nlohmann::ordered_json inputs_to_json(const Preparation& prepare, const Question& question,
                                             const std::filesystem::path& folder, std::span<const Image> images = {}) {
  const Prepared prepared = prepare(std::span(&question.messages, 1), question.settings.chat, folder, images);
  const auto grids = [](const std::vector<GridThw>& all) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const GridThw& grid : all) list.push_back(nlohmann::ordered_json::array({grid.t, grid.h, grid.w}));
    return list;
  };
  nlohmann::ordered_json json;
  json["prompt"] = prepared.texts.front();
  json["input_ids"] = prepared.prompts.ids;
  json["image_grid_thw"] = grids(prepared.prompts.media.image_grid_thw);
  json["video_grid_thw"] = grids(prepared.prompts.media.video_grid_thw);
  for (const char* list : {"timestamps", "images", "videos"}) json[list] = nlohmann::ordered_json::array();
  for (const ImageSource& image : prepared.prompts.image_sources) json["images"].push_back(source_to_json(image));
  for (const VideoSource& video : prepared.prompts.video_sources) {
    json["timestamps"].push_back(video.timestamps);
    json["videos"].push_back(source_to_json(video));
  }
  return json;
}

}  // namespace program

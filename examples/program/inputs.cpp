#include "program/inputs.hpp"

#include <cstddef>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "program/input/lines.hpp"
#include "program/input/preparation.hpp"
#include "program/input/reading.hpp"
#include "program/output/progress.hpp"
#include "program/output/report.hpp"
#include "qwen3vl/io/checkpoint/checkpoint_files.hpp"
#include "qwen3vl/json/json_file.hpp"

namespace program {
namespace {

nlohmann::ordered_json inputs_to_json(const Preparation& prepare, const Arguments& arguments, const Question& question,
                                      const std::filesystem::path& folder, std::span<const Image> images = {}) {
  const Prepared prepared =
      prepare(std::span(&question.messages, 1), question.settings.chat,
              processor_options(arguments, folder, prepare.video_options()), images, !arguments.ignore_unknown);
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

}  // namespace

Asked only_question(const Arguments& arguments, const Settings& settings) {
  if (!arguments.prompt) {
    const std::size_t max_bytes = arguments.limits.messages.max_bytes;
    const bool piped = arguments.messages == "-";
    const std::string json = piped ? read_all(std::cin, max_bytes) : read_text_file(arguments.messages, max_bytes);
    return {read_question(arguments, settings, json), media_folder(arguments.messages), {}};
  }
  Asked asked{{.messages = with_system(arguments, {}), .settings = settings, .id = {}, .label = {}}, {}, {}};
  asked.images = read_images(arguments.images, arguments.limits.images);
  asked.question.messages.push_back(question(*arguments.prompt, asked.images.size(), arguments.videos, arguments));
  return asked;
}

void print_inputs(const Arguments& arguments) {
  const Preparation prepare(arguments.files(), warn);
  const Settings settings = settings_of(arguments);
  if (arguments.batch.empty()) {
    const Asked asked = only_question(arguments, settings);
    return print_json(inputs_to_json(prepare, arguments, asked.question, asked.folder, asked.images));
  }
  for_each_line(arguments.batch, arguments.limits,
                [&](std::size_t number, std::string_view text, const std::string& error) {
                  nlohmann::ordered_json json;
                  json["line"] = number;
                  try {
                    if (!error.empty()) fail(error);
                    json.update(inputs_to_json(prepare, arguments, read_question(arguments, settings, text),
                                               media_folder(arguments.batch)));
                  } catch (const std::exception& wrong) {
                    json["error"] = wrong.what();
                  }
                  print_json(json);
                });
}

}  // namespace program

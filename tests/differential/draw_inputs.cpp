/// What the library makes of the draws of differential.py: prompts, tokens, grids, times, and pixels as .npy files.
///
/// Each line of standard input is one draw:
///   {"folder": checkpoint, "media": folder of the images and videos, "conversations": [messages, ...],
///    "chat": options of the chat template, "options": options of the processor, "pixels": beginning of files' names}
/// With "render": true only prompts are made; with "save": folder the processor is saved there, too. Each line of
/// standard output is the answer to a draw, or {"error": ...}.
#include <cstdio>
#include <exception>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "qwen3vl/inputs/padding.hpp"
#include "qwen3vl/io/video/linked_readers.hpp"
#include "qwen3vl/io/weights/npy.hpp"
#include "qwen3vl/processing/chat/message_json.hpp"
#include "qwen3vl/processing/processor.hpp"

namespace {

using namespace qwen3vl;
using Json = nlohmann::ordered_json;

ChatTemplateOptions chat_options(const Json& json) {
  ChatTemplateOptions options;
  for (const auto& [name, value] : json.items()) {
    if (name == "add_generation_prompt") {
      options.add_generation_prompt = value.get<bool>();
    } else if (name == "continue_final_message") {
      options.continue_final_message =
          value.is_string() ? FinalField(value.get<std::string>()) : FinalField(value.get<bool>());
    } else if (name == "enable_thinking") {
      options.enable_thinking = value.get<bool>();
    } else if (name == "add_vision_id") {
      options.add_vision_id = value.get<bool>();
    } else if (name == "tools") {
      options.tools = value;
    } else if (name == "documents") {
      options.documents = value;
    } else if (name == "chat_template_kwargs") {
      options.chat_template_kwargs = value;
    } else if (name == "chat_template") {
      options.chat_template = value.get<std::string>();
    } else if (name == "sanitize_control_tokens") {
      options.sanitize_control_tokens = value.get<bool>();
    } else {
      fail("chat: no option ", name);
    }
  }
  return options;
}

ProcessorOptions processor_options(const Json& json, const Processor& processor, const std::string& media,
                                   std::vector<std::string>& warnings) {
  ProcessorOptions options{.media_directory = media, .readers = linked_readers()};
  options.warn = [&](const std::string& text) { warnings.push_back(text); };
  VideoProcessorOptions changed = processor.video_processor().options();
  for (const auto& [name, value] : json.items()) {
    if (name == "min_pixels") {
      options.min_pixels = value.get<std::int64_t>();
    } else if (name == "max_pixels") {
      options.max_pixels = value.get<std::int64_t>();
    } else if (name == "max_video_pixels") {
      options.max_video_pixels = value.get<std::int64_t>();
    } else if (name == "fps") {
      changed.fps = value.get<double>(), changed.num_frames.reset();
    } else if (name == "num_frames") {
      changed.num_frames = value.get<std::int64_t>(), changed.fps.reset();
    } else if (name == "do_sample_frames") {
      changed.do_sample_frames = value.get<bool>();
    } else if (name == "cap_pixels_per_frame") {
      changed.cap_pixels_per_frame = value.get<bool>();
    } else if (name == "backend") {
      options.images = processor.image_processor().options();
      options.images->backend = ResizeBackend::pil;
    } else if (name == "padding_side") {
      options.padding_side = value == "left" ? PaddingSide::left : PaddingSide::right;
    } else {
      fail("options: no option ", name);
    }
  }
  options.videos = changed;
  return options;
}

template <class Matrix>
Json rows(const Matrix& matrix) {
  Json all = Json::array();
  for (index_t i = 0; i < matrix.rows(); ++i) all.push_back(matrix[i].span());
  return all;
}

Json grids(const std::vector<GridThw>& all) {
  Json list = Json::array();
  for (const GridThw& grid : all) list.push_back(Json::array({grid.t, grid.h, grid.w}));
  return list;
}

Json answer(const Json& draw, const Processor& processor) {
  const ChatTemplateOptions chat = chat_options(draw["chat"]);
  std::vector<Conversation> conversations;
  for (const Json& messages : draw["conversations"]) conversations.push_back(messages_from_json(messages));
  Json json;
  json["prompts"] = Json::array();
  for (const Conversation& messages : conversations)
    json["prompts"].push_back(processor.render_chat_template(messages, chat));
  if (draw.value("render", false)) return json;
  std::vector<std::string> warnings;
  const ProcessorOptions options = processor_options(draw["options"], processor, draw["media"], warnings);
  Prompts prompts = processor.prompts(conversations, chat, options);
  for (const char* list : {"timestamps", "frames_indices", "sizes"}) json[list] = Json::array();
  for (const ImageSource& image : prompts.image_sources) json["sizes"].push_back({image.height, image.width});
  for (const VideoSource& video : prompts.video_sources) {
    json["timestamps"].push_back(video.timestamps);
    json["frames_indices"].push_back(video.frames_indices);
  }
  const ModelInputs inputs =
      to_padded(std::move(prompts), processor.pad_token_id(), options.padding_side.value_or(PaddingSide::left));
  json["input_ids"] = rows(inputs.input_ids);
  json["attention_mask"] = rows(inputs.attention_mask);
  json["mm_token_type_ids"] = rows(inputs.mm_token_type_ids);
  json["image_grid_thw"] = grids(inputs.image_grid_thw);
  json["video_grid_thw"] = grids(inputs.video_grid_thw);
  json["warnings"] = warnings;
  const std::string pixels = draw["pixels"];
  if (!inputs.image_grid_thw.empty()) write_npy(pixels + "pixel_values.npy", inputs.pixel_values);
  if (!inputs.video_grid_thw.empty()) write_npy(pixels + "pixel_values_videos.npy", inputs.pixel_values_videos);
  return json;
}

}  // namespace

int main() {
  std::map<std::string, Processor> processors;
  for (std::string line; std::getline(std::cin, line);) {
    Json json;
    try {
      const Json draw = Json::parse(line);
      const std::string folder = draw["folder"];
      auto found = processors.find(folder);
      if (found == processors.end())
        found = processors.emplace(folder, Processor::from_pretrained(folder, std::nullopt, [](const auto&) {})).first;
      if (draw.contains("save")) found->second.save_pretrained(draw["save"].get<std::string>());
      json = answer(draw, found->second);
    } catch (const std::exception& error) {
      json = {{"error", error.what()}};
    }
    std::puts(json.dump(-1, ' ', true, Json::error_handler_t::replace).c_str());
  }
}

/// What Qwen3-VL-Embedding and Qwen3-VL-Reranker read, as parts of a message: the "multimodal object" of
/// QwenLM/Qwen3-VL-Embedding (src/models), with its pixel budgets and numbers of frames.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/option.hpp"
#include "qwen3vl/inputs/prompts.hpp"
#include "qwen3vl/processing/chat/message.hpp"
#include "qwen3vl/processing/media.hpp"
#include "qwen3vl/processing/processor.hpp"
#include "qwen3vl/processing/retrieval/retrieval_options.hpp"

namespace qwen3vl {

/// Any number of each: `{.text = {"a dog"}, .image = {image("dog.png")}}`. In the prompt videos come first, then
/// images, then texts; without any it says "NULL".
struct RetrievalItem {
  std::vector<std::string> text{};
  std::vector<ContentPart> image{};  ///< image(...) of message.hpp
  std::vector<ContentPart> video{};  ///< video(...), or a part with `frames`
};

namespace detail::retrieval {

/// Evenly spread frames of a list of more than `most`, as numpy.linspace(..., dtype=int) has their numbers.
inline std::vector<std::string> thinned(const std::vector<std::string>& frames, std::int64_t most) {
  const auto count = static_cast<std::int64_t>(frames.size());
  if (count <= most) return frames;
  const double step = most == 1 ? 0.0 : static_cast<double>(count - 1) / static_cast<double>(most - 1);
  std::vector<std::string> kept;
  for (std::int64_t i = 0; i < most; ++i)
    kept.push_back(
        frames[i > 0 && i + 1 == most ? frames.size() - 1 : static_cast<std::size_t>(static_cast<double>(i) * step)]);
  return kept;
}

/// The messages of one prompt, and what its errors call the parts of the user's message.
struct PlacedMessages {
  Conversation messages;
  std::vector<std::string> places;
};

/// The parts of a user's message. `fps` and `max_frames` are those of one input, if it has some; 0 is none. What a part
/// says itself goes first.
struct ContentWriter {
  const RetrievalOptions& options;
  const ProcessorOptions& processor;
  std::optional<double> fps{};
  std::optional<std::int64_t> max_frames{};
  std::vector<ContentPart> parts{};
  std::vector<std::string> places{};

  void words(const std::string& words) { add(text(words), ""); }

  /// Appends an item; `place` is what its keys stand in ("query.").
  void item(const RetrievalItem& item, const std::string& place) {
    if (item.text.empty() && item.image.empty() && item.video.empty()) words("NULL");
    const auto set = [](std::optional<double>& key, double value) {
      if (!key) key = value;
    };
    for (ContentPart part : item.video) {
      MediaKeys& keys = part.keys;
      if (!part.frames.empty()) {
        part.frames = thinned(part.frames, options.max_frames);
        set(keys.total_pixels, static_cast<double>(processor.max_video_pixels.value_or(10 * 768 * 1024 * 2)) / 2.0);
        if (fps) set(keys.fps, *fps);  // has no effect here, which a warning says
        if (max_frames) set(keys.max_frames, static_cast<double>(*max_frames));
      } else {
        if (!keys.nframes) {
          set(keys.fps, fps.value_or(0.0) != 0.0 ? *fps : options.fps);
          set(keys.max_frames, static_cast<double>(max_frames.value_or(0) != 0 ? *max_frames : options.max_frames));
        }
        if (processor.max_video_pixels) set(keys.total_pixels, static_cast<double>(*processor.max_video_pixels) / 2.0);
      }
      add(std::move(part), place + "video");
    }
    for (ContentPart part : item.image) {
      set(part.keys.min_pixels, static_cast<double>(processor.min_pixels.value_or(4 * 1024)));
      set(part.keys.max_pixels, static_cast<double>(processor.max_pixels.value_or(1800 * 1024)));
      add(std::move(part), place + "image");
    }
    for (const std::string& one : item.text) words(one);
  }

  /// The conversation of these parts and a system message.
  PlacedMessages with_system(const std::string& instruction) && {
    Message system = system_prompt("");
    system.content = std::vector<ContentPart>{text(instruction)};
    return {{std::move(system), user(std::move(parts))}, std::move(places)};
  }

 private:
  void add(ContentPart part, std::string place) {
    parts.push_back(std::move(part));
    places.push_back(std::move(place));
  }
};

/// The prompts of conversations, each made for itself, so that errors and warnings have the names of its keys. `images`
/// and `videos` are those of parts that name no file, in order.
inline Prompts prompts_of(const Processor& processor, std::span<const PlacedMessages> conversations,
                          ProcessorOptions options, const ChatTemplateOptions& chat, std::span<const Image> images,
                          std::span<Video> videos) {
  const Warn warn = std::move(options.warn);
  std::vector<Prompts> prompts;
  for (const PlacedMessages& placed : conversations) {
    const auto named = [&](const std::string& text) {
      for (std::size_t i = 0; i < placed.places.size(); ++i) {
        const std::string part = concat("messages[1].content[", i, "]");
        if (text.starts_with(part)) return placed.places[i] + text.substr(part.size());
      }
      return text;
    };
    const auto unnamed = [&](ContentPart::Kind kind) {
      return static_cast<std::size_t>(std::ranges::count_if(find_media(placed.messages, kind), [](const auto& medium) {
        return medium.part->source.empty() && medium.part->bytes.empty() && medium.part->frames.empty();
      }));
    };
    const auto own_images = images.first(std::min(images.size(), unnamed(ContentPart::Kind::image)));
    const auto own_videos = videos.first(std::min(videos.size(), unnamed(ContentPart::Kind::video)));
    images = images.subspan(own_images.size());
    videos = videos.subspan(own_videos.size());
    if (warn) options.warn = [&](const std::string& text) { warn(named(text)); };
    try {
      prompts.push_back(processor.prompts(std::span(&placed.messages, 1), chat, options, own_images, own_videos));
    } catch (const Cancelled&) {
      throw;
    } catch (const Error& error) {
      throw Error(named(error.what()));
    }
  }
  if (!images.empty() || !videos.empty())
    fail(images.size(), " images and ", videos.size(), " videos were handed over for which no input asks");
  return joined(prompts);
}

inline void check_options(const RetrievalOptions& options) {
  for_each_retrieval_option([](const Option& option, const auto& value) { check_option(option, value); }, options);
}

}  // namespace detail::retrieval
}  // namespace qwen3vl

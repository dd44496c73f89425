/// The keys beside an image or video in a message, as qwen-vl-utils reads them: the pixel budget, and which frames.
#pragma once

#include <cmath>
#include <optional>
#include <string>
#include <string_view>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/option.hpp"
#include "qwen3vl/json/fields.hpp"

namespace qwen3vl {

/// Numbers as a message has them; explained in for_each_media_key. A part with one of them is resized, and its frames
/// are chosen, as qwen-vl-utils 0.0.14 does it, with its defaults for the others (processing/qwen_vl_utils.hpp).
struct MediaKeys {
  std::optional<double> min_pixels{}, max_pixels{}, total_pixels{};
  std::optional<double> resized_height{}, resized_width{};
  std::optional<double> nframes{}, fps{}, min_frames{}, max_frames{};
  std::optional<double> video_start{}, video_end{};
  /// Of a list of images; these alone leave the part to transformers.
  std::optional<double> sample_fps{}, raw_fps{};

  bool operator==(const MediaKeys&) const = default;

  /// Whether the part is one for qwen-vl-utils.
  bool any() const { return !first().empty(); }
  /// The name of a key that makes it one; empty if there is none.
  std::string_view first() const;
};

/// What a key is about.
enum class MediaKeyUse {
  every,  ///< the size of images and of frames
  video,  ///< frames together, whatever the video is
  file,   ///< which frames of a file, a folder or a video handed over
  list,   ///< the rate of a list of images
};

/// Calls f(MediaKeyUse, Option, member...) for every key.
template <class F, class... Keys>
void for_each_media_key(F&& f, Keys&... k) {
  constexpr Range none_below = within(0, 1e15);
  constexpr Range side = within(1, 1e6), rate{.lowest = above_zero.lowest, .highest = 1e6};
  using enum MediaKeyUse;
  f(every, Option{"min_pixels", none_below, "Fewest pixels of the image, or of each frame"}, k.min_pixels...);
  f(every, Option{"max_pixels", none_below, "Most pixels of the image, or of each frame"}, k.max_pixels...);
  f(every, Option{"resized_height", side, "Height wanted, with resized_width: rounded, whatever the pixels"},
    k.resized_height...);
  f(every, Option{"resized_width", side, "Width wanted, with resized_height"}, k.resized_width...);
  f(video, Option{"total_pixels", none_below, "Most pixels of all pairs of frames together"}, k.total_pixels...);
  f(file, Option{"nframes", none_below, "Frames taken"}, k.nframes...);
  f(file, Option{"fps", within(0, 1e6), "Frames taken per second, instead"}, k.fps...);
  f(file, Option{"min_frames", none_below, "Fewest frames that fps takes"}, k.min_frames...);
  f(file, Option{"max_frames", none_below, "Most frames that fps takes"}, k.max_frames...);
  f(file, Option{"video_start", within(-1e9, 1e9), "Seconds where the video begins"}, k.video_start...);
  f(file, Option{"video_end", within(-1e9, 1e9), "Seconds where it ends"}, k.video_end...);
  f(list, Option{"sample_fps", rate, "Frames per second of a list of images"}, k.sample_fps...);
  f(list, Option{"raw_fps", rate, "The same; goes first"}, k.raw_fps...);
}

inline std::string_view MediaKeys::first() const {
  std::string_view found;
  for_each_media_key(
      [&](MediaKeyUse use, const Option& key, const std::optional<double>& value) {
        if (found.empty() && value && use != MediaKeyUse::list) found = key.name;
      },
      *this);
  return found;
}

/// The keys of a part; `place` names it in errors. Null is as if it were missing.
template <class Json>
MediaKeys media_keys_from_json(const Json& part, std::string_view place) {
  MediaKeys keys;
  for_each_media_key(
      [&](MediaKeyUse, const Option& key, std::optional<double>& value) {
        const Json* const found = find_value(part, key.name);
        if (found == nullptr) return;
        const double number = found->is_number() ? found->template get<double>() : std::nan("");
        if (!key.range.has(number))
          wrong_value(concat(place, ".", key.name), *found, concat("a number ", key.range.text()));
        value = number;
      },
      keys);
  return keys;
}

}  // namespace qwen3vl

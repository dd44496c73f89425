#include "program/output/report.hpp"

#include <sys/resource.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace program {

std::int64_t peak_memory_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double rate(index_t tokens, double seconds) { return seconds > 0.0 ? static_cast<double>(tokens) / seconds : 0.0; }

// The parts of an answer; absent ones are omitted.
static nlohmann::ordered_json answer_to_json(const Answer& answer) {
  nlohmann::ordered_json json;
  json["text"] = answer.parsed.text;
  if (answer.parsed.reasoning) json["reasoning"] = *answer.parsed.reasoning;
  if (!answer.parsed.reasoning_complete) json["reasoning_complete"] = false;
  if (!answer.parsed.tool_calls.empty()) json["tool_calls"] = tool_calls_to_json(answer.parsed.tool_calls);
  if (!answer.parsed.errors.empty()) json["tool_call_errors"] = answer.parsed.errors;
  json["token_ids"] = answer.token_ids;
  json["finish_reason"] = name_of(answer.finish_reason);
  if (answer.score) json["score"] = *answer.score;
  return json;
}

nlohmann::ordered_json source_to_json(const ImageSource& image) {
  nlohmann::ordered_json json;
  if (!image.name.empty()) json["name"] = image.name;
  json.update({{"width", image.width},
               {"height", image.height},
               {"resized_width", image.resized_width},
               {"resized_height", image.resized_height}});
  return json;
}

nlohmann::ordered_json source_to_json(const VideoSource& video) {
  nlohmann::ordered_json json = source_to_json(static_cast<const ImageSource&>(video));
  json.update({{"total_num_frames", video.total_num_frames},
               {"fps", video.fps},
               {"frames", video.frames_indices.size()},
               {"frames_indices", video.frames_indices}});
  return json;
}

nlohmann::ordered_json result_to_json(const Result& result, double load_seconds) {
  nlohmann::ordered_json json = answer_to_json(result.answers.front());
  if (result.answers.size() > 1)
    for (const Answer& answer : result.answers) json["answers"].push_back(answer_to_json(answer));
  json["prompt_tokens"] = result.prompt_tokens;
  json["image_tokens"] = result.image_tokens;
  json["video_tokens"] = result.video_tokens;
  for (const ImageSource& image : result.images) json["images"].push_back(source_to_json(image));
  for (const VideoSource& video : result.videos) json["videos"].push_back(source_to_json(video));
  const GenerationTimings& t = result.timings;
  json["timings"] = {{"load_seconds", load_seconds},
                     {"processing_seconds", result.processing_seconds},
                     {"vision_seconds", t.vision_seconds},
                     {"prefill_seconds", t.prefill_seconds},
                     {"decode_seconds", t.decode_seconds},
                     {"computed_prompt_tokens", t.computed_tokens},
                     {"prefill_tokens_per_second", rate(t.computed_tokens, t.prefill_seconds)},
                     {"decode_tokens_per_second", rate(t.new_tokens - 1, t.decode_seconds)},
                     {"peak_memory_bytes", peak_memory_bytes()}};
  return json;
}

void flush_output() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return;
  const int error = errno;
  throw OutputError(concat("cannot write to standard output: ", std::strerror(error),
                           error == EPIPE ? "; who was to read it has gone" : "; is the disk full?"));
}

void print_json(const nlohmann::ordered_json& json) {
  // Tokens may end inside a character; invalid UTF-8 becomes U+FFFD.
  std::puts(json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  flush_output();
}

void print_stats(const Result& result, double load_seconds, const std::string& weight_types) {
  const auto line = [](const char* kind, const ImageSource& image, const std::string& frames) {
    std::fprintf(stderr, "[%s%s%s: %lld x %lld pixels%s, resized to %lld x %lld]\n", kind,
                 image.name.empty() ? "" : " ", image.name.c_str(), static_cast<long long>(image.width),
                 static_cast<long long>(image.height), frames.c_str(), static_cast<long long>(image.resized_width),
                 static_cast<long long>(image.resized_height));
  };
  for (const ImageSource& image : result.images) line("image", image, "");
  for (const VideoSource& video : result.videos)
    line("video", video, concat(", ", video.frames_indices.size(), " of ", video.total_num_frames, " frames"));
  const GenerationTimings& t = result.timings;
  std::fprintf(
      stderr,
      "[%lld prompt tokens (%lld of images, %lld of videos, %lld computed), %lld new | load %.2f s, vision %.3f s, "
      "prefill %.0f tokens/s, decode %.0f tokens/s | peak memory %.0f MB]\n",
      static_cast<long long>(result.prompt_tokens), static_cast<long long>(result.image_tokens),
      static_cast<long long>(result.video_tokens), static_cast<long long>(t.computed_tokens),
      static_cast<long long>(t.new_tokens), load_seconds, t.vision_seconds, rate(t.computed_tokens, t.prefill_seconds),
      rate(t.new_tokens - 1, t.decode_seconds), static_cast<double>(peak_memory_bytes()) * 1e-6);
  std::fprintf(stderr, "[matrices: %s]\n", weight_types.c_str());
}

}  // namespace program

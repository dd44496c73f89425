/// Answers as text or JSON.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/generation/generate_types.hpp"
#include "qwen3vl/inputs/prompts.hpp"
#include "qwen3vl/processing/chat/answer.hpp"

namespace program {

using namespace qwen3vl;

/// One of the answers to a prompt.
struct Answer {
  std::string raw;      // as the model wrote it
  ParsedAnswer parsed;  // parsed
  std::vector<TokenId> token_ids;
  FinishReason finish_reason = FinishReason::length;
  std::optional<float> score;  // if there are several
};

/// The result of one conversation.
struct Result {
  std::vector<Answer> answers;  // the best first
  index_t prompt_tokens = 0;
  index_t image_tokens = 0;
  index_t video_tokens = 0;
  std::vector<ImageSource> images;
  std::vector<VideoSource> videos;
  // Of all conversations computed together.
  GenerationTimings timings;
  double processing_seconds = 0.0;
};

std::int64_t peak_memory_bytes();
double seconds_since(std::chrono::steady_clock::time_point start);
/// Tokens per second; 0 in no time.
double rate(index_t tokens, double seconds);

/// An image, or the frames of a video: the file and the sizes before and after.
nlohmann::ordered_json source_to_json(const ImageSource& image);
/// The same with the frames that were taken.
nlohmann::ordered_json source_to_json(const VideoSource& video);

/// The best answer's parts, all answers if there are several, and what they cost.
nlohmann::ordered_json result_to_json(const Result& result, double load_seconds);

/// Standard output cannot be written: ends the program, even a chat.
class OutputError : public Error {
 public:
  using Error::Error;
};

/// Flushes standard output. Throws OutputError if it fails: an answer must not be lost silently.
void flush_output();

/// One line on standard output.
void print_json(const nlohmann::ordered_json& json);

/// --stats
void print_stats(const Result& result, double load_seconds, const std::string& weight_types);

}  // namespace program

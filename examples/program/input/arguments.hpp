/// The command line of the program.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "program/input/limits.hpp"
#include "program/model.hpp"
#include "qwen3vl/generation/generate_types.hpp"
#include "qwen3vl/processing/placeholders.hpp"
#include "qwen3vl/processing/retrieval/retrieval_options.hpp"

namespace qwen3vl {
class CheckpointFiles;
}

namespace program {

using namespace qwen3vl;

struct Arguments {
  std::string model, mmproj;
  std::string packed_cache;
  std::vector<std::string> lora;
  std::string save;
  std::vector<std::string> images;
  std::vector<std::string> videos;
  std::optional<std::string> prompt;
  std::string messages;  // a file, "-" for standard input
  std::string batch;     // likewise
  index_t batch_size = 4;
  bool ignore_unknown = false;
  std::string embed;   // a file, "-" for standard input
  std::string rerank;  // likewise
  std::string embed_out;
  index_t dimensions = 0;
  RetrievalOptions retrieval;
  std::optional<index_t> max_length;
  bool inputs = false;
  std::string system;
  std::string tools;
  std::string draw;

  std::optional<std::int64_t> min_pixels, max_pixels, max_video_pixels;
  std::optional<double> fps;
  std::optional<std::int64_t> num_frames;
  std::optional<double> source_fps;
  bool all_frames = false;
  VideoPrompt video_prompt = VideoPrompt::keep_outer_pair;

  GenerateOptions generate;
  std::vector<std::string> stop;
  std::optional<index_t> thinking_budget;
  bool thinking = false;
  bool hide_thinking = false;
  int threads = 0;
  int device = 0;
  bool json = false;
  bool stats = false;
  std::string trace;
  Limits limits;

  bool memory_plan = false;
  index_t prompt_tokens = 512;
  std::vector<std::string> image_sizes;
  std::optional<index_t> plan_batch_size;

  /// The files of `model`. Throws Error.
  CheckpointFiles files() const;
  Place place() const { return {.threads = threads, .device = device}; }
  bool is_retrieval() const { return !embed.empty() || !rerank.empty(); }
  bool is_chat() const { return !prompt && messages.empty() && batch.empty() && !is_retrieval(); }
  /// Whether anything but the best answer is wanted.
  bool several_answers() const { return generate.num_return_sequences.value_or(1) > 1; }
};

/// Reads the command line. Returns false if the program is done (--help, --version); throws Error if it is wrong.
bool parse(int argc, char** argv, const Build& build, const std::string& version, Arguments& arguments);

}  // namespace program

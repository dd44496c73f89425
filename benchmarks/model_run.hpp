/// A whole run of a model, as bench-model measures it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "qwen3vl/tensor/extents.hpp"
#include "qwen3vl/trace/trace.hpp"

namespace qwen3vl::bench {

/// What to run.
struct RunOptions {
  std::string model;            ///< checkpoint; empty: random weights
  std::string mmproj;           ///< PretrainedOptions::mmproj
  std::string packed_cache;     ///< folder of packed weights (PretrainedOptions::packed_cache), or empty
  index_t prompt_tokens = 512;  ///< text tokens of the prompt, besides those of the image
  index_t decode_tokens = 32;
  index_t context = 0;        ///< tokens in the cache before decoding; 0: as many as the prompt
  std::string image;          ///< a file, a size such as 512x512 (random pixels), or empty
  index_t prefill_chunk = 0;  ///< prompt tokens computed at once; 0: generate()'s default
  index_t sequences = 1;      ///< sequences decoded together, each with its own context
  int threads = 1;
  int device = 0;      ///< CUDA device
  int runs = 1;        ///< of vision tower, prefill and decoding, after a first one
  bool trace = false;  ///< record one more prefill and as many decode steps as were timed, after those
  /// Reads that many bytes of other memory with all threads and returns the seconds. If set, another decode_tokens
  /// steps are timed alternately with it, because shared memory changes its speed within seconds.
  std::function<double(double bytes)> read_memory;
};

/// The measurements. Seconds are 0 for parts that were not run.
struct RunResult {
  double load_seconds = 0.0;  ///< mapping and packing the checkpoint, or making random weights
  index_t parameters = 0;
  double weight_bytes = 0.0;  ///< as kept in memory

  index_t prompt_tokens = 0;  ///< with those of the image
  index_t image_tokens = 0;
  double processing_seconds = 0.0;  ///< image file to patches, the first time
  double vision_seconds = 0.0;      ///< median of the runs after the first
  double vision_operations = 0.0;
  double prefill_seconds = 0.0;  ///< median of the runs after the first, with the first new token
  std::vector<double> all_vision_seconds, all_prefill_seconds, all_decode_seconds;  ///< of each run
  double prefill_operations = 0.0;
  /// Image decoding, vision tower, prefill and sampling of the first token: the first run after loading, without
  /// warm-up.
  double time_to_first_token_seconds = 0.0;

  index_t context = 0;
  index_t sequences = 0;
  index_t decode_tokens = 0;                  ///< of each sequence
  double decode_seconds = 0.0;                ///< of all decode_tokens, median of the runs
  double cache_bytes = 0.0;                   ///< keys and values that the first decode step reads
  double decode_bytes = 0.0;                  ///< weights, keys and values that an average decode step reads
  double decode_operations = 0.0;             ///< of an average step
  double decode_seconds_between_reads = 0.0;  ///< of decode_tokens steps, each of them followed by
  double read_seconds_between_steps = 0.0;    ///< as many reads of decode_bytes
  double peak_memory_bytes = 0.0;             ///< peak of the process so far
  Trace trace;                                ///< on request
  double device_bytes = 0.0;                  ///< of a GPU's memory, in use by all processes at the end; 0 on the CPU
};

/// Runs under precision P. One translation unit for each: model_precision.cpp. Throws Error for bad input.
template <class P>
RunResult run_model(const RunOptions& options);

}  // namespace qwen3vl::bench

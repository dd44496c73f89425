/// The model of a program without its type. What depends on the variant, the precision and the backend is behind these
/// functions, which ../qwen3vl.cpp defines for each program; all else of program/ is compiled once for all of them. A
/// virtual call for a whole generate() costs nothing.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "qwen3vl/config/config.hpp"
#include "qwen3vl/generation/generate_types.hpp"
#include "qwen3vl/inputs/prompts.hpp"
#include "qwen3vl/inputs/reranker_tokens.hpp"
#include "qwen3vl/model/for_embedding.hpp"
#include "qwen3vl/model/forward_types.hpp"
#include "qwen3vl/model/memory_plan.hpp"
#include "qwen3vl/trace/trace.hpp"

namespace program {

using namespace qwen3vl;

/// What was chosen when the program was built.
struct Build {
  std::string variant;    ///< such as "2b"
  std::string precision;  ///< of the weights
  std::string backend;    ///< the CPU's instruction set, or "CUDA"
  bool on_device;
  VisionConfig vision;
  index_t hidden_size;

  std::string program_name() const { return "qwen3vl-" + variant + (on_device ? "-cuda" : ""); }
};
Build build();

/// Where a model computes.
struct Place {
  int threads = 0;  ///< of the CPU; 0: all processors
  int device = 0;   ///< number of the GPU
};

/// What is loaded once and then computes.
class Computing {
 public:
  virtual ~Computing() = default;
  /// Records every operation into `trace`, which must outlive it. Throws Error on a device, where operations go on
  /// after their call returns.
  virtual void set_trace(Trace* trace) = 0;
  /// Of the CPU.
  virtual int threads() const = 0;
};

/// A ForConditionalGeneration, whose functions these are.
class AnyModel : public Computing {
 public:
  /// A PromptCache.
  class Cache {
   public:
    virtual ~Cache() = default;
  };

  virtual const RuntimeConfig& config() const = 0;
  virtual const GenerationConfig& generation_config() const = 0;
  virtual const std::string& weight_types() const = 0;
  virtual std::unique_ptr<Cache> new_cache() const = 0;
  /// `cache`, if any, is of new_cache().
  virtual GenerateOutput generate(const Prompts& prompts, const GenerateOptions& options, Cache* cache = nullptr) = 0;
  virtual void save_pretrained(const std::filesystem::path& folder, const SaveOptions& options) = 0;
};
std::unique_ptr<AnyModel> load_model(const std::filesystem::path& checkpoint, const Place& place,
                                     const PretrainedOptions& options);

/// A ForEmbedding.
class AnyEmbedding : public Computing {
 public:
  virtual HostMatrix<float> operator()(const Prompts& prompts, const EmbeddingOptions& options) = 0;
};
std::unique_ptr<AnyEmbedding> load_embedding(const std::filesystem::path& checkpoint, const Place& place,
                                             const PretrainedOptions& options);

/// A ForReranker.
class AnyReranker : public Computing {
 public:
  virtual std::vector<float> operator()(const Prompts& prompts) = 0;
};
std::unique_ptr<AnyReranker> load_reranker(const std::filesystem::path& checkpoint, const Place& place,
                                           const RerankerTokens& tokens, const PretrainedOptions& options);

/// What a call of generate() would take, and what a device has free.
struct PlannedMemory {
  MemoryPlan plan;
  std::optional<std::size_t> free_on_device;
};
PlannedMemory memory_plan(const Place& place, const MemoryRequest& request);

}  // namespace program

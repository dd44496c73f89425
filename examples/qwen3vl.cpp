// The model of a program or of a C library, specialised at compile time: the variant, the precision and the backend
// come from the build (CMakeLists.txt), and this file is all that is compiled for them. It shows what is asked of the
// library's models. program/ has the rest, which is the same for all: main(), the command line, the processor, chat,
// batches, what is printed.
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "program/backend.hpp"
#include "program/model.hpp"
#include "qwen3vl/generation/generate.hpp"
#include "qwen3vl/loading/pretrained.hpp"
#include "qwen3vl/loading/pretrained_retrieval.hpp"
#include "qwen3vl/loading/save_pretrained.hpp"
#include "qwen3vl/model/memory_plan.hpp"
#include QWEN3VL_VARIANT_HEADER

#ifndef QWEN3VL_PRECISION
#define QWEN3VL_PRECISION Bf16
#endif

namespace program {
namespace {

using Variant = QWEN3VL_VARIANT_TYPE;
using Precision = ProgramPrecision<qwen3vl::QWEN3VL_PRECISION>;
using Model = ForConditionalGeneration<Variant, ProgramBackend, Precision>;
using Embedding = ForEmbedding<Variant, ProgramBackend, Precision>;
using Reranker = ForReranker<Variant, ProgramBackend, Precision>;

ProgramBackend backend_at(const Place& place) { return ProgramBackend(on_device ? place.device : place.threads); }

template <class B>
std::optional<std::size_t> free_memory(const B& device) {
  if constexpr (B::is_host) {
    return std::nullopt;
  } else {
    return device.free_bytes();
  }
}

/// A model with the backend that it computes on, behind an interface of program/model.hpp.
template <class Interface, class M>
class Loaded : public Interface {
  using B = typename M::BackendType;

 public:
  /// load(backend) makes the model.
  template <class Load>
  Loaded(const Place& place, const Load& load) : backend_(backend_at(place)), model_(load(backend_)) {}

  void set_trace(Trace* trace) final {
    if constexpr (B::is_host) {
      model_.context().set_trace(trace);
    } else {
      static_cast<void>(trace);
      fail("--trace is for the CPU's programs; on a GPU, its own tools (nsys profile) see every kernel");
    }
  }
  int threads() const final {
    if constexpr (B::is_host) {
      return backend_.threads();
    } else {
      return 0;
    }
  }

 protected:
  B backend_;
  M model_;  // points at the backend
};

class Generating final : public Loaded<AnyModel, Model> {
 public:
  using Loaded::Loaded;

  struct ModelCache : Cache {
    PromptCache<Model> keys_and_values;
  };

  const RuntimeConfig& config() const override { return model_.config(); }
  const GenerationConfig& generation_config() const override { return model_.generation_config(); }
  const std::string& weight_types() const override { return model_.weight_types(); }
  std::unique_ptr<Cache> new_cache() const override { return std::make_unique<ModelCache>(); }
  GenerateOutput generate(const Prompts& prompts, const GenerateOptions& options, Cache* cache) override {
    return model_.generate(prompts, options,
                           cache == nullptr ? nullptr : &static_cast<ModelCache*>(cache)->keys_and_values);
  }
  void save_pretrained(const std::filesystem::path& folder, const SaveOptions& options) override {
    model_.save_pretrained(folder, options);
  }
};

struct Embedder final : Loaded<AnyEmbedding, Embedding> {
  using Loaded::Loaded;
  HostMatrix<float> operator()(const Prompts& prompts, const EmbeddingOptions& options) override {
    return model_(prompts, options);
  }
};

struct Ranker final : Loaded<AnyReranker, Reranker> {
  using Loaded::Loaded;
  std::vector<float> operator()(const Prompts& prompts) override { return model_(prompts); }
};

}  // namespace

Build build() {
  return {.variant = QWEN3VL_VARIANT_NAME,
          .precision = std::string(Precision::name),
          .backend = backend_name,
          .on_device = on_device,
          .vision = Variant::config.vision,
          .hidden_size = Variant::config.text.hidden_size};
}

std::unique_ptr<AnyModel> load_model(const std::filesystem::path& checkpoint, const Place& place,
                                     const PretrainedOptions& options) {
  return std::make_unique<Generating>(
      place, [&](ProgramBackend& backend) { return Model::from_pretrained(checkpoint, backend, options); });
}

std::unique_ptr<AnyEmbedding> load_embedding(const std::filesystem::path& checkpoint, const Place& place,
                                             const PretrainedOptions& options) {
  return std::make_unique<Embedder>(
      place, [&](ProgramBackend& backend) { return Embedding::from_pretrained(checkpoint, backend, options); });
}

std::unique_ptr<AnyReranker> load_reranker(const std::filesystem::path& checkpoint, const Place& place,
                                           const RerankerTokens& tokens, const PretrainedOptions& options) {
  return std::make_unique<Ranker>(
      place, [&](ProgramBackend& backend) { return Reranker::from_pretrained(checkpoint, backend, tokens, options); });
}

PlannedMemory memory_plan(const Place& place, const MemoryRequest& request) {
  ProgramBackend backend = backend_at(place);
  Model model(backend);
  return {plan_memory(model, request), free_memory(backend)};
}

}  // namespace program

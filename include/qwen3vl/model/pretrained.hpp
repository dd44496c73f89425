/// ForConditionalGeneration::from_pretrained: a checkpoint folder of the Hub becomes a model.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "qwen3vl/config/compare.hpp"
#include "qwen3vl/config/config_json.hpp"
#include "qwen3vl/config/generation_config_json.hpp"
#include "qwen3vl/io/checkpoint.hpp"
#include "qwen3vl/model/for_conditional_generation.hpp"
#include "qwen3vl/model/packed_cache.hpp"

namespace qwen3vl {

/// The WeightSource of a checkpoint. Pages of loaded tensors are given back, so that a tensor is in memory once.
class CheckpointSource {
 public:
  explicit CheckpointSource(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  std::optional<RawTensor> find(const Part& part) const {
    const StoredTensor* const tensor = checkpoint_.find(part.name);
    if (tensor == nullptr) return std::nullopt;
    return RawTensor{.dtype = tensor->dtype, .data = tensor->bytes.data(), .shape = tensor->shape};
  }
  void release(const Part& part) const { checkpoint_.release(part.name); }
  std::vector<std::string> names() const { return checkpoint_.names(); }

 private:
  const Checkpoint& checkpoint_;
};

template <Variant V, Backend B, class P>
ForConditionalGeneration<V, B, P> ForConditionalGeneration<V, B, P>::from_pretrained(
    const std::filesystem::path& folder, B& backend, const PretrainedOptions& options) {
  const std::filesystem::path config_path = folder / options.config_file;
  CheckpointConfig config = read_config(config_path);
  require_equal(V::config, config.model, config_path.string());
  if (options.override_config) options.override_config(config.runtime);
  ForConditionalGeneration model(backend, config.runtime);
  model.set_generation_config(read_generation_config(folder, config.runtime.eos_token_id));
  const Checkpoint checkpoint = Checkpoint::open(folder);
  if constexpr (B::is_host) {
    if (!options.packed_cache.empty()) {
      PackedCache cache(options.packed_cache, model, folder, checkpoint);
      if (cache.read(backend.threads(), options.progress)) return model;
      model.load(CheckpointSource(checkpoint), folder.string(), options.progress);
      checkpoint.require_unchanged();
      try {
        cache.write();
      } catch (const Error& error) {
        if (options.warn) options.warn(error.what());
      }
      return model;
    }
  }
  model.load(CheckpointSource(checkpoint), folder.string(), options.progress);
  checkpoint.require_unchanged();
  return model;
}

}  // namespace qwen3vl

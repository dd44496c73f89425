/// ForConditionalGeneration::from_pretrained: a checkpoint folder of the Hub becomes a model.
#pragma once

#include <filesystem>

#include "qwen3vl/config/compare.hpp"
#include "qwen3vl/config/config_json.hpp"
#include "qwen3vl/config/generation_config_json.hpp"
#include "qwen3vl/loading/checkpoint_source.hpp"
#include "qwen3vl/loading/packed_cache.hpp"
#include "qwen3vl/model/for_conditional_generation.hpp"

namespace qwen3vl {

template <Variant V, Backend B, class P>
ForConditionalGeneration<V, B, P> ForConditionalGeneration<V, B, P>::from_pretrained(
    const std::filesystem::path& folder, B& backend, const PretrainedOptions& options) {
  const std::filesystem::path config_path = folder / options.config_file;
  CheckpointConfig config = read_config(config_path);
  require_equal(V::config, config.model, config_path.string());
  if (options.override_config) options.override_config(config.runtime);
  ForConditionalGeneration model(backend, config.runtime);
  model.set_generation_config(read_generation_config(folder, config.runtime.eos_token_id));
  const Checkpoint checkpoint = Checkpoint::open(folder, options.limits);
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

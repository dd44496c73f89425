/// ForConditionalGeneration::from_pretrained: a checkpoint folder of the Hub becomes a model.
#pragma once

#include <filesystem>

#include "qwen3vl/base/checkpoint_folder.hpp"
#include "qwen3vl/config/compare.hpp"
#include "qwen3vl/config/config_json.hpp"
#include "qwen3vl/config/generation_config_json.hpp"
#include "qwen3vl/loading/checkpoint_source.hpp"
#include "qwen3vl/loading/packed_cache.hpp"
#include "qwen3vl/model/for_conditional_generation.hpp"

namespace qwen3vl {

template <Variant V, Backend B, class P>
ForConditionalGeneration<V, B, P> ForConditionalGeneration<V, B, P>::from_pretrained(
    const std::filesystem::path& checkpoint_folder, B& backend, const PretrainedOptions& options) {
  const std::filesystem::path folder = find_checkpoint(checkpoint_folder);
  require_checkpoint_folder(folder, options.config_file);
  const std::filesystem::path config_path = folder / options.config_file;
  CheckpointConfig config = read_config(config_path, options.warn);
  const bool own_head = V::config.tie_word_embeddings && !config.model.tie_word_embeddings;
  if (own_head) config.model.tie_word_embeddings = true;  // a tied variant can have a head of its own
  require_equal(V::config, config.model, config_path.string());
  if (options.override_config) options.override_config(config.runtime);
  ForConditionalGeneration model(backend, config.runtime);
  model.set_generation_config(read_generation_config(folder, config.runtime.eos_token_id, options.warn));
  const Checkpoint checkpoint = Checkpoint::open(folder, options.limits, options.warn);
  CheckpointSource source(checkpoint);
  constexpr const char *head = "lm_head.weight", *embedding = "model.language_model.embed_tokens.weight";
  if (own_head) {
    model.untie_head();
  } else if constexpr (V::config.tie_word_embeddings) {
    if (source.tie(head, embedding)) {
      model.untie_head();
      if (options.warn)
        options.warn(concat(config_path.string(), " ties ", head, " to ", embedding, ", but ", folder.string(),
                            " stores both, with different values: they are not tied, as in transformers; set "
                            "tie_word_embeddings to false"));
    }
  }
  const auto stores = [&](const char* name) { return source.find(Part(name)).has_value(); };
  if (model.has_own_head() && !stores(head) && stores(embedding))
    fail(folder.string(), " stores no lm_head.weight: it is a save of the model without its head (Qwen3VLModel); save ",
         "the Qwen3VLForConditionalGeneration");
  const auto load = [&] {
    model.load(source, folder.string(), options.progress, options.warn);
    checkpoint.require_unchanged();
  };
  if constexpr (B::is_host) {
    if (!options.packed_cache.empty()) {
      PackedCache cache(options.packed_cache, model, folder, checkpoint);
      if (cache.read(backend.threads(), options.progress)) return model;
      load();
      try {
        cache.write();
      } catch (const Error& error) {
        if (options.warn) options.warn(error.what());
      }
      return model;
    }
  }
  load();
  return model;
}

}  // namespace qwen3vl

/// ForConditionalGeneration::from_pretrained: a checkpoint of the Hub, or GGUF files, becomes a model.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "qwen3vl/base/checkpoint_folder.hpp"
#include "qwen3vl/config/compare.hpp"
#include "qwen3vl/config/config_json.hpp"
#include "qwen3vl/config/generation_config_json.hpp"
#include "qwen3vl/io/checkpoint/checkpoint_files.hpp"
#include "qwen3vl/loading/adapters/merge_adapters.hpp"
#include "qwen3vl/loading/checkpoint_source.hpp"
#include "qwen3vl/loading/packed_cache.hpp"
#include "qwen3vl/loading/weight_types.hpp"
#include "qwen3vl/model/for_conditional_generation.hpp"

namespace qwen3vl {
namespace detail {

/// Shown the weights of a model without a head before they are loaded.
using SeeWeights = std::function<void(const CheckpointSource&, bool tied)>;

template <Variant V, Backend B, class P>
ForConditionalGeneration<V, B, P> load_pretrained(const std::filesystem::path& checkpoint, B& backend,
                                                  const PretrainedOptions& options, bool with_head,
                                                  const SeeWeights& see = {}) {
  const CheckpointFiles files(checkpoint, options.mmproj, options.warn, options.gguf_limits);
  const bool is_folder = files.gguf() == nullptr;
  if (is_folder) require_checkpoint_folder(files.path(), options.config_file);
  const std::string config_name = files.place_of(options.config_file);
  CheckpointConfig config = config_from_json(files.needed_json(options.config_file), config_name, options.warn);
  const bool own_head = V::config.tie_word_embeddings && !config.model.tie_word_embeddings;
  if (own_head) config.model.tie_word_embeddings = true;  // a tied variant can have a head of its own
  require_equal(V::config, config.model, config_name);
  if (options.override_config) options.override_config(config.runtime);
  ForConditionalGeneration<V, B, P> model(backend, config.runtime);
  const std::string generation = "generation_config.json";
  model.set_generation_config(
      is_folder ? read_generation_config(files.path(), config.runtime.eos_token_id, options.warn)
                : generation_config_from_json(files.needed_json(generation), files.place_of(generation), options.warn));
  Checkpoint weights = files.weights(options.limits, options.config_file);
  constexpr const char *head = "lm_head.weight", *embedding = "model.language_model.embed_tokens.weight";
  bool tied = V::config.tie_word_embeddings && !own_head;
  const bool parted = merge_adapters(weights, options, tied, head, embedding);
  tied = tied && !parted;
  CheckpointSource source(weights);
  if (own_head || parted) {
    model.untie_head();
  } else if constexpr (V::config.tie_word_embeddings) {
    if (source.tie(head, embedding)) {
      tied = false;
      model.untie_head();
      if (options.warn && (with_head || see))
        options.warn(concat(config_name, " ties ", head, " to ", embedding, ", but ", weights.name(),
                            " stores both, with different values: they are not tied, as in transformers; set "
                            "tie_word_embeddings to false"));
    }
  }
  if (!with_head) model.leave_out_head();
  if (see) see(source, tied);
  const auto stores = [&](const char* name) { return source.find(Part(name)).has_value(); };
  if (model.has_own_head() && !stores(head) && stores(embedding))
    fail(weights.name(), " stores no lm_head.weight: it is a save of the model without its head (Qwen3VLModel); save ",
         "the Qwen3VLForConditionalGeneration");
  const auto load = [&] {
    model.load(source, weights.name(), options.progress, options.warn);
    weights.require_unchanged();
    model.set_weight_types(qwen3vl::weight_types(model, source));
  };
  if constexpr (B::is_host) {
    if (!options.packed_cache.empty()) {
      expect_parameters(model, source);
      PackedCache cache(options.packed_cache, model, files.path(), weights);
      if (cache.read(backend.threads(), options.progress)) {
        model.set_weight_types(qwen3vl::weight_types(model, source));
        return model;
      }
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

}  // namespace detail

template <Variant V, Backend B, class P>
ForConditionalGeneration<V, B, P> ForConditionalGeneration<V, B, P>::from_pretrained(
    const std::filesystem::path& checkpoint, B& backend, const PretrainedOptions& options) {
  return detail::load_pretrained<V, B, P>(checkpoint, backend, options, true);
}

template <Variant V, Backend B, class P>
ForConditionalGeneration<V, B, P> ForConditionalGeneration<V, B, P>::without_head(
    const std::filesystem::path& checkpoint, B& backend, const PretrainedOptions& options,
    const std::function<void(const CheckpointSource&, bool)>& see) {
  return detail::load_pretrained<V, B, P>(checkpoint, backend, options, false, see);
}

}  // namespace qwen3vl

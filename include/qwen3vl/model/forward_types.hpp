/// Options and results of ForConditionalGeneration::forward.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "qwen3vl/base/file_limits.hpp"
#include "qwen3vl/base/warning.hpp"
#include "qwen3vl/config/runtime_config.hpp"
#include "qwen3vl/inputs/model_inputs.hpp"
#include "qwen3vl/layers/layer_selection.hpp"
#include "qwen3vl/model/load.hpp"
#include "qwen3vl/model/vision_outputs.hpp"
#include "qwen3vl/text/decoder_layer.hpp"

namespace qwen3vl {

/// A LoRA to merge into the checkpoint (loading/adapters/peft_adapter.hpp).
struct AdapterFolder {
  std::filesystem::path folder{};  ///< as PEFT saves it
  float scale = 1.0f;              ///< times the strength that it was trained with
};

/// Options of from_pretrained.
struct PretrainedOptions {
  /// File name of the model's configuration within the folder.
  std::string config_file = "config.json";
  /// The file of a GGUF model's vision tower (mmproj-*.gguf); empty: found beside the model.
  std::filesystem::path mmproj{};
  LoadProgress progress{};
  /// Changes the run-time half of config.json before it is used (rope parameters, token ids).
  std::function<void(RuntimeConfig&)> override_config{};
  /// Merged in this order, each into the result of those before, in float32 and before anything is rounded.
  std::vector<AdapterFolder> adapters{};
  /// Folder for packed weights. The first start writes a file of the weights' size into it; later starts read that file
  /// instead of packing again, several times faster. Whatever has changed (checkpoint, precision, processor) is packed
  /// again. Empty: none.
  std::filesystem::path packed_cache{};
  SafetensorsLimits limits{};  ///< for weight files in safetensors
  GgufLimits gguf_limits{};    ///< for those in GGUF
  /// Called with what does not stop loading: tensors that are not used, a tied head that is stored with other values,
  /// packed weights that could not be written, ...
  Warn warn = print_warning;
  /// Called with what loading did that is worth a line: which adapter changed how many tensors.
  Warn note{};
};

/// Options of save_pretrained.
struct SaveOptions {
  std::uint64_t max_shard_size = 50'000'000'000;  ///< bytes of a weight file; a larger tensor has one of its own
  LoadProgress progress{};                        ///< of the bytes that are written
};

/// `cache` (`past_key_values` before 5.24) with the `rope_deltas` that transformers keeps in the model object.
template <Variant V, Backend B, class P>
struct PastKeyValues {
  KvCache<V, B, P> cache;
  /// [B], empty before the first call: the next token's position - tokens in the cache
  std::vector<std::int64_t> rope_deltas;
  bool has_media = false;  ///< images or videos have come: padding takes no positions any more

  explicit PastKeyValues(index_t batch_size) : cache(batch_size) {}
};

/// What forward() computes besides the last hidden state.
struct ForwardOptions {
  /// False, without `past` and attention_mask: position_ids with a text axis tell apart sequences that are packed into
  /// one row.
  bool use_cache = true;
  /// The last n positions; 0: all.
  index_t logits_to_keep = 0;
  /// These positions instead, if not empty.
  std::vector<index_t> logits_positions{};
  /// [B, kept] for the positions whose logits are kept, each compared with the logits before it; enables the loss.
  HostMatrix<std::int32_t> labels{};
  /// Instead of `labels`: [B, kept], each compared with the logits of its own position.
  HostMatrix<std::int32_t> shift_labels{};
  std::int32_t ignore_index = -100;  ///< the label that does not count
  /// The loss is the labels' sum divided by this number (of all batches of a step), not their mean.
  std::optional<std::int64_t> num_items_in_batch{};
  LayerSelection output_hidden_states{};  ///< of the embedding and the layers: layers + 1
  LayerSelection output_attentions{};
  /// image_outputs and video_outputs, which the reference always gives. Which hidden states and attentions they have,
  /// the two selections above say.
  bool output_vision = false;
  /// For variants with experts; the loss then includes the weighted aux_loss, as in the reference. Not set: what
  /// config.json says.
  std::optional<bool> output_router_logits{};
};

/// Results in padded form; padded positions are 0.
struct ModelOutput {
  HostCube<float> logits;  ///< [B, kept, vocab_size]
  /// Mean cross entropy of the labels. A label behind padding counts (the first token of a prompt that is padded on the
  /// left), with the logits of a token that attends to nothing: those of the reference with `sdpa`, its default.
  std::optional<float> loss;
  HostCube<float> last_hidden_state;  ///< [B, S, hidden_size], after the final norm
  /// On request, [B, S, hidden_size]: the embedding, the outputs of the layers, last_hidden_state; empty where not
  /// wanted
  std::vector<HostCube<float>> hidden_states;
  /// On request, of each layer [B, heads, S, past + S]; empty where not wanted
  std::vector<HostTensor<float, dynamic, dynamic, dynamic, dynamic>> attentions;
  std::optional<VisionOutputs> image_outputs;    ///< on request, if there are images
  std::optional<VisionOutputs> video_outputs;    ///< the same of videos
  std::vector<HostMatrix<float>> router_logits;  ///< [B * S, num_experts] per layer with experts, before the softmax
  std::optional<float> aux_loss;                 ///< load balancing loss of the experts; with router_logits
  HostCube<std::int32_t> position_ids;           ///< [3, B, S]
  /// [B], or of each sequence that is packed into a row: the next token's position - tokens so far
  std::vector<std::int64_t> rope_deltas;
};

}  // namespace qwen3vl

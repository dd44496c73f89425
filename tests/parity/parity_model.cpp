// Runs golden cases against the variant and the backend that this program was built for:   parity-<model> CASE.json...
// Exit code 0: equal, 1: not.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <optional>

#include "golden_case.hpp"
#include "qwen3vl/backend/contract/transfer.hpp"
#ifdef QWEN3VL_BACKEND_HEADER
#include QWEN3VL_BACKEND_HEADER
#else
#include "qwen3vl/backend/cpu.hpp"
#define QWEN3VL_BACKEND Cpu
#endif
#include "qwen3vl/config/generation_config_json.hpp"
#include "qwen3vl/generation/generate.hpp"
#include "qwen3vl/loading/pretrained.hpp"
#include "qwen3vl/text/padded_forward.hpp"
#include QWEN3VL_VARIANT_HEADER

#ifndef QWEN3VL_PRECISION
#define QWEN3VL_PRECISION F32
#endif

namespace parity {
namespace {

using V = QWEN3VL_VARIANT_TYPE;
using P = qwen3vl::QWEN3VL_PRECISION;
using B = qwen3vl::QWEN3VL_BACKEND;
using Model = ForConditionalGeneration<V, B, P>;
constexpr TextConfig text = V::config.text;

// Which elements of a tensor [B, S, inner] (or with other axes around) are at real tokens.
std::vector<bool> real_positions(const HostMatrix<std::uint8_t>& mask, index_t outer, index_t inner) {
  std::vector<bool> keep;
  for (index_t b = 0; b < mask.rows(); ++b)
    for (index_t o = 0; o < outer; ++o)
      for (index_t s = 0; s < mask.extent(1); ++s)
        keep.insert(keep.end(), static_cast<std::size_t>(inner), mask(b, s) != 0);
  return keep;
}

std::vector<bool> keep_rows(const HostMatrix<std::uint8_t>& mask, index_t inner, index_t outer = 1) {
  return mask.allocated() ? real_positions(mask, outer, inner) : std::vector<bool>{};
}

HostMatrix<std::uint8_t> last_columns(const HostMatrix<std::uint8_t>& mask, index_t first, index_t count) {
  if (!mask.allocated()) return {};
  HostMatrix<std::uint8_t> part(mask.rows(), count);
  for (index_t b = 0; b < mask.rows(); ++b)
    for (index_t s = 0; s < count; ++s) part(b, s) = mask(b, first + s);
  return part;
}

template <class T>
HostMatrix<T> columns(const HostMatrix<T>& matrix, index_t first, index_t count) {
  if (!matrix.allocated()) return {};
  HostMatrix<T> part(matrix.rows(), count);
  for (index_t b = 0; b < matrix.rows(); ++b)
    for (index_t s = 0; s < count; ++s) part(b, s) = matrix(b, first + s);
  return part;
}

// Keys and values of the cache in padded form [B, K, S, head_dim].
void compare_cache(GoldenCase& golden, const Model::Cache& cache, const HostMatrix<std::uint8_t>& mask) {
  for (index_t layer = 0; layer < text.num_hidden_layers; ++layer) {
    for (const bool values : {false, true}) {
      const std::string name = concat(values ? "out.value." : "out.key.", layer);
      if (!golden.has(name)) continue;
      const index_t batch = golden.extent(name, 0), length = golden.extent(name, 2);
      HostTensor<float, dynamic, dynamic, dynamic, dynamic> padded(batch, text.num_key_value_heads, length,
                                                                   text.head_dim);
      for (index_t b = 0; b < batch; ++b) {
        HostCube<float> of_sequence(text.num_key_value_heads, cache.length(b), text.head_dim);
        if (values) {
          cache.copy_values(layer, b, of_sequence.view());
        } else {
          cache.copy_keys(layer, b, of_sequence.view());
        }
        index_t real = 0;
        for (index_t s = 0; s < length; ++s) {
          if (mask.allocated() && mask(b, s) == 0) continue;
          for (index_t h = 0; h < text.num_key_value_heads; ++h)
            for (index_t i = 0; i < text.head_dim; ++i) padded(b, h, s, i) = of_sequence(h, real, i);
          ++real;
        }
      }
      golden.compare(name, padded.span(), keep_rows(mask, text.head_dim, text.num_key_value_heads));
    }
  }
}

// What the option `name` of a case selects: true, false or a list.
LayerSelection layers(const GoldenCase& golden, const char* name) {
  const auto& value = golden.options().value(name, json(false));
  return value.is_boolean() ? LayerSelection(value.get<bool>()) : LayerSelection(value.get<std::vector<index_t>>());
}

void compare_states(GoldenCase& golden, const HostCube<float>& last, const std::vector<HostCube<float>>& hidden_states,
                    const std::vector<HostTensor<float, dynamic, dynamic, dynamic, dynamic>>& attentions,
                    const HostMatrix<std::uint8_t>& mask) {
  const auto keep = keep_rows(mask, text.hidden_size);
  if (golden.has("out.last_hidden_state")) golden.compare("out.last_hidden_state", last.span(), keep);
  for (std::size_t i = 0; i <= static_cast<std::size_t>(text.num_hidden_layers); ++i)
    if (const std::string name = concat("out.hidden_states.", i); golden.has(name))
      golden.compare(name, hidden_states.at(i).span(), keep);
  for (std::size_t i = 0; i < static_cast<std::size_t>(text.num_hidden_layers); ++i)
    if (const std::string name = concat("out.attentions.", i); golden.has(name))
      golden.compare(name, attentions.at(i).span(), keep_rows(mask, golden.extent(name, 3), text.num_attention_heads));
}

void run_vision(GoldenCase& golden, Model& model) {
  const auto pixel_values = golden.float_matrix("in.pixel_values");
  const auto grids = golden.grids("in.grid_thw");
  Context<B>& ctx = model.context();
  const auto& visual = model.model().visual();
  const index_t patches = pixel_values.rows();

  using A = activation_t<B, P>;
  Tensor<A, B, dynamic, V::config.vision.patch_dim()> patch_values(patches);
  Tensor<A, B, dynamic, V::config.vision.hidden_size> embedded(patches), positions(patches);  // zeros
  copy_from_host(ctx, pixel_values.view(), patch_values.view());
  visual.patch_embed()(ctx, patch_values.view(), embedded.view());
  golden.compare("out.patch_embed", download_floats(ctx, embedded.view()));
  visual.pos_embed()(ctx, grids, positions.view());
  golden.compare("out.pos_embed", download_floats(ctx, positions.view()));
  const index_t head_dim = V::config.vision.head_dim();
  const VisionRotaryTables tables =
      vision_rotary_tables(grids, V::config.vision.spatial_merge_size, head_dim, model.config().vision_rope_theta);
  const auto both_halves = [&](const std::vector<float>& half) {
    std::vector<float> whole;
    const auto width = static_cast<std::size_t>(head_dim / 2);
    for (std::size_t row = 0; row < half.size(); row += width)
      for (int copy = 0; copy < 2; ++copy)
        whole.insert(whole.end(), half.begin() + static_cast<std::ptrdiff_t>(row),
                     half.begin() + static_cast<std::ptrdiff_t>(row + width));
    return whole;
  };
  golden.compare("out.rotary_cos", both_halves(tables.cos));
  golden.compare("out.rotary_sin", both_halves(tables.sin));

  const auto output = visual.forward(ctx, pixel_values, grids, true);
  for (std::size_t i = 0; i < output.hidden_states.size(); ++i)
    if (const std::string name = concat("out.hidden_states.", i); golden.has(name))
      golden.compare(name, download_floats(ctx, output.hidden_states[i].view()));
  golden.compare("out.last_hidden_state", download_floats(ctx, output.hidden_states.back().view()));
  golden.compare("out.pooler_output", download_floats(ctx, output.pooler_output.view()));
  for (std::size_t j = 0; j < output.deepstack_features.size(); ++j)
    golden.compare(concat("out.deepstack_features.", j), download_floats(ctx, output.deepstack_features[j].view()));
}

// Ids or embeddings, mask and positions of TextInputs or ModelInputs.
template <class Inputs>
void read_tokens(const GoldenCase& golden, Inputs& inputs, const std::string& suffix = "") {
  inputs.input_ids = golden.matrix<TokenId>("in.input_ids" + suffix);
  inputs.attention_mask = golden.matrix<std::uint8_t>("in.attention_mask" + suffix);
  if (golden.has("in.inputs_embeds" + suffix)) {
    const auto& shape = golden.tensor("in.inputs_embeds" + suffix).shape;
    inputs.inputs_embeds = HostCube<float>(shape[0], shape[1], shape[2]);
    read_floats(golden.tensor("in.inputs_embeds" + suffix), inputs.inputs_embeds.span());
  }
  if (golden.has("in.position_ids" + suffix)) {
    const auto& shape = golden.tensor("in.position_ids" + suffix).shape;
    inputs.position_ids = shape.size() == 2 ? HostCube<std::int32_t>(1, shape[0], shape[1])
                                            : HostCube<std::int32_t>(shape[0], shape[1], shape[2]);
    golden.convert("in.position_ids" + suffix, inputs.position_ids.span());
  }
}

TextInputs text_inputs(const GoldenCase& golden) {
  TextInputs inputs;
  read_tokens(golden, inputs);
  inputs.visual_pos_masks = golden.matrix<std::uint8_t>("in.visual_pos_masks");
  for (int j = 0; golden.has(concat("in.deepstack_visual_embeds.", j)); ++j)
    inputs.deepstack_visual_embeds.push_back(golden.float_matrix(concat("in.deepstack_visual_embeds.", j)));
  inputs.use_cache = golden.options().value("use_cache", true);
  inputs.output_hidden_states = layers(golden, "hidden_states");
  inputs.output_attentions = layers(golden, "attentions");
  return inputs;
}

void run_text(GoldenCase& golden, Model& model) {
  const TextInputs inputs = text_inputs(golden);
  const index_t batch = inputs.input_ids.allocated() ? inputs.input_ids.rows() : inputs.inputs_embeds.rows();
  std::optional<Model::Cache> cache;
  if (inputs.use_cache) cache.emplace(batch);
  const TextOutput output =
      padded_forward(model.context(), model.model().language_model(), inputs, cache ? &*cache : nullptr);
  compare_states(golden, output.last_hidden_state, output.hidden_states, output.attentions, inputs.attention_mask);
  if (cache) compare_cache(golden, *cache, inputs.attention_mask);
}

void run_text_chunks(GoldenCase& golden, Model& model) {
  const TextInputs whole = text_inputs(golden);
  const index_t batch = whole.input_ids.rows();
  Model::Cache cache(batch);
  index_t first = 0;
  int chunk = 0;
  for (const index_t length : golden.options().at("chunks").get<std::vector<index_t>>()) {
    TextInputs part;
    part.input_ids = columns(whole.input_ids, first, length);
    part.attention_mask = columns(whole.attention_mask, 0, whole.attention_mask.allocated() ? first + length : 0);
    if (whole.position_ids.allocated()) {
      part.position_ids = HostCube<std::int32_t>(whole.position_ids.rows(), batch, length);
      for (index_t axis = 0; axis < whole.position_ids.rows(); ++axis)
        for (index_t b = 0; b < batch; ++b)
          for (index_t s = 0; s < length; ++s) part.position_ids(axis, b, s) = whole.position_ids(axis, b, first + s);
    }
    const TextOutput output = padded_forward(model.context(), model.model().language_model(), part, &cache);
    golden.compare(concat("out.chunk_last_hidden_state.", chunk++), output.last_hidden_state.span(),
                   keep_rows(last_columns(whole.attention_mask, first, length), text.hidden_size));
    first += length;
  }
  compare_cache(golden, cache, whole.attention_mask);
  const TextOutput one_shot = padded_forward(model.context(), model.model().language_model(), whole);
  golden.compare("out.last_hidden_state", one_shot.last_hidden_state.span(),
                 keep_rows(whole.attention_mask, text.hidden_size));
}

// Positions of real tokens.
void compare_positions(GoldenCase& golden, const std::string& name, const HostCube<std::int32_t>& positions,
                       const HostMatrix<std::uint8_t>& mask) {
  std::vector<std::int64_t> given(positions.span().begin(), positions.span().end()), expected = golden.integers(name);
  const auto keep = keep_rows(mask, 1, 3);
  for (std::size_t i = 0; i < given.size(); ++i)
    if (!keep.empty() && !keep[i]) given[i] = expected.at(i);
  golden.compare_integers<std::int64_t>(name, given);
}

void compare_rope_index(GoldenCase& golden, const HostCube<std::int32_t>& positions,
                        const std::vector<std::int64_t>& deltas) {
  if (golden.has("out.position_ids")) golden.compare_integers<std::int32_t>("out.position_ids", positions.span());
  if (golden.has("out.rope_deltas")) golden.compare_integers<std::int64_t>("out.rope_deltas", deltas);
}

void run_rope_index(GoldenCase& golden) {
  const RopeIndex index =
      get_rope_index(golden.matrix<std::uint8_t>("in.mm_token_type_ids"), golden.grids("in.image_grid_thw"),
                     golden.grids("in.video_grid_thw"), golden.matrix<std::uint8_t>("in.attention_mask"),
                     V::config.vision.spatial_merge_size);
  compare_rope_index(golden, index.position_ids, index.rope_deltas);
}

ModelInputs model_inputs(const GoldenCase& golden, const std::string& suffix = "") {
  ModelInputs inputs;
  read_tokens(golden, inputs, suffix);
  inputs.mm_token_type_ids = golden.matrix<std::uint8_t>("in.mm_token_type_ids" + suffix);
  inputs.pixel_values = golden.float_matrix("in.pixel_values" + suffix);
  inputs.image_grid_thw = golden.grids("in.image_grid_thw" + suffix);
  inputs.pixel_values_videos = golden.float_matrix("in.pixel_values_videos" + suffix);
  inputs.video_grid_thw = golden.grids("in.video_grid_thw" + suffix);
  return inputs;
}

void compare_vision(GoldenCase& golden, const std::string& prefix, const VisionOutputs& outputs) {
  golden.compare(prefix + "last_hidden_state", outputs.last_hidden_state.span());
  for (std::size_t i = 0; i < outputs.pooler_output.size(); ++i) {
    golden.compare(concat(prefix, "pooler_output.", i), outputs.pooler_output[i].span());
    for (std::size_t j = 0; j < outputs.deepstack_features.size(); ++j)
      golden.compare(concat(prefix, "deepstack_features.", j, ".", i), outputs.deepstack_features[j].at(i).span());
  }
  for (std::size_t i = 0; i < outputs.hidden_states.size(); ++i) {
    const std::string name = concat(prefix, "hidden_states.", i);
    if (golden.has(name)) {
      golden.compare(name, outputs.hidden_states[i].span());
    } else if (outputs.hidden_states[i].allocated()) {
      golden.report(name, "was not requested");
    }
  }
}

void run_model(GoldenCase& golden, Model& model) {
  const ModelInputs inputs = model_inputs(golden);
  ForwardOptions options;
  options.output_hidden_states = layers(golden, "hidden_states");
  options.output_attentions = layers(golden, "attentions");
  options.output_router_logits = golden.has("out.router_logits.0") || golden.has("out.aux_loss");
  options.output_vision = golden.has("out.image_outputs.last_hidden_state");
  options.labels = golden.matrix<std::int32_t>("in.labels");
  options.shift_labels = golden.matrix<std::int32_t>("in.shift_labels");
  options.ignore_index = golden.options().value("ignore_index", options.ignore_index);
  if (golden.options().contains("num_items_in_batch"))
    options.num_items_in_batch = golden.options().at("num_items_in_batch").get<std::int64_t>();
  options.logits_to_keep = golden.options().value("logits_to_keep", index_t{0});
  if (golden.has("in.logits_to_keep")) options.logits_positions = golden.integers("in.logits_to_keep");
  options.use_cache = golden.options().value("use_cache", true);
  Model::Past past(inputs.batch_size());
  const ModelOutput output = model.forward(inputs, options, options.use_cache ? &past : nullptr);
  if (golden.has("out.logits")) {
    const bool all = golden.extent("out.logits", 1) == inputs.length();
    golden.compare("out.logits", output.logits.span(),
                   all ? keep_rows(inputs.attention_mask, text.vocab_size) : std::vector<bool>{});
  }
  compare_states(golden, output.last_hidden_state, output.hidden_states, output.attentions, inputs.attention_mask);
  compare_cache(golden, past.cache, inputs.attention_mask);
  if (golden.has("out.rope_deltas")) {
    compare_rope_index(golden, output.position_ids, output.rope_deltas);
  } else if (golden.has("out.position_ids")) {
    compare_positions(golden, "out.position_ids", output.position_ids, inputs.attention_mask);
  }
  for (std::size_t i = 0; i < static_cast<std::size_t>(text.num_hidden_layers); ++i)
    if (const std::string name = concat("out.router_logits.", i); golden.has(name))
      golden.compare(name, output.router_logits.at(i).span(), keep_rows(inputs.attention_mask, text.moe.num_experts));
  if (golden.has("out.aux_loss")) golden.compare("out.aux_loss", std::vector<float>{output.aux_loss.value_or(0.0f)});
  if (golden.has("out.loss")) golden.compare("out.loss", std::vector<float>{output.loss.value_or(0.0f)});
  if (options.output_vision) {
    compare_vision(golden, "out.image_outputs.", output.image_outputs.value());
    compare_vision(golden, "out.video_outputs.", output.video_outputs.value());
  }
  for (std::size_t i = 0; i < output.hidden_states.size(); ++i)
    if (output.hidden_states[i].allocated() !=
        options.output_hidden_states.contains(static_cast<index_t>(i), text.num_hidden_layers + 1))
      golden.report(concat("hidden_states.", i), "is not what was requested");
  // Features of images and videos computed before, and no pixels: the same to the last bit.
  if (const auto features = model.get_visual_features(inputs)) {
    ModelInputs without_pixels = model_inputs(golden);
    without_pixels.pixel_values = {};
    without_pixels.pixel_values_videos = {};
    const ModelOutput again = model.forward(without_pixels, options, nullptr, &*features);
    if (!std::ranges::equal(again.logits.span(), output.logits.span()))
      fail("logits from features that were computed before differ");
  }
}

void run_model_steps(GoldenCase& golden, Model& model) {
  ModelInputs inputs = model_inputs(golden);
  const HostMatrix<TokenId> all = golden.matrix<TokenId>("in.input_ids");
  const auto prefill = golden.options().at("prefill").get<index_t>();
  inputs.input_ids = columns(all, 0, prefill);
  inputs.mm_token_type_ids = columns(inputs.mm_token_type_ids, 0, prefill);
  inputs.attention_mask = columns(inputs.attention_mask, 0, prefill);
  Model::Past past(all.rows());
  ForwardOptions last;
  last.logits_to_keep = 1;
  ModelOutput output = model.forward(inputs, last, &past);
  golden.compare("out.logits.0", output.logits.span());
  for (index_t step = prefill; step < all.extent(1); ++step) {
    ModelInputs one;
    one.input_ids = columns(all, step, 1);
    output = model.forward(one, last, &past);
    golden.compare(concat("out.logits.", step - prefill + 1), output.logits.span());
  }
  golden.compare_integers<std::int64_t>("out.rope_deltas", past.rope_deltas);
  compare_cache(golden, past.cache, {});
}

// Calls of forward() over one cache.
void run_model_calls(GoldenCase& golden, Model& model) {
  const int calls = golden.options().at("calls");
  std::optional<Model::Past> past;
  for (int j = 0; j < calls; ++j) {
    const std::string suffix = concat(".", j);
    const ModelInputs inputs = model_inputs(golden, suffix);
    const index_t length = inputs.length();
    if (!past) past.emplace(inputs.batch_size());
    const ModelOutput output = model.forward(inputs, {}, &*past);
    const auto& mask = inputs.attention_mask;
    const auto own = last_columns(mask, mask.allocated() ? mask.extent(1) - length : 0, length);
    compare_positions(golden, "out.position_ids" + suffix, output.position_ids, own);
    golden.compare("out.logits" + suffix, output.logits.span(), keep_rows(own, text.vocab_size));
  }
}

// Scores with removed tokens, which the case has apart.
void compare_scores(GoldenCase& golden, std::span<const float> scores) {
  std::vector<float> finite(scores.begin(), scores.end());
  std::vector<std::uint8_t> removed;
  for (float& score : finite) {
    removed.push_back(score == removed_score);
    if (score == removed_score) score = 0.0f;
  }
  golden.compare("out.scores", finite);
  golden.compare_integers<std::uint8_t>("out.removed", removed);
}

std::vector<std::vector<TokenId>> rows_of(const HostMatrix<TokenId>& matrix) {
  std::vector<std::vector<TokenId>> rows;
  for (index_t b = 0; matrix.allocated() && b < matrix.rows(); ++b)
    rows.emplace_back(matrix[b].span().begin(), matrix[b].span().end());
  return rows;
}

// Tokens whose text is a prefix and their number.
struct NamedTokens {
  explicit NamedTokens(const std::string& prefix) {
    for (TokenId id = 0; id < text.vocab_size; ++id) names.push_back(concat(prefix, id));
  }
  std::string_view bytes_or_nothing(TokenId id) const { return names.at(static_cast<std::size_t>(id)); }

  std::vector<std::string> names;
};

void compare_layers(GoldenCase& golden, const GenerateOutput& result) {
  for (std::size_t step = 0; step < result.new_tokens[0].size(); ++step)
    for (std::size_t layer = 0; layer <= static_cast<std::size_t>(text.num_hidden_layers); ++layer) {
      if (const std::string name = concat("out.attentions.", step, ".", layer); golden.has(name))
        golden.compare(name, result.attentions.at(step).at(layer).span());
      if (const std::string name = concat("out.hidden_states.", step, ".", layer); golden.has(name))
        golden.compare(name, result.hidden_states.at(step).at(layer).span());
    }
}

void run_generate(GoldenCase& golden, Model& model) {
  const ModelInputs inputs = model_inputs(golden);
  json given = golden.options().at("options");
  if (!given.contains("top_k")) given["top_k"] = 0;  // unlisted options are off, not those of the checkpoint
  GenerationConfig config = generation_config_from_json(given, "the case");
  config.pad_token_id = model.config().bos_token_id;
  model.set_generation_config(config);
  GenerateOptions options{.negative_prompt_ids = rows_of(golden.matrix<TokenId>("in.negative_prompt_ids"))};
  if (const TokenId modulus = golden.options().value("same_remainder", 0); modulus > 0)
    options.prefix_allowed_tokens_fn = [modulus](index_t, std::span<const TokenId> ids) {
      std::vector<TokenId> allowed;
      for (TokenId id = (ids.back() + 1) % modulus; id < text.vocab_size; id += modulus) allowed.push_back(id);
      return allowed;
    };
  if (golden.options().contains("token_names"))
    options.tokenizer = NamedTokens(golden.options().at("token_names").get<std::string>());
  if (golden.has("out.logits")) options.output_logits = true;
  const auto result = model.generate(inputs, options);
  if (golden.has("out.sequences")) golden.compare_integers<TokenId>("out.sequences", result.sequences.span());
  if (golden.has("out.logits")) golden.compare("out.logits", result.logits.span());
  if (golden.has("out.scores")) compare_scores(golden, result.scores.span());
  if (golden.has("out.beam_indices")) {
    const auto width = static_cast<std::size_t>(golden.extent("out.beam_indices", 1));
    std::vector<index_t> all;
    for (std::vector<index_t> row : result.beam_indices) {
      row.resize(width, -1);
      all.insert(all.end(), row.begin(), row.end());
    }
    golden.compare_integers<index_t>("out.beam_indices", all);
  }
  if (golden.has("out.sequences_scores")) golden.compare("out.sequences_scores", result.sequences_scores);
  compare_layers(golden, result);
  if (config.num_beams > 1 || config.guidance_scale != 1.0f || config.do_sample) return;
  // Guessing ahead, and the prompt in parts, change nothing.
  options.prompt_lookup_num_tokens = 6;
  options.prefill_chunk = 5;
  const auto guessed = model.generate(inputs, options);
  golden.compare_integers<TokenId>("out.sequences", guessed.sequences.span());
  compare_layers(golden, guessed);
}

Exit run(const std::filesystem::path& file, B& backend) {
  GoldenCase golden(file);
  std::printf("%s\n", file.stem().c_str());
  const std::string config_file = golden.options().value("config", "config.json");
  const std::string kind = golden.kind();
  if (kind == "rope_index") {
    run_rope_index(golden);
    return golden.result();
  }
  Model model = Model::from_pretrained(golden.checkpoint(), backend, {.config_file = config_file});
  if (kind == "vision") {
    run_vision(golden, model);
  } else if (kind == "text") {
    run_text(golden, model);
  } else if (kind == "text_chunks") {
    run_text_chunks(golden, model);
  } else if (kind == "model") {
    run_model(golden, model);
  } else if (kind == "model_steps") {
    run_model_steps(golden, model);
  } else if (kind == "model_calls") {
    run_model_calls(golden, model);
  } else if (kind == "generate") {
    run_generate(golden, model);
  } else {
    fail("the case is of the unknown kind '", kind, "'");
  }
  return golden.result();
}

}  // namespace
}  // namespace parity

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s CASE.json...\n", argv[0]);
    return 2;
  }
  try {
    parity::B backend;
    int result = parity::passed;
    for (int i = 1; i < argc; ++i)
      if (parity::run(argv[i], backend) != parity::passed) result = parity::failed;
    return result;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "FAILED: %s\n", error.what());
    return parity::failed;
  }
}

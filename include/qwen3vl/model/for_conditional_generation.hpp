/// The whole model with its head (Qwen3VLForConditionalGeneration, Qwen3VLMoeForConditionalGeneration), the type that
/// programs use:
///
///   using Model = qwen3vl::ForConditionalGeneration<qwen3vl::Qwen3VL_2B, qwen3vl::Cpu, qwen3vl::Bf16>;
///   qwen3vl::Cpu cpu;
///   auto model = Model::from_pretrained("path/to/Qwen3-VL-2B-Instruct", cpu);   // loading/pretrained.hpp
///   auto ids = model.generate(inputs, {.max_new_tokens = 128});                 // generation/generate.hpp
#pragma once

#include <algorithm>
#include <concepts>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "qwen3vl/config/generation_config.hpp"
#include "qwen3vl/model/forward_types.hpp"
#include "qwen3vl/model/load.hpp"
#include "qwen3vl/model/qwen3vl_model.hpp"
#include "qwen3vl/model/rope_index.hpp"

namespace qwen3vl {

// The inputs and outputs of generate(): generation/generate.hpp.
struct GenerateOptions;
struct GenerateOutput;
template <class Model>
class PromptCache;

template <Variant V, Backend B, class P>
class ForConditionalGeneration {
  static constexpr TextConfig text = V::config.text;
  static constexpr index_t hidden = text.hidden_size;
  static constexpr index_t vocab = text.vocab_size;
  static constexpr bool tied = V::config.tie_word_embeddings;
  using A = activation_t<B, P>;
  using Head = Linear<hidden, vocab, B, P, false, Packing::plain, head_weight_t<P>>;

  std::unique_ptr<Context<B>> ctx_;
  Qwen3VLModel<V, B, P> model_;
  Head lm_head_;  // without memory while the embedding is the head
  bool has_own_head_ = !tied;
  RuntimeConfig config_;
  GenerationConfig generation_config_;

 public:
  using VariantType = V;
  using BackendType = B;
  using PrecisionType = P;
  using Cache = KvCache<V, B, P>;
  using Features = VisionOutput<V, B, P>;
  using Past = PastKeyValues<V, B, P>;
  static constexpr index_t vocab_size = vocab;

  /// A model without weights; `load` fills it. `backend` must outlive the model.
  explicit ForConditionalGeneration(B& backend, RuntimeConfig config = {})
      : ctx_(std::make_unique<Context<B>>(backend)), config_(std::move(config)) {
    model_.configure(*ctx_, config_);
  }

  /// Loads a checkpoint folder in the layout of the Hub. Defined in loading/pretrained.hpp, which reads files.
  static ForConditionalGeneration from_pretrained(const std::filesystem::path& folder, B& backend,
                                                  const PretrainedOptions& options = {});

  /// Writes config.json, generation_config.json and the weights, in one safetensors file or several with an index, as
  /// transformers 5 names and lays them out, in the type in which they are held (float32 or bfloat16): what
  /// from_pretrained reads, here and there. Weights that loading rounded (q8, q4, fp8) are an Error. Files of an
  /// earlier save in `folder` are replaced. Defined in loading/save_pretrained.hpp; a template, so that a library can
  /// instantiate the model without it.
  template <std::same_as<SaveOptions> Options = SaveOptions>
  void save_pretrained(const std::filesystem::path& folder, const Options& options = {});

  /// All parameters by their names on the Hub.
  template <class F>
  void parameters(F&& f) {
    visit("model.", model_, f);
    if (has_own_head_) visit("lm_head.", lm_head_, f);
  }

  /// Gives a model whose config is tied (`tie_word_embeddings`) a head of its own, to be loaded from `lm_head.weight`:
  /// for a checkpoint whose two matrices differ, which transformers does not tie either.
  void untie_head() { has_own_head_ = true; }
  /// Whether the head is a matrix of its own, not the embedding.
  bool has_own_head() const { return has_own_head_; }

  /// Fills all parameters from a WeightSource; see load_parameters.
  template <class Source>
  void load(Source&& source, std::string_view source_name, const LoadProgress& progress = {},
            const Warn& warn = print_warning) {
    std::vector<std::string> ignored;
    if (!has_own_head_) ignored.push_back("lm_head.weight");  // some tools store the tied head a second time
    load_parameters(*ctx_, *this, source, source_name, progress, ignored, warn);
  }

  Context<B>& context() { return *ctx_; }
  const RuntimeConfig& config() const { return config_; }
  /// Defaults of generate(): the checkpoint's generation_config.json.
  const GenerationConfig& generation_config() const { return generation_config_; }
  void set_generation_config(GenerationConfig config) { generation_config_ = std::move(config); }
  const Qwen3VLModel<V, B, P>& model() const { return model_; }
  /// Sets the run-time values of the attention policy, such as `attention_policy::Scored<SoftCap>{{50.0f}}`: one for
  /// all layers of vision tower and text model, or a function of the text layer's index that returns each.
  template <class Policy>
  void set_attention(const Policy& policy) {
    model_.set_attention(policy);
  }

  /// One pass over a padded batch, with the outputs selected by `options`. With `past`, these tokens follow those of
  /// `past` and are appended to it. `features`, if given, are those of the images and videos of `inputs`, computed
  /// before by get_visual_features; `inputs` then needs only their grids, no pixels.
  ModelOutput forward(const ModelInputs& inputs, const ForwardOptions& options = {}, Past* past = nullptr,
                      const Features* features = nullptr);

  /// Features of images and videos (get_image_features, get_video_features), images first. Empty if there are none.
  std::optional<Features> get_visual_features(const Media& media) { return model_.get_visual_features(*ctx_, media); }

  /// Generates from prompts, packed as a Processor returns them (Prompts) or padded (ModelInputs), with the model's
  /// generation_config, modified by `options`. With a `cache`, only tokens, images and videos that it does not hold are
  /// computed. Defined in generation/generate.hpp; templates, so that a library can instantiate the model without
  /// generation.
  template <PromptInput Input>
  GenerateOutput generate(const Input& prompts, const GenerateOptions& options,
                          PromptCache<ForConditionalGeneration>* cache = nullptr);
  template <PromptInput Input>
  GenerateOutput generate(const Input& prompts);

  /// Appends `batch` to the cache and computes the logits [rows, vocab_size] that follow some of its tokens.
  void next_logits(const TokenBatch& batch, const Features* features, Cache& cache,
                   const std::vector<std::int32_t>& rows, View<float, B, dynamic, vocab> logits) {
    auto x = ctx_->template scratch<A, dynamic, hidden>(batch.tokens());  // [tokens, hidden]
    model_.forward(*ctx_, batch, features, cache, x);
    if (!rows.empty()) head(x, rows, logits);
  }

  /// The same for text only, with ids [tokens] and positions [3, tokens] in the backend's memory: logits [tokens,
  /// vocab_size], one row per token. For rope types whose frequencies do not depend on positions. The host only calls
  /// operations of `ctx`, so that they can be recorded.
  void next_logits(Context<B>& ctx, View<const TokenId, B, dynamic> ids,
                   View<const std::int32_t, B, 3, dynamic> positions, const Segments& sequences, Cache& cache,
                   View<float, B, dynamic, vocab> logits) {
    const TextModel<V, B, P>& text_model = model_.language_model();
    auto x = ctx.template scratch<A, dynamic, hidden>(ids.rows());  // [tokens, hidden]
    text_model.embed_tokens()(ctx, ids, x);
    text_model.forward(ctx, x, positions, 0, sequences, cache);
    text_model.norm(ctx, x, x);
    linear(ctx, x, head_weight(), View<const float, B, vocab>(), logits, epilogue::Store{});
  }

  /// Final norm and head for some rows of the last layer's hidden states: x [tokens, hidden] to logits [rows,
  /// vocab_size], which are f32 for every activation type.
  void head(View<const A, B, dynamic, hidden> x, const std::vector<std::int32_t>& rows,
            View<float, B, dynamic, vocab> logits) {
    const TraceScope scope(ctx_->trace(), "head", {"rows", static_cast<index_t>(rows.size())});
    const auto index = upload<std::int32_t>(*ctx_, rows);
    auto wanted = ctx_->template scratch<A, dynamic, hidden>(index.rows());  // [rows, hidden]
    gather_rows(*ctx_, x, index, wanted);
    model_.language_model().norm(*ctx_, wanted, wanted);
    linear(*ctx_, wanted, head_weight(), View<const float, B, vocab>(), logits, epilogue::Store{});
  }

 private:
  const auto& head_weight() const {
    return has_own_head_ ? lm_head_.weight() : model_.language_model().embed_tokens().weight();
  }
};

template <Variant V, Backend B, class P>
ModelOutput ForConditionalGeneration<V, B, P>::forward(const ModelInputs& inputs, const ForwardOptions& options,
                                                       Past* past, const Features* features) {
  const index_t batch_size = inputs.batch_size(), length = inputs.length();
  if (batch_size == 0 || length == 0) fail("the input has no tokens");
  constexpr index_t merge = V::config.vision.spatial_merge_size;
  const PackedTokens packed = pack(batch_size, length, inputs.attention_mask);
  const PromptTokens prompts =
      from_padded(inputs, packed, config_.tokens.image_token_id, config_.tokens.video_token_id, merge);

  detail::check_ids(prompts.ids, vocab);  // before `past` is touched
  std::optional<Past> own_past;
  if (past == nullptr) past = &own_past.emplace(batch_size);
  if (past->cache.sequences() != batch_size)
    fail("past_key_values holds ", past->cache.sequences(), " sequences, the batch ", batch_size);
  ModelOutput output;
  output.position_ids = detail::forward_positions(inputs, packed, prompts, merge, *past);
  output.rope_deltas = past->rope_deltas;
  TokenBatch batch = token_batch(prompts, detail::pack_positions(packed, output.position_ids, 0), vocab);
  batch.longest_position = detail::longest_position(output.position_ids);

  std::vector<index_t> cached;
  for (index_t s = 0; s < batch_size; ++s) cached.push_back(past->cache.length(s));
  const index_t past_length = *std::ranges::max_element(cached);
  std::optional<Features> own_features;
  if (features == nullptr && (own_features = model_.get_visual_features(*ctx_, inputs))) features = &*own_features;
  detail::check_features(batch.feature_rows, features == nullptr ? 0 : features->pooler_output.rows());
  TextRecord<V, B, P> record;
  record.want_hidden_states = options.output_hidden_states;
  record.want_attentions = options.output_attentions;
  record.want_router_logits = options.output_router_logits.value_or(config_.output_router_logits);
  auto x = ctx_->template scratch<A, dynamic, hidden>(batch.tokens());  // [tokens, hidden]
  model_.forward(*ctx_, batch, features, past->cache, x, &record);

  {
    auto normed = ctx_->template scratch<A, dynamic, hidden>(batch.tokens());  // [tokens, hidden]
    model_.language_model().norm(*ctx_, x, normed);
    output.last_hidden_state = unpack(packed, download_floats(*ctx_, normed), hidden);
    for (const auto& states : record.hidden_states)
      output.hidden_states.push_back(unpack(packed, download_floats(*ctx_, states.view()), hidden));
    if (options.output_hidden_states)
      output.hidden_states.push_back(unpack(packed, download_floats(*ctx_, normed), hidden));
  }
  const auto columns = detail::key_columns(packed, inputs.attention_mask, cached);
  for (const auto& of_layer : record.attentions)
    output.attentions.push_back(detail::unpack_attentions(packed, columns, detail::to_host(*ctx_, of_layer),
                                                          text.num_attention_heads, past_length + length));

  std::vector<std::vector<float>> router_logits;
  for (const auto& logits : record.router_logits) {
    constexpr index_t experts = text.moe.num_experts;
    router_logits.push_back(download_floats(*ctx_, logits.view()));
    auto& padded = output.router_logits.emplace_back(batch_size * length, experts);
    for (std::size_t i = 0; i < packed.source.size(); ++i)
      std::copy_n(router_logits.back().data() + static_cast<index_t>(i) * experts, experts,
                  padded.data() + packed.source[i] * experts);
  }
  if (!router_logits.empty())
    output.aux_loss = detail::load_balancing_loss(router_logits, text.moe.num_experts, text.moe.num_experts_per_tok);

  // Logits of the wanted positions, a few rows at a time: all of them together can be larger than the model.
  const std::vector<index_t> kept = detail::kept_positions(options, length);
  const auto kept_count = static_cast<index_t>(kept.size());
  output.logits = HostCube<float>(batch_size, kept_count, vocab);
  std::vector<std::int32_t> packed_row(static_cast<std::size_t>(batch_size * length), -1);
  for (std::size_t i = 0; i < packed.source.size(); ++i)
    packed_row[static_cast<std::size_t>(packed.source[i])] = static_cast<std::int32_t>(i);
  constexpr index_t rows_at_once = 64;
  std::vector<std::int32_t> rows;
  std::vector<index_t> targets;
  const auto flush = [&] {
    auto logits = ctx_->template scratch<float, dynamic, vocab>(static_cast<index_t>(rows.size()));  // [rows, vocab]
    head(x, rows, logits);
    const std::vector<float> host = download_floats(*ctx_, logits);
    for (std::size_t i = 0; i < targets.size(); ++i)
      std::copy_n(host.data() + static_cast<index_t>(i) * vocab, vocab, output.logits.data() + targets[i] * vocab);
    rows.clear();
    targets.clear();
  };
  for (index_t b = 0; b < batch_size; ++b) {
    for (index_t k = 0; k < kept_count; ++k) {
      const std::int32_t row = packed_row[static_cast<std::size_t>(b * length + kept[static_cast<std::size_t>(k)])];
      if (row < 0) continue;
      rows.push_back(row);
      targets.push_back(b * kept_count + k);
      if (static_cast<index_t>(rows.size()) == rows_at_once) flush();
    }
  }
  if (!rows.empty()) flush();
  if (options.labels.allocated()) {
    output.loss = detail::shifted_loss(output.logits, options.labels, inputs.attention_mask);
    if (output.aux_loss) *output.loss += static_cast<float>(config_.router_aux_loss_coef) * *output.aux_loss;
  }
  return output;
}

}  // namespace qwen3vl

/// The whole model with its head (Qwen3VLForConditionalGeneration, Qwen3VLMoeForConditionalGeneration), the type that
/// programs use:
///
///   using Model = qwen3vl::ForConditionalGeneration<qwen3vl::Qwen3VL_2B, qwen3vl::Cpu, qwen3vl::Bf16>;
///   qwen3vl::Cpu cpu;
///   auto model = Model::from_pretrained("path/to/Qwen3-VL-2B-Instruct", cpu);   // loading/pretrained.hpp
///   auto ids = model.generate(inputs, {.max_new_tokens = 128});                 // generation/generate.hpp
#pragma once

#include <concepts>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "qwen3vl/config/generation_config.hpp"
#include "qwen3vl/model/forward_types.hpp"
#include "qwen3vl/model/load.hpp"
#include "qwen3vl/model/loss.hpp"
#include "qwen3vl/model/qwen3vl_model.hpp"

namespace qwen3vl {

// The inputs and outputs of generate(): generation/generate.hpp.
struct GenerateOptions;
struct GenerateOutput;
template <class Model>
class PromptCache;
class CheckpointSource;  // loading/checkpoint_source.hpp

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
  bool has_head_ = true;
  RuntimeConfig config_;
  GenerationConfig generation_config_;
  std::string weight_types_;

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

  /// Loads a checkpoint: a folder in the layout of the Hub, a name in the Hub's cache (base/hub_cache.hpp), or GGUF
  /// files (io/checkpoint/checkpoint_files.hpp). Defined in loading/pretrained.hpp, which reads files.
  static ForConditionalGeneration from_pretrained(const std::filesystem::path& checkpoint, B& backend,
                                                  const PretrainedOptions& options = {});

  /// The same without a head, which is neither read nor allocated: for what needs only hidden states
  /// (for_embedding.hpp, for_reranker.hpp). `see`, if given, is called with the checkpoint's weights before they are
  /// loaded, and whether its config ties the head to the embedding.
  static ForConditionalGeneration without_head(const std::filesystem::path& checkpoint, B& backend,
                                               const PretrainedOptions& options = {},
                                               const std::function<void(const CheckpointSource&, bool tied)>& see = {});

  /// Writes config.json, generation_config.json and the weights, in one safetensors file or several with an index, as
  /// transformers 5 names and lays them out, in the type in which they are held (float32 or bfloat16; q8 and q4 as what
  /// they multiply out to, in float32): what from_pretrained reads, here and there. fp8 is an Error. Files of an
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

  /// Gives the head up, before weights are loaded: next_logits(), forward() and generate() are then an Error.
  void leave_out_head() {
    has_own_head_ = false;
    has_head_ = false;
  }

  /// Fills all parameters from a WeightSource; see load_parameters.
  template <class Source>
  void load(Source&& source, std::string_view source_name, const LoadProgress& progress = {},
            const Warn& warn = print_warning) {
    std::vector<std::string> ignored;
    if (!has_own_head_) ignored.push_back("lm_head.weight");  // some tools store the tied head a second time
    load_parameters(*ctx_, *this, source, source_name, progress, ignored, warn);
  }

  /// Of a model from from_pretrained: the types of its matrices in the file, and those that they are kept in
  /// (loading/weight_types.hpp).
  const std::string& weight_types() const { return weight_types_; }
  void set_weight_types(std::string text) { weight_types_ = std::move(text); }

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
  /// before by get_visual_features; `inputs` then needs only their grids, no pixels. Defined in model/forward.hpp.
  ModelOutput forward(const ModelInputs& inputs, const ForwardOptions& options = {}, Past* past = nullptr,
                      const Features* features = nullptr);

  /// The last hidden state, behind the final norm, of the last token of each prompt: [B, hidden_size]. One pass over
  /// all prompts, packed. Throws Error for prompts without tokens. Defined in model/forward.hpp.
  HostMatrix<float> last_token_states(const Prompts& prompts);

  /// Embeddings of ids [B, S] as forward() takes them, [B, S, hidden_size]: get_input_embeddings()(input_ids).
  HostCube<float> get_input_embeddings(const HostMatrix<TokenId>& input_ids) const;

  /// The tokens of `inputs`, of which `packed` lists the real ones, with the spans of their images and videos.
  PromptTokens prompts_of(const ModelInputs& inputs, const PackedTokens& packed) const;

  /// Features of images and videos (get_image_features, get_video_features), images first. Empty if there are none.
  /// Hidden states and attentions of the tower on request, [all patches, hidden_size] and of each frame.
  std::optional<Features> get_visual_features(const Media& media, const LayerSelection& output_hidden_states = {},
                                              const LayerSelection& output_attentions = {}) {
    return model_.get_visual_features(*ctx_, media, output_hidden_states, output_attentions);
  }

  /// Generates from prompts, packed as a Processor returns them (Prompts) or padded (ModelInputs), with the model's
  /// generation_config, modified by `options`. With a `cache`, only tokens, images and videos that it does not hold are
  /// computed. Defined in generation/generate.hpp; templates, so that a library can instantiate the model without
  /// generation.
  template <PromptInput Input>
  GenerateOutput generate(const Input& prompts, const GenerateOptions& options,
                          PromptCache<ForConditionalGeneration>* cache = nullptr);
  template <PromptInput Input>
  GenerateOutput generate(const Input& prompts);

  /// Appends `batch` to the cache and computes the logits [rows, vocab_size] that follow some of its tokens. A `record`
  /// that wants hidden states gets those of the final norm, too.
  void next_logits(const TokenBatch& batch, const Features* features, Cache& cache,
                   const std::vector<std::int32_t>& rows, View<float, B, dynamic, vocab> logits,
                   TextRecord<V, B, P>* record = nullptr) {
    auto x = ctx_->template scratch<A, dynamic, hidden>(batch.tokens());  // [tokens, hidden]
    model_.forward(*ctx_, batch, features, cache, x, record);
    if (record != nullptr && record->want_hidden_states)
      model_.language_model().norm(*ctx_, x, record->hidden_states.emplace_back(batch.tokens()).view());
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
  /// take(i, logits [vocab_size]) receives those of row rows[i] of the last layer's hidden states x, a few rows at a
  /// time: all together can be larger than the model.
  template <class Take>
  void each_logits(View<const A, B, dynamic, hidden> x, std::span<const std::int32_t> rows, Take&& take);
  /// The sum of cross entropies over `targets`, whose logits are those of padding that may attend to nothing.
  double loss_of_padding(const ModelInputs& inputs, std::span<const detail::LossTarget> targets,
                         std::span<const index_t> kept);
  const auto& head_weight() const {
    if (!has_head_) fail("this model was loaded without its head: it has hidden states, but no logits");
    return has_own_head_ ? lm_head_.weight() : model_.language_model().embed_tokens().weight();
  }
};

}  // namespace qwen3vl

#include "qwen3vl/model/forward.hpp"

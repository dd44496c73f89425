// bench-model's run of one variant under one precision; the build names both.
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "image_size.hpp"
#include "model_backend.hpp"
#include "model_run.hpp"
#include "qwen3vl/generation/generate.hpp"
#include "qwen3vl/io/image/image_file.hpp"
#include "qwen3vl/loading/pretrained.hpp"
#include "qwen3vl/loading/random_weights.hpp"
#include "qwen3vl/processing/image/image_processor.hpp"
#include "random_tensors.hpp"
#include QWEN3VL_VARIANT_HEADER

namespace qwen3vl::bench {
namespace {

using V = QWEN3VL_VARIANT_TYPE;
using B = ModelBackend;
using P = ModelPrecision<QWEN3VL_PRECISION>;
using Model = ForConditionalGeneration<V, B, P>;
constexpr TextConfig text = V::config.text;
constexpr VisionConfig vision = V::config.vision;

class Timer {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

double median(std::vector<double> values) {
  if (values.empty()) return 0.0;
  std::ranges::sort(values);
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : 0.5 * (values[half - 1] + values[half]);
}

/// The cost of the model's parts, from its list of parameters.
struct Costs {
  index_t parameters = 0;
  double bytes = 0.0;
  double dense_bytes = 0.0;       // weights that every pass reads: decoder layers and the head
  double expert_bytes = 0.0;      // of all experts; a token reads some of them
  double token_operations = 0.0;  // decoder layers
  double head_operations = 0.0;
  double patch_operations = 0.0;   // patch embedding and blocks
  double merged_operations = 0.0;  // all mergers, for one image token

  explicit Costs(Model& model) {
    const std::string head = V::config.tie_word_embeddings ? "model.language_model.embed_tokens." : "lm_head.";
    model.parameters([&](auto& parameter, const Parts& parts) {
      const ParameterShape shape = parameter_shape(parameter);
      const std::string& name = parts.front().name;
      const auto size = static_cast<double>(parameter.bytes());
      // A token goes to some of the experts.
      const double share = shape.experts > 0
                               ? static_cast<double>(text.moe.num_experts_per_tok) / static_cast<double>(shape.experts)
                               : 1.0;
      const double operations = shape.is_vector ? 0.0 : 2.0 * share * static_cast<double>(shape.count());
      parameters += shape.count();
      bytes += size;
      if (name.starts_with("model.language_model.layers.")) {
        token_operations += operations;
        (shape.experts > 0 ? expert_bytes : dense_bytes) += size;
      } else if (name.starts_with(head)) {
        head_operations += operations;
        dense_bytes += size;
      } else if (name.starts_with("model.visual.blocks.") || name.starts_with("model.visual.patch_embed.")) {
        patch_operations += operations;
      } else if (name.starts_with("model.visual.merger.") || name.starts_with("model.visual.deepstack")) {
        merged_operations += operations;
      }
    });
  }

  /// Weights that a pass with one token for each of `rows` sequences reads, if experts are chosen evenly.
  double decode_bytes(double rows) const {
    constexpr int experts = std::max(1, text.moe.num_experts);  // without any, expert_bytes is 0
    const double missed = 1.0 - static_cast<double>(text.moe.num_experts_per_tok) / experts;
    return dense_bytes + expert_bytes * (1.0 - std::pow(missed, rows));
  }

  /// Scores and sums of one query over `keys` keys, in all layers.
  static double attention(double keys) {
    return 4.0 * keys * text.num_attention_heads * text.head_dim * text.num_hidden_layers;
  }
  static double cached(double tokens) {
    return 2.0 * tokens * text.num_key_value_heads * text.head_dim * text.num_hidden_layers * sizeof(typename P::Kv);
  }
};

/// Backends whose operations are complete when their calls return; --trace needs that.
template <class Backend>
void set_trace(Context<Backend>& ctx, Trace* trace) {
  if constexpr (Backend::is_host) ctx.set_trace(trace);
}

/// Records a part of the run as a layer.
class Recording {
 public:
  Recording(Model& model, Trace& trace, const TracedCall& part) : model_(model), scope_(&trace, [&] { return part; }) {
    set_trace(model.context(), &trace);
  }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  ~Recording() { set_trace(model_.context(), nullptr); }

 private:
  Model& model_;
  TraceScope scope_;
};

class Run {
 public:
  explicit Run(const RunOptions& options)
      : options_(options), backend_(make_backend(options.threads, options.device)), model_(load()), costs_(model_) {
    omp_set_num_threads(options.threads);  // resizing has no backend handle
    result_.parameters = costs_.parameters;
    result_.weight_bytes = costs_.bytes;
  }

  RunResult operator()() {
    if (options_.prompt_tokens > 0 || !options_.image.empty()) prefill();
    if (options_.decode_tokens > 0) decode();
    note_peak_memory();
    result_.device_bytes = device_bytes_in_use();
    return std::move(result_);
  }

 private:
  /// Once, because memory read besides the model is not the model's.
  void note_peak_memory() {
    if (result_.peak_memory_bytes > 0) return;
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    result_.peak_memory_bytes = static_cast<double>(usage.ru_maxrss) * 1024.0;
  }

  Model load() {
    const Timer timer;
    std::optional<Model> model;
    if (options_.model.empty()) {
      RuntimeConfig config;
      if constexpr (text.vocab_size <= 151655)  // smaller than the released vocabulary
        config.tokens = {.image_token_id = text.vocab_size - 1,
                         .video_token_id = text.vocab_size - 2,
                         .vision_start_token_id = text.vocab_size - 3,
                         .vision_end_token_id = text.vocab_size - 4};
      model.emplace(backend_, config);
      fill(*model);
    } else {
      model.emplace(Model::from_pretrained(options_.model, backend_,
                                           {.mmproj = options_.mmproj, .packed_cache = options_.packed_cache}));
    }
    wait(model->context());
    result_.load_seconds = timer.seconds();
    return std::move(*model);
  }

  /// Random weights, made in place. A template, because only devices have fill_random().
  template <class M>
  static void fill(M& model) {
    if constexpr (M::BackendType::is_host) {
      model.load(RepeatedRandomWeights(), "random numbers");
    } else {
      make_random_weights(model.context(), model);
    }
  }

  Image picture() const {
    if (const auto size = parse_size(options_.image)) {
      Image image{.height = size->second, .width = size->first, .channels = 3, .pixels = {}};
      image.resize_pixels();
      std::minstd_rand random(1);
      for (std::uint8_t& value : image.pixels) value = static_cast<std::uint8_t>(random() >> 8);
      return image;
    }
    if (!std::filesystem::exists(options_.image))
      fail("--image ", options_.image, " is neither a file nor a size such as 512x512");
    return load_image(options_.image);
  }

  ImageProcessor image_processor() const {
    if (!options_.model.empty())
      return ImageProcessor::from_pretrained(CheckpointFiles(options_.model, options_.mmproj));
    ImageProcessorOptions options;
    options.patch_size = vision.patch_size;
    options.temporal_patch_size = vision.temporal_patch_size;
    options.merge_size = vision.spatial_merge_size;
    return ImageProcessor(options);
  }

  /// Random tokens, preceded by the image between its marker tokens.
  ModelInputs inputs(ImageFeatures features) const {
    const SpecialTokens& special = model_.config().tokens;
    std::vector<TokenId> ids;
    if (!features.image_grid_thw.empty()) {
      ids.push_back(special.vision_start_token_id);
      ids.insert(ids.end(), static_cast<std::size_t>(features.image_grid_thw[0].tokens(vision.spatial_merge_size)),
                 special.image_token_id);
      ids.push_back(special.vision_end_token_id);
    }
    // Below the special tokens of the released vocabulary, and none of this one's.
    std::minstd_rand random(1);
    const auto count = std::min<unsigned>(text.vocab_size, 151643);
    const std::array marks{special.image_token_id, special.video_token_id, special.vision_start_token_id,
                           special.vision_end_token_id};
    for (index_t i = 0; i < options_.prompt_tokens;) {
      const auto id = static_cast<TokenId>(random() % count);
      if (std::ranges::find(marks, id) != marks.end()) continue;
      ids.push_back(id);
      ++i;
    }
    ModelInputs inputs;
    inputs.input_ids = HostMatrix<TokenId>(1, static_cast<index_t>(ids.size()));
    std::ranges::copy(ids, inputs.input_ids.data());
    inputs.pixel_values = std::move(features.pixel_values);
    inputs.image_grid_thw = std::move(features.image_grid_thw);
    return inputs;
  }

  void prefill() {
    const Timer timer;
    ImageFeatures features;
    if (!options_.image.empty()) {
      const ImageProcessor processor = image_processor();
      features = processor(std::vector<Image>{picture()});
      result_.processing_seconds = timer.seconds();
    }
    const ModelInputs inputs = this->inputs(std::move(features));
    GenerateOptions one_token{
        .max_new_tokens = 1, .do_sample = false, .repetition_penalty = 1.0f, .eos_token_id = std::vector<TokenId>{}};
    if (options_.prefill_chunk > 0) one_token.prefill_chunk = options_.prefill_chunk;
    std::vector<double>&vision_seconds = result_.all_vision_seconds, &prefill_seconds = result_.all_prefill_seconds;
    for (int i = 0; i <= options_.runs; ++i) {
      const GenerateOutput output = model_.generate(inputs, one_token);
      if (i == 0) {
        result_.time_to_first_token_seconds = timer.seconds();
        result_.prompt_tokens = output.timings.prompt_tokens;
        continue;
      }
      if (!options_.image.empty()) vision_seconds.push_back(output.timings.vision_seconds);
      prefill_seconds.push_back(output.timings.prefill_seconds);
    }
    if (options_.trace) {
      const Recording recording(model_, result_.trace, {.name = "prefill", .is_layer = true});
      model_.generate(inputs, one_token);
    }
    result_.vision_seconds = median(vision_seconds);
    result_.prefill_seconds = median(prefill_seconds);

    const auto tokens = static_cast<double>(result_.prompt_tokens);
    result_.prefill_operations =
        tokens * (costs_.token_operations + Costs::attention(0.5 * (tokens + 1))) + costs_.head_operations;
    for (const GridThw& grid : inputs.image_grid_thw) {
      const auto patches = static_cast<double>(grid.patches()), of_frame = static_cast<double>(grid.h * grid.w);
      result_.image_tokens += grid.tokens(vision.spatial_merge_size);
      result_.vision_operations +=
          patches * (costs_.patch_operations + 4.0 * of_frame * vision.hidden_size * vision.depth) +
          patches / vision.merge_unit() * costs_.merged_operations;
    }
  }

  void decode() {
    const index_t context = options_.context > 0 ? options_.context : std::max<index_t>(1, result_.prompt_tokens);
    const index_t sequences = options_.sequences;
    typename Model::Cache cache(sequences);
    Context<B>& ctx = model_.context();
    fill_cache<V, P>(ctx, cache, text.num_hidden_layers, context, options_.decode_tokens + warm_steps);
    wait(ctx);
    result_.context = context;
    result_.sequences = sequences;
    result_.decode_tokens = options_.decode_tokens;
    const double keys = static_cast<double>(context) + 0.5 * static_cast<double>(options_.decode_tokens + 1);
    const auto rows = static_cast<double>(sequences);
    result_.cache_bytes = rows * Costs::cached(static_cast<double>(context));
    result_.decode_bytes = costs_.decode_bytes(rows) + rows * Costs::cached(keys);
    result_.decode_operations = rows * (costs_.token_operations + costs_.head_operations + Costs::attention(keys));
    time_decoding(model_, cache, context);
    result_.decode_seconds = median(result_.all_decode_seconds);
  }

  static constexpr index_t warm_steps = 3;  // allocate scratch memory, and capture a pass where the backend does so

  /// Greedy decoding steps. Templates on the model: a backend has one of the two ways.
  template <class M>
  void time_decoding(M& model, typename M::Cache& cache, index_t context) {
    if constexpr (DecodesOnDevice<typename M::BackendType>) {
      decode_on_device(model, cache, context);
    } else {
      decode_here(model, cache, context);
    }
  }

  /// Runs of decode_tokens steps, each behind the context; one more for the trace, and one more whose steps alternate
  /// with memory reads.
  template <class Step>
  void time_steps(typename Model::Cache& cache, index_t context, Step&& step) {
    const auto begin = [&] {
      for (index_t s = 0; s < cache.sequences(); ++s) cache.truncate(s, context);
    };
    for (int run = 0; run < options_.runs; ++run) {
      begin();
      const Timer timer;
      for (index_t i = 0; i < options_.decode_tokens; ++i) step();
      result_.all_decode_seconds.push_back(timer.seconds());
    }
    if (options_.read_memory) {
      note_peak_memory();
      begin();
      options_.read_memory(result_.decode_bytes);  // the first call allocates its memory
      for (index_t i = 0; i < options_.decode_tokens; ++i) {
        const Timer timer;
        step();
        result_.decode_seconds_between_reads += timer.seconds();
        result_.read_seconds_between_steps += options_.read_memory(result_.decode_bytes);
      }
    }
    if (!options_.trace) return;
    begin();
    for (index_t i = 0; i < options_.decode_tokens; ++i) {
      const Recording recording(model_, result_.trace,
                                {.name = "decode step", .sizes = {{{"context", context + i}}}, .is_layer = true});
      step();
    }
  }

  template <class M>
  void decode_here(M& model, typename M::Cache& cache, index_t context) {
    using Here = typename M::BackendType;
    const index_t sequences = cache.sequences();
    Tensor<float, Here, dynamic, text.vocab_size> logits(sequences);
    Tensor<std::int32_t, Here, dynamic> chosen(sequences);
    std::vector<TokenId> next(static_cast<std::size_t>(sequences), 1);
    std::vector<std::int32_t> rows;
    for (index_t s = 0; s < sequences; ++s) rows.push_back(static_cast<std::int32_t>(s));
    const auto step = [&] {
      TokenBatch batch;
      batch.ids = next;
      const auto position = static_cast<std::int32_t>(cache.length(0));
      batch.positions.assign(3 * next.size(), position);
      batch.longest_position = position;
      for (index_t s = 0; s < sequences; ++s) batch.sequences.append(1);
      model.next_logits(batch, nullptr, cache, rows, logits);
      argmax(model.context(), logits.view(), chosen.view());
      std::ranges::copy(chosen.span(), next.begin());
    };
    step();
    time_steps(cache, context, step);
  }

  template <class M>
  void decode_on_device(M& model, typename M::Cache& cache, index_t context) {
    const index_t sequences = cache.sequences();
    DecodePass<M> pass(model, cache, sequences);
    std::vector<DecodeRow> rows(static_cast<std::size_t>(sequences));
    for (index_t s = 0; s < sequences; ++s) {
      DecodeRow& row = rows[static_cast<std::size_t>(s)];
      row = {.sequence = s, .token = 1, .positions = {}};
      std::ranges::fill(row.positions, static_cast<std::int32_t>(context));
    }
    const std::vector<double> uniforms(rows.size());
    pass.begin(rows, {});
    for (index_t i = 0; i < warm_steps; ++i) pass(uniforms);
    time_steps(cache, context, [&] { pass(uniforms); });
  }

  /// Waits until a device has finished.
  template <class Backend>
  static void wait(Context<Backend>& ctx) {
    if constexpr (requires { ctx.backend().synchronize(); }) ctx.backend().synchronize();
  }

  RunOptions options_;
  RunResult result_;
  B backend_;
  Model model_;
  Costs costs_;
};

}  // namespace

template <>
RunResult run_model<QWEN3VL_PRECISION>(const RunOptions& options) {
  return Run(options)();
}

}  // namespace qwen3vl::bench

/// The benchmarks of bench-layers-<variant>-cuda: each layer of a variant on a GPU, with its minimum work.
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "device_timer.cuh"
#include "layer_work.hpp"
#include "qwen3vl/backend/cuda.cuh"
#include "qwen3vl/loading/random_weights.hpp"
#include "qwen3vl/vision/vision_model.hpp"
#include "random_tensors.hpp"

namespace qwen3vl::bench {

struct DeviceLayerSettings {
  std::vector<index_t> tokens{1, 8, 64, 4096};  ///< rows of products
  std::vector<index_t> contexts{4096, 16384};   ///< cached tokens of a decode step
  std::vector<index_t> sequences{1, 8, 64};     ///< that are decoded together
  std::vector<index_t> prompts{4096, 16384};    ///< tokens of attention over a prompt
  std::vector<GridThw> images{{1, 48, 64}};     ///< in patches: 1024x768
  std::string filter;                           ///< only names that contain it
  bool quick = false;                           ///< one run each, the L2 cache may be warm
};

struct DeviceLayerResult {
  std::string name;
  double operations = 0.0, bytes = 0.0;  ///< of a call: weights, keys and values read, activations in and out
  double seconds = 0.0;
};

template <Variant V, class P>
class DeviceLayers {
  static constexpr TextConfig text = V::config.text;
  static constexpr VisionConfig vision = V::config.vision;
  static constexpr index_t hidden = text.hidden_size, heads = text.num_attention_heads,
                           kv_heads = text.num_key_value_heads, dim = text.head_dim,
                           qkv_size = (heads + 2 * kv_heads) * dim, top_k = text.moe.num_experts_per_tok;
  static constexpr index_t v_hidden = vision.hidden_size, v_heads = vision.num_heads, v_dim = vision.head_dim();
  static constexpr bool sparse = text.moe.num_experts > 0;
  using A = activation_t<Cuda, P>;
  template <index_t N>
  using Rows = Tensor<A, Cuda, dynamic, N>;
  using LayerCache = Cuda::KvCache<typename P::Kv, 1, kv_heads, dim>;

 public:
  DeviceLayers(Context<Cuda>& ctx, const DeviceLayerSettings& settings) : ctx_(ctx), settings_(settings) {}

  /// `done` gets each result.
  template <class F>
  void run(F&& done) {
    text_layers(done);
    for (const GridThw& grid : settings_.images) vision_layers(grid.patches(), done);
  }

 private:
  /// Enough bytes of weights or keys that none is in the L2 cache when its turn comes again.
  std::size_t cold_bytes() const { return settings_.quick ? 0 : std::size_t{256} << 20; }

  template <index_t N>
  Rows<N> random_rows(index_t rows) {
    Rows<N> tensor(rows);
    cuda::fill_random(ctx_, tensor.data(), rows * N, 0, 0, RandomStream(1, "rows", 0.5f));
    return tensor;
  }
  template <index_t D>
  Tensor<float, Cuda, dynamic, D> angles(index_t rows, float value) {
    Tensor<float, Cuda, dynamic, D> tensor(rows);
    const std::vector<float> host(static_cast<std::size_t>(rows * D), value);
    copy_from_host(ctx_, View<const float, Host, dynamic>(host.data(), rows * D),
                   View<float, Cuda, dynamic>(tensor.data(), rows * D));
    return tensor;
  }
  static double activations(index_t rows, index_t values) {
    return static_cast<double>(rows) * static_cast<double>(values) * sizeof(A);
  }

  bool wanted(const std::string& name) const { return name.find(settings_.filter) != std::string::npos; }

  /// call(i): call number i.
  template <class Done, class F>
  void measure(const std::string& name, double operations, double bytes, int calls, Done&& done, F&& call) {
    const double seconds = time_calls(ctx_, calls, settings_.quick, call);
    done(DeviceLayerResult{.name = name, .operations = operations, .bytes = bytes, .seconds = seconds});
  }

  /// A layer with weights, in enough copies that they are cold. invoke(layer) calls it for `rows` rows that have
  /// `values` numbers in and out; `extra` are its operations besides its matrices'.
  template <class Layer, class Done, class F>
  void measure_layer(const std::string& name, index_t rows, index_t values, double extra, double extra_bytes,
                     Done&& done, F&& invoke) {
    if (!wanted(name)) return;
    std::vector<std::unique_ptr<Layer>> layers;
    double bytes = 0.0;
    do {
      layers.push_back(std::make_unique<Layer>());
      make_random_weights(ctx_, *layers.back());
      bytes += touched_bytes(*layers.front(), 1, 0);
    } while (bytes < static_cast<double>(cold_bytes()) && layers.size() < 128);
    const int calls = settings_.quick ? 1 : std::max<int>(4, static_cast<int>(layers.size()));
    measure(name, static_cast<double>(rows) * row_operations(*layers.front(), top_k) + extra,
            touched_bytes(*layers.front(), rows, top_k) + activations(rows, values) + extra_bytes, calls, done,
            [&](int i) { invoke(*layers[static_cast<std::size_t>(i) % layers.size()]); });
  }

  // --- The text model ---

  static double attention_operations(index_t rows, index_t context) {
    const double pairs = static_cast<double>(rows) * static_cast<double>(context) +
                         0.5 * static_cast<double>(rows) * static_cast<double>(rows + 1);
    return 4.0 * pairs * heads * dim;
  }
  static double cache_bytes(index_t tokens) {
    return static_cast<double>(tokens) * 2 * kv_heads * dim * sizeof(typename P::Kv);
  }

  /// `rows` new tokens in each of `sequences` sequences with `context` tokens in the cache.
  template <class Done>
  void attention_over_cache(index_t sequences, index_t rows, index_t context, Done&& done) {
    const std::string name = concat("text/attention/sequences:", sequences, "/tokens:", rows, "/context:", context);
    if (!wanted(name)) return;
    std::vector<LayerCache> caches;
    const std::vector<index_t> counts(static_cast<std::size_t>(sequences), rows);
    double held = 0.0;
    do {
      LayerCache& cache = caches.emplace_back(sequences);
      if (context > 0) fill_cache<V, P>(ctx_, cache, 1, context, rows);
      cache.prepare(counts);
      held += static_cast<double>(sequences) * cache_bytes(context + rows);
    } while (held < static_cast<double>(cold_bytes()) && caches.size() < 64);
    const auto all = sequences * rows;
    const auto qkv = random_rows<qkv_size>(all);
    Rows<heads * dim> out(all);
    const Segments segments(counts);
    const int calls = settings_.quick ? 1 : std::max<int>(4, static_cast<int>(caches.size()));
    measure(name, static_cast<double>(sequences) * attention_operations(rows, context),
            static_cast<double>(sequences) * cache_bytes(context + rows) + activations(all, 2 * heads * dim), calls,
            done, [&](int i) {
              attention_t<P>::template causal<heads, kv_heads, dim>(
                  ctx_, qkv.view(), segments, caches[static_cast<std::size_t>(i) % caches.size()].layer(0), out.view());
            });
  }

  template <class Done>
  void qk_norm_rope_of(index_t rows, Done&& done) {
    const std::string name = concat("text/qk_norm_rope/tokens:", rows);
    if (!wanted(name)) return;
    LayerCache cache(1);
    const std::vector<index_t> counts{rows};
    cache.prepare(counts);
    auto qkv = random_rows<qkv_size>(rows);
    const auto cos = angles<dim / 2>(rows, 0.8f), sin = angles<dim / 2>(rows, 0.6f);
    const auto norm = Tensor<float, Cuda, dim>::zeros();
    const Segments segments(counts);
    measure(name, 10.0 * static_cast<double>(rows * (heads + kv_heads) * dim),
            activations(rows, 2 * qkv_size) + cache_bytes(rows), settings_.quick ? 1 : 4, done, [&](int) {
              qk_norm_rope<heads, kv_heads, dim>(ctx_, qkv.view(), norm.view(), norm.view(), 1e-6f, cos.view(),
                                                 sin.view(), segments, cache.layer(0));
            });
  }

  template <class Layer, index_t in, index_t out, class Done, class F>
  void rows_of(const std::string& name, index_t rows, Done&& done, F&& invoke) {
    if (!wanted(name)) return;
    const auto x = random_rows<in>(rows);
    Rows<out> y = random_rows<out>(rows);
    measure_layer<Layer>(name, rows, in + out, 0.0, 0.0, done,
                         [&](const Layer& layer) { invoke(layer, x.view(), y.view()); });
  }

  template <class Done>
  void text_layers(Done&& done) {
    for (const index_t rows : settings_.tokens) {
      const std::string tokens = concat("/tokens:", rows);
      rows_of<RmsNorm<hidden, Cuda, P>, hidden, hidden>(
          "text/norm" + tokens, rows, done,
          [&](const auto& layer, const auto& x, const auto& y) { layer(ctx_, x, 1e-6f, y); });
      rows_of<Linear<hidden, qkv_size, Cuda, P, text.attention_bias>, hidden, qkv_size>(
          "text/qkv" + tokens, rows, done, [&](const auto& layer, const auto& x, const auto& y) { layer(ctx_, x, y); });
      qk_norm_rope_of(rows, done);
      rows_of<Linear<heads * dim, hidden, Cuda, P, text.attention_bias>, heads * dim, hidden>(
          "text/o_proj" + tokens, rows, done,
          [&](const auto& layer, const auto& x, const auto& y) { layer(ctx_, x, y, epilogue::Add{}); });
      if constexpr (sparse) {
        rows_of<SparseMoeBlock<V, Cuda, P>, hidden, hidden>(
            "text/moe" + tokens, rows, done,
            [&](const auto& layer, const auto& x, const auto& y) { layer(ctx_, x, y, [](const auto&) {}); });
      } else {
        rows_of<SwiGluMlp<V, Cuda, P>, hidden, hidden>(
            "text/mlp" + tokens, rows, done,
            [&](const auto& layer, const auto& x, const auto& y) { layer(ctx_, x, y); });
      }
      if (rows <= 64) head(rows, done);  // only last tokens
    }
    for (const index_t sequences : settings_.sequences)
      for (const index_t context : settings_.contexts) attention_over_cache(sequences, 1, context, done);
    for (const index_t prompt : settings_.prompts) attention_over_cache(1, prompt, 0, done);
  }

  /// Logits are f32.
  template <class Done>
  void head(index_t rows, Done&& done) {
    const std::string name = concat("head/tokens:", rows);
    if (!wanted(name)) return;
    using Head = Linear<hidden, text.vocab_size, Cuda, P, false, Packing::plain, head_weight_t<P>>;
    const auto x = random_rows<hidden>(rows);
    Tensor<float, Cuda, dynamic, text.vocab_size> logits(rows);
    Tensor<std::int32_t, Cuda, dynamic> ids(rows);
    measure_layer<Head>(name, rows, hidden, 0.0, static_cast<double>(rows * text.vocab_size) * sizeof(float), done,
                        [&](const Head& layer) {
                          linear(ctx_, x.view(), layer.weight(), View<const float, Cuda, text.vocab_size>(),
                                 logits.view(), epilogue::Store{});
                        });
    measure(concat("argmax/tokens:", rows), 0.0, static_cast<double>(rows * text.vocab_size) * sizeof(float),
            settings_.quick ? 1 : 8, done, [&](int) { argmax(ctx_, logits.view(), ids.view()); });
  }

  // --- The vision tower ---

  template <class Done>
  void vision_layers(index_t patches, Done&& done) {
    const std::string suffix = concat("/patches:", patches);
    const double attention_work = 4.0 * static_cast<double>(patches) * static_cast<double>(patches) * v_hidden;
    const auto x = random_rows<v_hidden>(patches);
    Rows<v_hidden> y = random_rows<v_hidden>(patches);
    Segments frames;
    frames.append(patches);
    {
      const auto pixels = random_rows<vision.patch_dim()>(patches);
      using Layer = PatchEmbed<V, Cuda, P>;
      measure_layer<Layer>("vision/patch_embed" + suffix, patches, vision.patch_dim() + v_hidden, 0.0, 0.0, done,
                           [&](const Layer& layer) { layer(ctx_, pixels.view(), y.view()); });
    }
    if (const std::string name = "vision/attention" + suffix; wanted(name)) {
      const auto qkv = random_rows<3 * v_hidden>(patches);
      measure(name, attention_work, activations(patches, 4 * v_hidden), settings_.quick ? 1 : 4, done,
              [&](int) { attention_t<P>::template segments<v_heads, v_dim>(ctx_, qkv.view(), frames, y.view()); });
    }
    using Norm = LayerNorm<v_hidden, Cuda, P>;
    measure_layer<Norm>("vision/norm" + suffix, patches, 2 * v_hidden, 0.0, 0.0, done,
                        [&](const Norm& layer) { layer(ctx_, x.view(), y.view()); });
    using Mlp = VisionMlp<V, Cuda, P>;
    measure_layer<Mlp>("vision/mlp" + suffix, patches, 2 * v_hidden, 0.0, 0.0, done,
                       [&](const Mlp& layer) { layer(ctx_, x.view(), y.view()); });
    {
      const auto cos = angles<v_dim / 2>(patches, 0.8f), sin = angles<v_dim / 2>(patches, 0.6f);
      using Block = VisionBlock<V, Cuda, P>;
      measure_layer<Block>(
          "vision/block" + suffix, patches, 2 * v_hidden, attention_work, 0.0, done,
          [&](const Block& layer) { layer(ctx_, y.view(), cos.view(), sin.view(), frames, [](const auto&) {}); });
    }
    {
      const index_t rows = patches / vision.merge_unit();
      Rows<vision.out_hidden_size> merged(rows);
      using Merger = PatchMerger<V, Cuda, P, MergerNorm::patch>;
      measure_layer<Merger>("vision/merger" + suffix, rows, vision.merge_unit() * v_hidden + vision.out_hidden_size,
                            0.0, 0.0, done, [&](const Merger& layer) { layer(ctx_, x.view(), merged.view()); });
    }
  }

  Context<Cuda>& ctx_;
  const DeviceLayerSettings& settings_;
};

}  // namespace qwen3vl::bench

/// The benchmarks of bench-layers: each layer of a variant, with its minimum work.
#pragma once

#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <vector>

#include "hardware_counters.hpp"
#include "layer_copies.hpp"
#include "qwen3vl/vision/vision_model.hpp"
#include "random_tensors.hpp"
#include "roof.hpp"

namespace qwen3vl::bench {

/// What to measure.
struct LayerSettings {
  int threads = 1;
  index_t prompt_tokens = 512;                            ///< rows of a prefill
  std::vector<index_t> contexts{512, 4096, 16384};        ///< cached tokens of a decode step
  std::vector<GridThw> images{{1, 32, 32}, {1, 48, 64}};  ///< in patches
  bool quick = false;                                     ///< few iterations, caches may be warm
  Roof roof;
  const HardwareCounters* counters = nullptr;  ///< counted in each benchmark, if given
};

/// Registers the benchmarks of all layers under precision P. One translation unit for each: layer_precision.cpp.
template <class P>
void add_layer_benchmarks(const LayerSettings& settings);

template <Variant V, class P>
class LayerBenchmarks {
  static constexpr TextConfig text = V::config.text;
  static constexpr VisionConfig vision = V::config.vision;
  static constexpr index_t hidden = text.hidden_size, heads = text.num_attention_heads,
                           kv_heads = text.num_key_value_heads, dim = text.head_dim,
                           qkv_size = (heads + 2 * kv_heads) * dim, top_k = text.moe.num_experts_per_tok;
  static constexpr index_t v_hidden = vision.hidden_size, v_heads = vision.num_heads, v_dim = vision.head_dim();
  static constexpr bool has_dense = [] {
    for (int i = 0; i < text.num_hidden_layers; ++i)
      if (!text.is_sparse(i)) return true;
    return false;
  }();
  static constexpr bool has_sparse = [] {
    for (int i = 0; i < text.num_hidden_layers; ++i)
      if (text.is_sparse(i)) return true;
    return false;
  }();
  using A = activation_t<Cpu, P>;
  template <index_t N>
  using Rows = Tensor<A, Cpu, dynamic, N>;
  using LayerCache = Cpu::KvCache<typename P::Kv, 1, kv_heads, dim>;
  static constexpr Arithmetic arithmetic = arithmetic_of(P::name);

  /// Handle and scratch memory of one benchmark's calls.
  struct Machine {
    explicit Machine(int threads) : cpu(threads), ctx(cpu) {}
    Cpu cpu;
    Context<Cpu> ctx;
  };

 public:
  explicit LayerBenchmarks(const LayerSettings& settings) : settings_(settings) {}

  void add() const {
    add_text();
    add_vision();
  }

 private:
  // --- Registering ---

  std::size_t cold_bytes() const { return settings_.quick ? 0 : 4 * largest_cache(); }

  template <class F>
  void add(const std::string& name, F&& run) const {
    auto* const one = benchmark::RegisterBenchmark((std::string(P::name) + "/" + name).c_str(), std::forward<F>(run));
    one->UseRealTime()->Unit(benchmark::kMicrosecond);
  }

  /// The timed loop: calls `once` repeatedly and reports its speed for `work` per call.
  template <class F>
  void measure(benchmark::State& state, const Work& work, F&& once) const {
    const HardwareCounters* const counters = settings_.counters;
    if (counters != nullptr) counters->start();
    for (auto _ : state) once();
    if (counters != nullptr) {
      const std::vector<double> counts = counters->stop();
      for (std::size_t i = 0; i < counts.size(); ++i)
        state.counters[counters->names()[i]] = benchmark::Counter(counts[i], benchmark::Counter::kAvgIterations);
    }
    report(state, work, settings_.roof);
  }

  static void report(benchmark::State& state, const Work& work, const Roof& roof) {
    const auto rate = [&](double value) {
      return benchmark::Counter(value, benchmark::Counter::kIsIterationInvariantRate);
    };
    state.counters["GFLOP/s"] = rate(work.operations() * 1e-9);
    state.counters["GB/s"] = rate(work.bytes * 1e-9);
    state.counters["roof%"] = rate(100.0 * least_seconds(work, arithmetic, roof));
  }

  /// A layer with weights. `call(ctx)` prepares a call's arguments and returns the call as a function of a layer.
  /// `extra`: its work besides its matrices, with activations in and out.
  template <class Layer, class Call>
  void add_layer(const std::string& name, const std::string& suffix, index_t rows, Work extra, Call&& call) const {
    add(name + suffix, [=, self = *this, cold = cold_bytes()](benchmark::State& state) {
      Machine machine(self.settings_.threads);
      auto& copies = CurrentFixture::instance().get<Copies<Layer>>(
          std::string(P::name) + name, [&] { return std::make_shared<Copies<Layer>>(machine.ctx, cold); });
      Work work = extra;
      work.products += static_cast<double>(rows) * copies.row_operations(top_k);
      work.bytes += copies.touched_bytes(rows, top_k);
      auto once = call(machine.ctx);
      once(copies.turn());  // allocates scratch memory
      self.measure(state, work, [&] { once(copies.turn()); });
    });
  }

  static double activations(index_t rows, index_t values) {
    return static_cast<double>(rows) * static_cast<double>(values) * sizeof(A);
  }
  static std::string tokens(index_t rows) { return concat("/tokens:", rows); }

  /// Tensors kept alive by the function that `call` returns.
  template <index_t N>
  static std::shared_ptr<Rows<N>> random_rows(index_t rows, unsigned seed = 1) {
    auto tensor = std::make_shared<Rows<N>>(rows);
    fill_random(tensor->span(), seed);
    return tensor;
  }
  template <index_t D>
  static std::shared_ptr<Tensor<float, Cpu, dynamic, D>> angles(index_t rows, float value) {
    auto tensor = std::make_shared<Tensor<float, Cpu, dynamic, D>>(rows);
    std::ranges::fill(tensor->span(), value);
    return tensor;
  }

  // --- The text model ---

  static double attention_operations(index_t rows, index_t context) {
    const double pairs = static_cast<double>(rows) * static_cast<double>(context) +
                         0.5 * static_cast<double>(rows) * static_cast<double>(rows + 1);
    return 4.0 * pairs * heads * dim;
  }
  /// Bytes of keys and values of one layer that a call reads and writes.
  static double cache_bytes(index_t rows, index_t context) {
    return static_cast<double>(context + rows) * 2 * kv_heads * dim * sizeof(typename P::Kv);
  }

  /// One-layer caches of `context` random tokens and room for `rows`, enough of them that the next one is cold.
  struct Caches {
    std::vector<LayerCache> caches;
    std::size_t next = 0;
    LayerCache& turn() { return caches[next++ % caches.size()]; }
  };
  static std::shared_ptr<Caches> make_caches(Context<Cpu>& ctx, index_t rows, index_t context, std::size_t cold) {
    auto result = std::make_shared<Caches>();
    double bytes = 0.0;
    do {
      LayerCache& cache = result->caches.emplace_back(1);
      fill_cache<V, P>(ctx, cache, 1, context, rows);
      cache.prepare(std::array{rows});
      bytes += cache_bytes(rows, context);
    } while (bytes < static_cast<double>(cold) && result->caches.size() < 64);
    return result;
  }

  void add_attention(index_t rows, index_t context) const {
    const Work work{.others = attention_operations(rows, context),
                    .bytes = cache_bytes(rows, context) + activations(rows, 2 * heads * dim)};
    add(concat("text/attention/tokens:", rows, "/context:", context),
        [=, self = *this, cold = cold_bytes()](benchmark::State& state) {
          Machine machine(self.settings_.threads);
          const std::string key = concat(P::name, "attention", rows, "/", context);
          auto& caches = CurrentFixture::instance().get<Caches>(
              key, [&] { return make_caches(machine.ctx, rows, context, cold); });
          auto qkv = random_rows<qkv_size>(rows);
          Rows<heads * dim> out(rows);
          Segments segments;
          segments.append(rows);
          self.measure(state, work, [&] {
            attention_t<P>::template causal<heads, kv_heads, dim>(machine.ctx, qkv->view(), segments,
                                                                  caches.turn().layer(0), out.view());
          });
        });
  }

  /// Norm and rotation of queries and keys, and writing the cache.
  void add_qk_norm_rope(index_t rows) const {
    const Work work{.others = 10.0 * static_cast<double>(rows * (heads + kv_heads) * dim),
                    .bytes = activations(rows, 2 * qkv_size) + cache_bytes(rows, 0)};
    add("text/qk_norm_rope" + tokens(rows), [=, self = *this](benchmark::State& state) {
      Machine machine(self.settings_.threads);
      LayerCache cache(1);
      cache.prepare(std::array{rows});
      auto qkv = random_rows<qkv_size>(rows);
      auto cos = angles<dim / 2>(rows, 0.8f), sin = angles<dim / 2>(rows, 0.6f);
      auto norm = Tensor<float, Cpu, dim>::zeros();
      std::ranges::fill(norm.span(), 1.0f);
      Segments segments;
      segments.append(rows);
      self.measure(state, work, [&] {
        qk_norm_rope<heads, kv_heads, dim>(machine.ctx, qkv->view(), norm.view(), norm.view(), 1e-6f, cos->view(),
                                           sin->view(), segments, cache.layer(0));
      });
    });
  }

  template <bool sparse>
  void add_decoder_layer(index_t rows, index_t context) const {
    const Work extra{.others = attention_operations(rows, context),
                     .bytes = cache_bytes(rows, context) + activations(rows, 2 * hidden)};
    const std::string name = sparse ? "text/sparse_decoder_layer" : "text/decoder_layer";
    add_layer<DecoderLayer<V, Cpu, P, sparse>>(
        name, concat("/tokens:", rows, "/context:", context), rows, extra, [=, cold = cold_bytes()](Context<Cpu>& ctx) {
          auto x = random_rows<hidden>(rows);
          auto cos = angles<dim / 2>(rows, 0.8f), sin = angles<dim / 2>(rows, 0.6f);
          auto segments = std::make_shared<Segments>();
          segments->append(rows);
          return [=, &ctx, caches = make_caches(ctx, rows, context, cold)](const auto& layer) {
            const TextPositions<V, Cpu> positions{cos->view(), sin->view(), *segments};
            layer(ctx, x->view(), positions, 1e-6f, caches->turn().layer(0));
          };
        });
  }

  /// A Linear of the text model, or a layer called like one with a residual.
  template <class Layer, index_t in, index_t out, class Invoke>
  void add_rows(const std::string& name, index_t rows, Invoke&& invoke, double operations_per_value = 0.0) const {
    const Work extra{.others = operations_per_value * static_cast<double>(rows * in),
                     .bytes = activations(rows, in + out)};
    add_layer<Layer>(name, tokens(rows), rows, extra, [=](Context<Cpu>& ctx) {
      // Several inputs in turn, so that a router chooses different experts each time.
      auto inputs = std::make_shared<std::vector<Rows<in>>>();
      for (unsigned i = 0; i < (rows == 1 ? 16u : 1u); ++i) fill_random(inputs->emplace_back(rows).span(), i + 1);
      auto y = std::make_shared<Rows<out>>(rows);
      return [=, &ctx, next = std::size_t{0}](auto& layer) mutable {
        invoke(ctx, layer, (*inputs)[next++ % inputs->size()].view(), y->view());
      };
    });
  }

  void add_text() const {
    const auto store = [](Context<Cpu>& ctx, const auto& layer, const auto& x, const auto& y) { layer(ctx, x, y); };
    const auto residual = [](Context<Cpu>& ctx, const auto& layer, const auto& x, const auto& y) {
      layer(ctx, x, y, epilogue::Add{});
    };
    const index_t prompt = settings_.prompt_tokens;
    add_rows<RmsNorm<hidden, Cpu, P>, hidden, hidden>(
        "text/norm", prompt,
        [](auto& ctx, const auto& layer, const auto& x, const auto& y) { layer(ctx, x, 1e-6f, y); }, 4.0);
    for (const index_t rows : {index_t{1}, prompt})
      add_rows<Linear<hidden, qkv_size, Cpu, P, text.attention_bias>, hidden, qkv_size>("text/qkv", rows, store);
    add_qk_norm_rope(prompt);
    add_attention(prompt, 0);
    for (const index_t context : settings_.contexts) add_attention(1, context);
    for (const index_t rows : {index_t{1}, prompt})
      add_rows<Linear<heads * dim, hidden, Cpu, P, text.attention_bias>, heads * dim, hidden>("text/o_proj", rows,
                                                                                              residual);
    if constexpr (has_dense)
      for (const index_t rows : {index_t{1}, prompt})
        add_rows<SwiGluMlp<V, Cpu, P>, hidden, hidden>("text/mlp", rows, store);
    if constexpr (has_sparse)
      for (const index_t rows : {index_t{1}, prompt})
        add_rows<SparseMoeBlock<V, Cpu, P>, hidden, hidden>(
            "text/moe", rows,
            [](auto& ctx, const auto& layer, const auto& x, const auto& y) { layer(ctx, x, y, [](const auto&) {}); });
    if constexpr (has_dense) {
      add_decoder_layer<false>(prompt, 0);
      for (const index_t context : settings_.contexts) add_decoder_layer<false>(1, context);
    }
    if constexpr (has_sparse) {
      add_decoder_layer<true>(prompt, 0);
      for (const index_t context : settings_.contexts) add_decoder_layer<true>(1, context);
    }
    add_rows<Linear<hidden, text.vocab_size, Cpu, P>, hidden, text.vocab_size>("head", 1, store);
  }

  // --- The vision tower ---

  void add_vision() const {
    for (const GridThw& grid : settings_.images) {
      const index_t patches = grid.patches();
      const std::string suffix = concat("/patches:", patches);
      const double pairs = static_cast<double>(patches) * static_cast<double>(patches);
      const Work attention_work{.others = 4.0 * pairs * v_hidden, .bytes = activations(patches, 4 * v_hidden)};

      add_layer<PatchEmbed<V, Cpu, P>>("vision/patch_embed", suffix, patches,
                                       {.bytes = activations(patches, vision.patch_dim() + v_hidden)},
                                       [=](Context<Cpu>& ctx) {
                                         auto x = random_rows<vision.patch_dim()>(patches);
                                         auto y = random_rows<v_hidden>(patches);
                                         return [=, &ctx](const auto& layer) { layer(ctx, x->view(), y->view()); };
                                       });
      add_layer<LayerNorm<v_hidden, Cpu, P>>(
          "vision/norm", suffix, patches,
          {.others = 7.0 * static_cast<double>(patches * v_hidden), .bytes = activations(patches, 2 * v_hidden)},
          [=](Context<Cpu>& ctx) {
            auto x = random_rows<v_hidden>(patches), y = random_rows<v_hidden>(patches);
            return [=, &ctx](const auto& layer) { layer(ctx, x->view(), y->view()); };
          });
      add("vision/attention" + suffix, [=, self = *this](benchmark::State& state) {
        Machine machine(self.settings_.threads);
        auto qkv = random_rows<3 * v_hidden>(patches);
        Rows<v_hidden> y(patches);
        Segments frames;
        frames.append(patches);
        self.measure(state, attention_work, [&] {
          attention_t<P>::template segments<v_heads, v_dim>(machine.ctx, qkv->view(), frames, y.view());
        });
      });
      add_layer<VisionMlp<V, Cpu, P>>("vision/mlp", suffix, patches, {.bytes = activations(patches, 2 * v_hidden)},
                                      [=](Context<Cpu>& ctx) {
                                        auto x = random_rows<v_hidden>(patches), y = random_rows<v_hidden>(patches);
                                        return [=, &ctx](const auto& layer) { layer(ctx, x->view(), y->view()); };
                                      });
      add_layer<VisionBlock<V, Cpu, P>>(
          "vision/block", suffix, patches,
          {.others = attention_work.others, .bytes = activations(patches, 2 * v_hidden)}, [=](Context<Cpu>& ctx) {
            auto x = random_rows<v_hidden>(patches);
            auto cos = angles<v_dim / 2>(patches, 0.8f), sin = angles<v_dim / 2>(patches, 0.6f);
            auto frames = std::make_shared<Segments>();
            frames->append(patches);
            return [=, &ctx](const auto& layer) {
              layer(ctx, x->view(), cos->view(), sin->view(), *frames, [](const auto&) {});
            };
          });
      add_merger<MergerNorm::patch>("vision/merger", suffix, patches);
      if constexpr (vision.deepstack_visual_indexes.size() > 0)
        add_merger<MergerNorm::group>("vision/deepstack_merger", suffix, patches);
    }
  }

  template <MergerNorm norm>
  void add_merger(const std::string& name, const std::string& suffix, index_t patches) const {
    const index_t rows = patches / vision.merge_unit();
    const Work extra{.bytes = activations(patches, v_hidden) + activations(rows, vision.out_hidden_size)};
    add_layer<PatchMerger<V, Cpu, P, norm>>(name, suffix, rows, extra, [=](Context<Cpu>& ctx) {
      auto x = random_rows<v_hidden>(patches);
      auto y = random_rows<vision.out_hidden_size>(rows);
      return [=, &ctx](const auto& layer) { layer(ctx, x->view(), y->view()); };
    });
  }

  LayerSettings settings_;
};

}  // namespace qwen3vl::bench

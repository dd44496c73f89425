/// Data for benchmarks: random weights that take no time to make, random activations, and a filled cache.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "qwen3vl/backend/contract/transfer.hpp"
#include "qwen3vl/layers/parameters.hpp"
#include "qwen3vl/model/load.hpp"
#include "qwen3vl/text/decoder_layer.hpp"

namespace qwen3vl::bench {

/// A WeightSource like RandomWeights that repeats one short run of random values: generating two billion takes longer
/// than the measurement, and speed does not depend on them. Norm weights are 1, biases 0.
class RepeatedRandomWeights {
 public:
  RepeatedRandomWeights() {
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0.0f, 0.02f);
    for (bf16& value : run_) value = static_cast<bf16>(normal(random));
  }

  std::optional<RawTensor> find(const Part& part) {
    shape_ = part.shape;
    std::size_t count = 1;
    for (const index_t extent : shape_) count *= static_cast<std::size_t>(extent);
    if (shape_.size() < 2) {
      vector_.assign(count, static_cast<bf16>(part.name.ends_with("weight") ? 1.0f : 0.0f));
      return tensor(vector_);
    }
    for (std::size_t i = matrix_.size(); i < count; i = matrix_.size())
      matrix_.insert(matrix_.end(), run_.begin(), run_.begin() + static_cast<long>(std::min(run_.size(), count - i)));
    return tensor(matrix_);
  }
  void release(const Part&) {
    if (matrix_.size() > std::size_t{64} << 20) std::vector<bf16>().swap(matrix_);  // an embedding; rarely used again
  }
  std::vector<std::string> names() const { return {}; }

 private:
  RawTensor tensor(const std::vector<bf16>& values) const {
    return {.dtype = DType::bf16, .data = reinterpret_cast<const std::byte*>(values.data()), .shape = shape_};
  }

  std::array<bf16, 65521> run_;  // a prime, so that rows of a matrix differ
  std::vector<bf16> matrix_, vector_;
  std::vector<index_t> shape_;
};

/// Uniformly distributed values in [-1, 1].
inline void fill_random(std::span<float> values, unsigned seed = 1) {
  std::minstd_rand random(seed);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  for (float& value : values) value = uniform(random);
}

/// Puts `tokens` random keys and values into `layers` layers of each sequence of an empty cache, with room for `more`.
/// Goes through the backend's own operation, so it knows nothing about the cache's layout and type.
template <Variant V, class P, class B, class Cache>
void fill_cache(Context<B>& ctx, Cache& cache, index_t layers, index_t tokens, index_t more) {
  constexpr TextConfig text = V::config.text;
  constexpr index_t heads = text.num_attention_heads, kv_heads = text.num_key_value_heads, dim = text.head_dim;
  constexpr index_t chunk = 256;
  using A = activation_t<B, P>;
  Tensor<A, B, dynamic, (heads + 2 * kv_heads) * dim> qkv(chunk);
  Tensor<float, B, dynamic, dim / 2> cos(chunk), sin(chunk);
  Tensor<float, B, dim> norm = Tensor<float, B, dim>::zeros();
  std::vector<float> host;
  const auto fill = [&](auto& tensor, auto&& make) {
    host.resize(static_cast<std::size_t>(tensor.size()));
    make(std::span(host));
    copy_from_host(
        ctx, View<const float, Cpu, dynamic>(host.data(), tensor.size()),
        View<typename std::remove_cvref_t<decltype(tensor)>::value_type, B, dynamic>(tensor.data(), tensor.size()));
  };
  const auto constant = [](float value) { return [=](std::span<float> values) { std::ranges::fill(values, value); }; };
  fill(qkv, [](std::span<float> values) { fill_random(values); });
  fill(cos, constant(0.8f));
  fill(sin, constant(0.6f));
  fill(norm, constant(1.0f));
  std::vector<index_t> counts(static_cast<std::size_t>(cache.sequences()), tokens + more);
  cache.prepare(counts);  // allocates the memory at once
  for (index_t s = 0; s < cache.sequences();) {
    if (cache.length(s) == tokens) {
      ++s;
      continue;
    }
    const index_t count = std::min(chunk, tokens - cache.length(s));
    std::ranges::fill(counts, 0);
    counts[static_cast<std::size_t>(s)] = count;
    const Segments segments(counts);
    cache.prepare(counts);
    for (index_t i = 0; i < layers; ++i)
      qk_norm_rope<heads, kv_heads, dim>(ctx, qkv.slice(0, count), norm.view(), norm.view(), 1e-6f, cos.slice(0, count),
                                         sin.slice(0, count), segments, cache.layer(i));
    cache.commit();
  }
}

}  // namespace qwen3vl::bench

/// Random weights, for benchmarks and for layers used alone: no checkpoint needed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "qwen3vl/base/random_stream.hpp"
#include "qwen3vl/layers/parameters.hpp"
#include "qwen3vl/model/load.hpp"
#include "qwen3vl/tensor/raw_tensor.hpp"

namespace qwen3vl {

/// A WeightSource of normally distributed matrices (mean 0, standard deviation `scale`), norm weights of 1 and
/// biases of 0. The values depend on the seed and the tensor's name only, not on the order of loading.
class RandomWeights {
 public:
  explicit RandomWeights(std::uint64_t seed = 0, float scale = 0.02f) : seed_(seed), scale_(scale) {}

  std::optional<RawTensor> find(const Part& part) {
    if (part.name == name_) return tensor();
    name_ = part.name;
    shape_ = part.shape;
    std::size_t count = 1;
    for (const index_t extent : shape_) count *= static_cast<std::size_t>(extent);
    values_.assign(count, 0.0f);
    if (shape_.size() > 1) {
      fill();
    } else if (part.name.ends_with("weight")) {
      values_.assign(count, 1.0f);
    }
    return tensor();
  }
  void release(const Part&) {}
  std::vector<std::string> names() const { return {}; }

 private:
  RawTensor tensor() const {
    return {.dtype = DType::f32, .data = reinterpret_cast<const std::byte*>(values_.data()), .shape = shape_};
  }

  void fill() {
    const RandomStream random(seed_, name_, scale_);
    for (std::size_t i = 0; i < values_.size(); ++i) values_[i] = random(i);
  }

  std::uint64_t seed_;
  float scale_;
  std::string name_;
  std::vector<index_t> shape_;
  std::vector<float> values_;
};

/// Fills all parameters of a model or layer with the values of RandomWeights(seed, scale), generated on a device that
/// has fill_random() (backend/cuda/operations/random.cuh): billions per second. Throws OutOfMemory if they do not fit.
template <class B, class Model>
requires(!B::is_host) void make_random_weights(Context<B>& ctx, Model& model, std::uint64_t seed = 0,
                                               float scale = 0.02f) {
  std::size_t bytes = 0;
  model.parameters([&](auto& parameter, const Parts&) { bytes += parameter.allocated() ? 0 : parameter.bytes(); });
  ctx.backend().require_memory(bytes, "the weights");
  RandomWeights vectors(seed, scale);
  model.parameters([&](auto& parameter, Parts parts) {
    const ParameterShape shape = parameter_shape(parameter);
    detail::complete(parts, shape);
    detail::allocate_parameter(parameter);
    index_t first_row = 0;
    for (const Part& part : parts) {
      if (part.shape.size() > 1) {
        fill_random(ctx, parameter, first_row, part.rows, RandomStream(seed, part.name, scale));
      } else {
        detail::load_part(ctx, parameter, first_row, *vectors.find(part), detail::ExpertLayouts{});
      }
      first_row += part.rows;
    }
  });
}

}  // namespace qwen3vl

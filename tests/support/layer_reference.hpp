/// For comparing a layer on Cpu with the same layer, weights and inputs on Reference<double>. That both follow
/// transformers is what the golden data show (parity/).
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/backend/eigen.hpp"
#include "qwen3vl/loading/random_weights.hpp"
#include "qwen3vl/model/load.hpp"

namespace reference {

/// Random weights of every parameter: also norms and biases, which RandomWeights leaves at 1 and 0.
class AllRandom {
 public:
  std::optional<qwen3vl::RawTensor> find(const qwen3vl::Part& part) {
    qwen3vl::Part matrix = part;
    if (part.shape.size() == 1) matrix.shape.push_back(1);
    auto raw = *random_.find(matrix);
    shape_ = part.shape;
    const auto count = static_cast<std::size_t>(raw.rows() * raw.row_size());
    values_.resize(count);
    const bool norm = part.shape.size() == 1 && part.name.ends_with("weight");
    for (std::size_t i = 0; i < count; ++i)
      values_[i] = qwen3vl::load_float<float>(raw.data, i) * 5.0f + (norm ? 1.0f : 0.0f);
    raw.data = reinterpret_cast<const std::byte*>(values_.data());
    raw.shape = shape_;
    return raw;
  }
  void release(const qwen3vl::Part&) {}
  std::vector<std::string> names() const { return {}; }

 private:
  qwen3vl::RandomWeights random_{7};
  std::vector<float> values_;
  std::vector<qwen3vl::index_t> shape_;
};

/// Where the layers of one comparison run.
struct Backends {
  qwen3vl::Cpu cpu_handle{2};
  qwen3vl::Reference<double> exact_handle;
  qwen3vl::Context<qwen3vl::Cpu> cpu{cpu_handle};
  qwen3vl::Context<qwen3vl::Reference<double>> exact{exact_handle};
};

/// Fills a tensor with deterministic numbers in [-1, 1], the same for every type.
template <class Tensor>
Tensor random_numbers(Tensor tensor, unsigned seed) {
  std::uint32_t state = seed * 2654435761u + 12345u;
  for (auto& value : tensor.span()) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state >> 8) / 8388608.0f - 1.0f;
  }
  return tensor;
}

/// Largest |a - b| over largest |b|; infinite if the sizes differ, NaN if `a` has one.
template <class A, class B>
double relative_error(const A& a, const B& b) {
  if (a.size() != b.size() || b.size() == 0) return INFINITY;
  double error = 0.0, scale = 0.0;
  for (std::size_t i = 0; i < b.span().size(); ++i) {
    const double exact = static_cast<double>(b.span()[i]), off = std::abs(static_cast<double>(a.span()[i]) - exact);
    if (!(off <= error)) error = off;
    scale = std::max(scale, std::abs(exact));
  }
  return error / scale;
}

}  // namespace reference

/// How layers describe their parameters. Each layer lists them once, with the names that the Hub's files use:
///
///     template <class F> void parameters(F&& f) {
///       f(gate_up_, Parts{"gate_proj.weight", "up_proj.weight"});   // a leaf: two stored tensors fill one matrix
///       visit("self_attn.", self_attn_, f);                          // a layer inside this one
///     }
///
/// Loading, counting, random weights and the memory plan all walk this list (model/load.hpp).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/tensor/raw_tensor.hpp"
#include "qwen3vl/tensor/tensor.hpp"

namespace qwen3vl {

/// A stored tensor that fills some rows of a parameter.
struct Part {
  std::string name;
  index_t rows = 0;            ///< rows that it fills; 0: an equal share
  std::vector<index_t> shape;  ///< its shape in the file; empty: [rows, columns], or [rows] of a vector

  Part(const char* name_, index_t rows_ = 0, std::vector<index_t> shape_ = {})  // NOLINT(google-explicit-constructor)
      : name(name_), rows(rows_), shape(std::move(shape_)) {}
  Part(std::string name_, index_t rows_ = 0, std::vector<index_t> shape_ = {})  // NOLINT(google-explicit-constructor)
      : name(std::move(name_)), rows(rows_), shape(std::move(shape_)) {}
};

using Parts = std::vector<Part>;

namespace detail {

/// A visitor that is told names with a prefix, which grows and shrinks on the way through the layers: one type for all
/// depths, so that a layer's list is compiled once for a visitor, wherever the layer stands.
template <class F>
class Prefixed {
 public:
  explicit Prefixed(F& f) : f_(f) {}

  template <class Parameter>
  void operator()(Parameter& parameter, Parts parts) {
    for (Part& part : parts) part.name.insert(0, prefix_);
    f_(parameter, std::move(parts));
  }
  template <class Layer>
  void visit(std::string_view prefix, Layer& layer) {
    const std::size_t length = prefix_.size();
    prefix_ += prefix;
    layer.parameters(*this);
    prefix_.resize(length);
  }

 private:
  F& f_;
  std::string prefix_;
};

}  // namespace detail

/// Visits the parameters of `layer` with `prefix` before their names.
template <class Layer, class F>
void visit(std::string_view prefix, Layer& layer, F& f) {
  detail::Prefixed<F>(f).visit(prefix, layer);
}
template <class Layer, class F>
void visit(std::string_view prefix, Layer& layer, detail::Prefixed<F>& f) {
  f.visit(prefix, layer);
}

/// Rows and columns of a parameter: a weight matrix of any backend, a vector or a table, or the matrices of `experts`.
struct ParameterShape {
  index_t rows;
  index_t columns;
  bool is_vector;
  index_t experts = 0;

  index_t count() const { return rows * columns * (experts == 0 ? 1 : experts); }
};

template <template <class, index_t, index_t, Packing> class Matrix, class W, index_t N, index_t K, Packing packing>
constexpr ParameterShape parameter_shape(const Matrix<W, N, K, packing>&) {
  return {N, K, false};
}
template <template <class, index_t, index_t, index_t, Packing> class Experts, class W, index_t E, index_t N, index_t K,
          Packing packing>
constexpr ParameterShape parameter_shape(const Experts<W, E, N, K, packing>&) {
  return {N, K, false, E};
}
template <class M, index_t N>
constexpr ParameterShape parameter_shape(const OwningTensor<float, M, N>&) {
  return {N, 1, true};
}
template <class M, index_t N, index_t K>
constexpr ParameterShape parameter_shape(const OwningTensor<float, M, N, K>&) {
  return {N, K, false};
}

/// Number of parameters of a layer.
template <class Layer>
index_t count_parameters(Layer& layer) {
  index_t count = 0;
  layer.parameters([&](auto& parameter, const Parts&) { count += parameter_shape(parameter).count(); });
  return count;
}

}  // namespace qwen3vl

/// Double-precision twins of the layers, written from the formulas with plain loops. They share no code with the
/// library: weights are taken by name from the layer's parameter list, so that a wrong name or order gives a wrong
/// result.
#pragma once

#include <cmath>
#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "qwen3vl/loading/random_weights.hpp"
#include "qwen3vl/model/load.hpp"

namespace reference {

using Row = std::vector<double>;
using Rows = std::vector<Row>;

/// A layer's weights in double precision, by name. `round` imitates the storage type.
struct Weights {
  std::map<std::string, Row> values;

  const Row& operator[](const std::string& name) const { return values.at(name); }
  bool has(const std::string& name) const { return values.contains(name); }
};

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

/// Loads random weights into `layer` and returns the same numbers.
template <class B, class Layer>
Weights randomize(qwen3vl::Context<B>& ctx, Layer& layer, const std::function<float(float)>& round = {}) {
  AllRandom source;
  Weights weights;
  layer.parameters([&](auto& parameter, qwen3vl::Parts parts) {
    const auto shape = qwen3vl::parameter_shape(parameter);
    qwen3vl::detail::complete(parts, shape);
    for (const auto& part : parts) {
      const auto raw = *source.find(part);
      Row& row = weights.values[part.name];
      for (qwen3vl::index_t i = 0; i < raw.rows() * raw.row_size(); ++i) {
        const float value = qwen3vl::load_float<float>(raw.data, static_cast<std::size_t>(i));
        row.push_back(static_cast<double>(round && !shape.is_vector ? round(value) : value));
      }
    }
  });
  qwen3vl::load_parameters(ctx, layer, AllRandom{}, "random weights");
  return weights;
}

/// x W^T + b; W [out, in] row-major.
inline Rows linear(const Rows& x, const Row& weight, const Row& bias = {}) {
  Rows y;
  for (const Row& row : x) {
    Row out(weight.size() / row.size());
    for (std::size_t n = 0; n < out.size(); ++n) {
      double sum = bias.empty() ? 0.0 : bias[n];
      for (std::size_t k = 0; k < row.size(); ++k) sum += row[k] * weight[n * row.size() + k];
      out[n] = sum;
    }
    y.push_back(out);
  }
  return y;
}

inline Row rms_norm(const Row& x, const Row& weight, double eps) {
  double sum = 0.0;
  for (const double v : x) sum += v * v;
  const double scale = 1.0 / std::sqrt(sum / static_cast<double>(x.size()) + eps);
  Row y;
  for (std::size_t i = 0; i < x.size(); ++i) y.push_back(x[i] * scale * weight[i]);
  return y;
}

inline Row layer_norm(const Row& x, const Row& weight, const Row& bias) {
  double mean = 0.0, variance = 0.0;
  for (const double v : x) mean += v / static_cast<double>(x.size());
  for (const double v : x) variance += (v - mean) * (v - mean) / static_cast<double>(x.size());
  Row y;
  for (std::size_t i = 0; i < x.size(); ++i)
    y.push_back((x[i] - mean) / std::sqrt(variance + 1e-6) * weight[i] + bias[i]);
  return y;
}

inline Rows each(const Rows& x, const std::function<Row(const Row&)>& f) {
  Rows y;
  for (const Row& row : x) y.push_back(f(row));
  return y;
}
inline Rows map(Rows x, const std::function<double(double)>& f) {
  for (Row& row : x)
    for (double& v : row) v = f(v);
  return x;
}
inline void add(Rows& x, const Rows& y) {
  for (std::size_t r = 0; r < x.size(); ++r)
    for (std::size_t i = 0; i < x[r].size(); ++i) x[r][i] += y[r][i];
}

inline double silu(double x) { return x / (1.0 + std::exp(-x)); }
inline double gelu(double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }
inline double gelu_tanh(double x) {
  return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
}

/// Rotates pairs (i, i + half) of one head by the angles [half].
inline void rotate(double* head, const Row& angles) {
  const std::size_t half = angles.size();
  for (std::size_t i = 0; i < half; ++i) {
    const double a = head[i], b = head[i + half], c = std::cos(angles[i]), s = std::sin(angles[i]);
    head[i] = a * c - b * s;
    head[i + half] = b * c + a * s;
  }
}

/// softmax(q k^T / sqrt(D)) v of one query over the visible keys.
inline Row attend(const Row& query, const Rows& keys, const Rows& values) {
  Row scores;
  double largest = -1e300, total = 0.0;
  for (const Row& key : keys) {
    double score = 0.0;
    for (std::size_t i = 0; i < key.size(); ++i) score += key[i] * query[i];
    scores.push_back(score / std::sqrt(static_cast<double>(query.size())));
    largest = std::max(largest, scores.back());
  }
  for (double& score : scores) total += score = std::exp(score - largest);
  Row out(values[0].size(), 0.0);
  for (std::size_t k = 0; k < keys.size(); ++k)
    for (std::size_t i = 0; i < out.size(); ++i) out[i] += scores[k] / total * values[k][i];
  return out;
}

inline Row head_of(const Row& row, std::size_t head, std::size_t dim) {
  return Row(row.begin() + static_cast<std::ptrdiff_t>(head * dim),
             row.begin() + static_cast<std::ptrdiff_t>((head + 1) * dim));
}

/// Largest |a - b| over largest |b|.
template <class V>
double relative_error(const V& a, const Rows& b) {
  double error = 0.0, scale = 0.0;
  for (std::size_t r = 0; r < b.size(); ++r)
    for (std::size_t i = 0; i < b[r].size(); ++i) {
      const double value = static_cast<double>(a(static_cast<qwen3vl::index_t>(r), static_cast<qwen3vl::index_t>(i)));
      if (!(std::abs(value - b[r][i]) <= error)) error = std::abs(value - b[r][i]);  // NaN stays
      scale = std::max(scale, std::abs(b[r][i]));
    }
  return error / scale;
}

/// Deterministic numbers in [-1, 1].
inline Rows random_rows(std::size_t rows, std::size_t columns, unsigned seed) {
  Rows x(rows, Row(columns));
  std::uint32_t state = seed * 2654435761u + 12345u;
  for (Row& row : x)
    for (double& v : row) {
      state = state * 1664525u + 1013904223u;
      v = static_cast<double>(static_cast<float>(state >> 8) / 8388608.0f - 1.0f);
    }
  return x;
}

/// The same numbers in a tensor.
template <class View>
void fill(View view, const Rows& rows) {
  for (std::size_t r = 0; r < rows.size(); ++r)
    for (std::size_t i = 0; i < rows[r].size(); ++i)
      view(static_cast<qwen3vl::index_t>(r), static_cast<qwen3vl::index_t>(i)) = static_cast<float>(rows[r][i]);
}

}  // namespace reference

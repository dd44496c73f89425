/// What a model's matrices are kept as, and what the file had.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "qwen3vl/model/load.hpp"

namespace qwen3vl {
namespace detail {

/// The type in which a matrix or experts of weight type W keep row n.
template <class W>
std::string kept_type(const auto& parameter, index_t n) {
  if constexpr (requires { parameter.form_of(n); }) {
    return std::string(parameter.form_of(n));
  } else if constexpr (std::is_same_v<W, float>) {
    return "f32";
  } else if constexpr (std::is_same_v<W, bf16>) {
    return "bf16";
  } else {
    return std::string(W::name);
  }
}
template <template <class, index_t, index_t, Packing> class Matrix, class W, index_t N, index_t K, Packing packing>
std::string kept_type_of(const Matrix<W, N, K, packing>& matrix, index_t n) {
  return kept_type<W>(matrix, n);
}
template <template <class, index_t, index_t, index_t, Packing> class Experts, class W, index_t E, index_t N, index_t K,
          Packing packing>
std::string kept_type_of(const Experts<W, E, N, K, packing>& experts, index_t n) {
  return kept_type<W>(experts, n);
}

}  // namespace detail

/// One line about the matrices of a loaded model: "196 of Q4_K kept as q4_k, 29 of Q6_K as q6_k, 3 of IQ1_S as bf16".
/// `source` is what it was loaded from.
template <class Model, WeightSource Source>
std::string weight_types(Model& model, Source&& source) {
  std::map<std::pair<std::string, std::string>, index_t> counts;
  model.parameters([&](auto& parameter, Parts parts) {
    if constexpr (requires { detail::kept_type_of(parameter, index_t{0}); }) {
      detail::complete(parts, parameter_shape(parameter));
      index_t first_row = 0;
      for (const Part& part : parts) {
        if (const std::optional<RawTensor> raw = source.find(part))
          ++counts[{std::string(raw->encoded != nullptr ? raw->encoded->type_name() : name_of(raw->dtype)),
                    detail::kept_type_of(parameter, first_row)}];
        first_row += part.rows;
      }
    }
  });
  std::string text;
  for (const auto& [types, count] : counts)
    text +=
        concat(text.empty() ? "" : ", ", count, " of ", types.first, text.empty() ? " kept as " : " as ", types.second);
  return text;
}

}  // namespace qwen3vl

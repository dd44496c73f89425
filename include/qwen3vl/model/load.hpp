/// Fills a model's parameters from stored tensors: one walk checks everything, a second one loads.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "qwen3vl/backend/contract/ops.hpp"
#include "qwen3vl/backend/contract/transfer.hpp"
#include "qwen3vl/base/warning.hpp"
#include "qwen3vl/layers/parameters.hpp"
#include "qwen3vl/tensor/shape_text.hpp"

namespace qwen3vl {

/// Called during loading: bytes read so far, total bytes.
using LoadProgress = std::function<void(std::size_t done, std::size_t total)>;

/// Source of tensors: a checkpoint (loading/pretrained.hpp), random numbers (loading/random_weights.hpp), or the
/// caller.
template <class S>
concept WeightSource = requires(S source, const Part& part) {
  /// The tensor, or nullopt if there is none of that name. part.shape is filled in. Valid until the next call or, with
  /// a member `static constexpr bool keeps_tensors = true`, until release(); gate and up are then loaded together.
  { source.find(part) } -> std::same_as<std::optional<RawTensor>>;
  /// The tensor is no longer needed (a mapped file's pages may be released).
  source.release(part);
  /// All names in the source, to detect unused ones.
  { source.names() } -> std::convertible_to<std::vector<std::string>>;
};

namespace detail {

/// A WeightSource whose tensors are valid until released.
template <class S>
concept KeepsTensors = std::remove_cvref_t<S>::keeps_tensors;
/// A gate_up matrix that can load both halves at once.
template <class P, class B>
concept LoadsHalves = requires(P& parameter, Context<B>& ctx, const RawTensor& raw) {
  parameter.load_halves(ctx, raw, raw);
};

/// Fills in rows and shapes that a layer left unset.
inline void complete(Parts& parts, const ParameterShape& shape) {
  for (Part& part : parts) {
    if (shape.experts > 0 && part.shape.empty()) part.shape = {shape.experts, shape.columns, shape.rows};  // the Hub's
    if (part.rows == 0) part.rows = shape.rows / static_cast<index_t>(parts.size());
    if (!part.shape.empty()) continue;
    part.shape = {part.rows};
    if (!shape.is_vector) part.shape.push_back(shape.columns);
  }
}

/// Storage layout of expert tensors.
enum class ExpertLayout {
  hub,           ///< [E, columns, rows]: x W without a transposition
  transformers,  ///< [E, rows, columns], as transformers 5 saves it and torch.nn.Linear stores a weight
};

/// Whether a stored tensor fits (a part of) a parameter.
inline bool fits(std::span<const index_t> stored, const Part& part, const ParameterShape& shape) {
  if (std::ranges::equal(stored, part.shape)) return true;
  return shape.experts > 0 && std::ranges::equal(stored, std::array{shape.experts, shape.rows, shape.columns});
}

/// Detects how a checkpoint stores its experts. A square matrix looks the same in both layouts; transformers assumes
/// its own and misreads the Hub's. An expert's two matrices are never both square and a checkpoint uses one layout, so
/// the other matrix decides.
class ExpertLayouts {
 public:
  void see(std::span<const index_t> stored, const ParameterShape& shape) {
    if (shape.rows != shape.columns) (of(stored, shape) == ExpertLayout::hub ? hub_ : transformers_) = true;
  }
  ExpertLayout of(std::span<const index_t> stored, const ParameterShape& shape) const {
    if (shape.rows != shape.columns) return stored[1] == shape.columns ? ExpertLayout::hub : ExpertLayout::transformers;
    if (hub_ && transformers_)
      fail(
          "the checkpoint stores some experts as the Hub and some as transformers 5; square ones cannot be told apart");
    return transformers_ ? ExpertLayout::transformers : ExpertLayout::hub;
  }

 private:
  bool hub_ = false, transformers_ = false;
};

template <class M, index_t... E>
void allocate_parameter(OwningTensor<float, M, E...>& tensor) {
  tensor = OwningTensor<float, M, E...>::zeros();
}
template <class Matrix>
void allocate_parameter(Matrix& matrix) {
  matrix.allocate();
}

/// Passes the parameter's host memory to f, allocating it if necessary.
template <class M, index_t... E, class F>
void visit_memory(OwningTensor<float, M, E...>& tensor, F&& f) {
  if (!tensor.allocated()) allocate_parameter(tensor);
  f(std::as_writable_bytes(tensor.view().span()));
}
template <class Matrix, class F>
void visit_memory(Matrix& matrix, F&& f) {
  if (!matrix.allocated()) matrix.allocate();
  matrix.visit_memory(f);
}

/// Loads rows of a float parameter (norms, biases, the position table), converted on the host.
template <class B, index_t N, index_t... E>
void load_part(Context<B>& ctx, Tensor<float, B, N, E...>& tensor, index_t first_row, const RawTensor& raw,
               const ExpertLayouts&) {
  const index_t count = raw.rows() * raw.row_size();
  std::vector<float> values(static_cast<std::size_t>(count)), decoded;
  const RawTensor plain = widened(raw, decoded);
  visit_floating(plain.dtype, [&](auto type) {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = load_float<decltype(type)>(plain.data, i);
  });
  copy_from_host(ctx, View<const float, Host, dynamic>(values.data(), count),
                 View<float, B, dynamic>(tensor.data() + first_row * tensor.row_size(), count));
}
template <class B, template <class, index_t, index_t, Packing> class Matrix, class W, index_t N, index_t K,
          Packing packing>
void load_part(Context<B>& ctx, Matrix<W, N, K, packing>& matrix, index_t first_row, const RawTensor& raw,
               const ExpertLayouts&) {
  matrix.load_rows(ctx, first_row, raw);
}
template <class B, template <class, index_t, index_t, index_t, Packing> class Experts, class W, index_t E, index_t N,
          index_t K, Packing packing>
void load_part(Context<B>& ctx, Experts<W, E, N, K, packing>& experts, index_t /*first_row*/, const RawTensor& raw,
               const ExpertLayouts& layouts) {
  const bool transposed = layouts.of(raw.shape, parameter_shape(experts)) == ExpertLayout::hub;
  for (index_t e = 0; e < E; ++e) experts.load_expert(ctx, e, raw.matrix(e), transposed);
}

/// A parameter that has to know what load_part will bring before it is allocated (`stored` weights).
template <class P>
concept ExpectsRows = requires(P& parameter, const RawTensor& raw) {
  parameter.expect_rows(index_t{0}, raw);
};
template <class P>
concept ExpectsExperts = requires(P& parameter, const RawTensor& raw) {
  parameter.expect_expert(index_t{0}, raw, false);
};

/// Tells such parameters of all tensors that fit them.
template <class Model, class Source>
void expect_parts(Model& model, Source&& source, const ExpertLayouts& layouts) {
  model.parameters([&](auto& parameter, Parts parts) {
    using Parameter = std::remove_reference_t<decltype(parameter)>;
    if constexpr (ExpectsRows<Parameter> || ExpectsExperts<Parameter>) {
      const ParameterShape shape = parameter_shape(parameter);
      complete(parts, shape);
      index_t first_row = 0;
      for (const Part& part : parts) {
        const std::optional<RawTensor> raw = source.find(part);
        if (raw && fits(raw->shape, part, shape) && is_floating_weight(raw->dtype)) {
          if constexpr (ExpectsRows<Parameter>) {
            parameter.expect_rows(first_row, *raw);
          } else {
            const bool transposed = layouts.of(raw->shape, shape) == ExpertLayout::hub;
            for (index_t e = 0; e < shape.experts; ++e) parameter.expect_expert(e, raw->matrix(e), transposed);
          }
        }
        first_row += part.rows;
      }
    }
  });
}

}  // namespace detail

/// Tells a model what `source` holds, so that its parameters can be allocated before they are loaded, as for a file of
/// packed weights. load_parameters does it itself.
template <class Model, WeightSource Source>
void expect_parameters(Model& model, Source&& source) {
  detail::ExpertLayouts layouts;
  model.parameters([&](auto& parameter, Parts parts) {
    if constexpr (detail::ExpectsExperts<std::remove_reference_t<decltype(parameter)>>) {
      const ParameterShape shape = parameter_shape(parameter);
      detail::complete(parts, shape);
      for (const Part& part : parts)
        if (const std::optional<RawTensor> raw = source.find(part); raw && detail::fits(raw->shape, part, shape))
          layouts.see(raw->shape, shape);
    }
  });
  detail::expect_parts(model, source, layouts);
}

/// Loads all parameters of `model`. `source_name` is for messages; `ignored` lists names that may be unused. Tensors of
/// the source that are no part of the model are a warning, as in transformers. Throws one Error about all missing and
/// wrongly shaped tensors, or says how much device memory is missing; the model is then unchanged.
template <class B, class Model, WeightSource Source>
void load_parameters(Context<B>& ctx, Model& model, Source&& source, std::string_view source_name,
                     const LoadProgress& progress = {}, const std::vector<std::string>& ignored = {},
                     const Warn& warn = print_warning) {
  std::vector<std::string> missing, wrong, extra;
  std::set<std::string, std::less<>> expected(ignored.begin(), ignored.end());
  std::size_t total = 0;
  detail::ExpertLayouts layouts;
  model.parameters([&](auto& parameter, Parts parts) {
    const ParameterShape shape = parameter_shape(parameter);
    detail::complete(parts, shape);
    for (const Part& part : parts) {
      expected.insert(part.name);
      const std::optional<RawTensor> raw = source.find(part);
      if (!raw) {
        missing.push_back(part.name);
      } else if (!detail::fits(raw->shape, part, shape)) {
        wrong.push_back(
            concat(part.name, " is ", detail::shape_text(raw->shape), ", wanted ", detail::shape_text(part.shape)));
      } else if (!is_floating_weight(raw->dtype)) {
        wrong.push_back(concat(part.name, " is of type ", name_of(raw->dtype), ", wanted F32, BF16 or F16"));
      } else {
        if (shape.experts > 0) layouts.see(raw->shape, shape);
        total += static_cast<std::size_t>(raw->rows() * raw->row_size()) * size_of(raw->dtype);
      }
    }
  });
  for (const std::string& name : source.names())
    if (!expected.contains(name)) extra.push_back(detail::shown(name));
  if (!missing.empty() || !wrong.empty()) {
    std::string message = concat("the weights in ", source_name, " do not fit this variant");
    if (!missing.empty()) message += concat("; missing: ", detail::listed(missing));
    if (!wrong.empty()) message += concat("; wrong: ", detail::listed(wrong));
    if (!extra.empty()) message += concat("; not part of the model: ", detail::listed(extra));
    throw Error(message);
  }
  if (!extra.empty() && warn)
    warn(concat(source_name, " holds tensors that are not part of the model and not used: ", detail::listed(extra)));

  detail::expect_parts(model, source, layouts);
  if constexpr (requires { ctx.backend().require_memory(std::size_t{}, source_name); }) {
    std::size_t bytes = 0;  // all sizes are known before the first allocation
    model.parameters([&](auto& parameter, const Parts&) { bytes += parameter.allocated() ? 0 : parameter.bytes(); });
    ctx.backend().require_memory(bytes, "the weights");
  }

  std::size_t done = 0;
  if (progress) progress(done, total);
  model.parameters([&](auto& parameter, Parts parts) {
    detail::complete(parts, parameter_shape(parameter));
    detail::allocate_parameter(parameter);
    const auto loaded = [&](const Part& part, const RawTensor& raw) {
      done += static_cast<std::size_t>(raw.rows() * raw.row_size()) * size_of(raw.dtype);
      source.release(part);
      if (progress) progress(done, total);
    };
    using Parameter = std::remove_reference_t<decltype(parameter)>;
    if constexpr (detail::KeepsTensors<Source> && detail::LoadsHalves<Parameter, B>) {
      if (parts.size() == 2 && parts[0].rows == parts[1].rows) {
        const RawTensor first = *source.find(parts[0]), second = *source.find(parts[1]);
        parameter.load_halves(ctx, first, second);
        loaded(parts[0], first);
        loaded(parts[1], second);
        return;
      }
    }
    index_t first_row = 0;
    for (const Part& part : parts) {
      const RawTensor raw = *source.find(part);
      detail::load_part(ctx, parameter, first_row, raw, layouts);
      first_row += part.rows;
      loaded(part, raw);
    }
  });
}

}  // namespace qwen3vl

/// What the operands of all operations are made of: deterministic numbers, and buffers with guard words.
///
/// The headers of this folder are the table of operations that tests and benchmarks share. Each operation of
/// backend/contract/ops.hpp is a struct of its sizes with
///   name, sizes()                 how a test or benchmark is called
///   Operands<B>                   its operands in memory of backend B, made of pseudo-random numbers; the same on each
///     call(ctx)                   the call
///     results(ctx)                what it wrote, one vector for each output
///     intact()                    whether nothing was written beside the outputs
///   expected(ctx, operands)       results in double precision, of the same operands as B has rounded them: by `Exact`.
///                                 Without this function, `Exact` makes its operands itself.
///   bounds(operands, expected)    how far results may be from these: the rule of the contract
/// `operations::check_operation` (tests/backend/check.hpp) runs one on a backend and on `Exact`, and compares.
#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "qwen3vl/backend/contract/ops.hpp"

namespace qwen3vl {
template <std::floating_point Scalar>
class Reference;
}

namespace operations {

using namespace qwen3vl;

/// The backend that the others are compared with. backend_reference_test compares it with plain loops.
using Exact = Reference<double>;
using Results = std::vector<std::vector<double>>;

/// An operation that needs none of another backend's operands, in double precision; defined in exact_results.hpp.
template <class Operation>
Results exact_results(const Operation& operation);

/// Pseudo-random floats in [-1, 1], the same everywhere.
class Numbers {
 public:
  explicit Numbers(std::uint32_t seed) : state_(seed * 2654435761u + 1u) {}
  float operator()() {
    state_ = state_ * 1664525u + 1013904223u;
    return static_cast<float>(state_ >> 8) / 8388608.0f - 1.0f;
  }
  std::vector<float> many(index_t count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = (*this)();
    return values;
  }

 private:
  std::uint32_t state_;
};

/// Copies bytes to or from memory of backend B, immediately and unchanged.
template <class B>
void copy_bytes(void* to, const void* from, std::size_t bytes) {
  if constexpr (B::is_host) {
    std::memcpy(to, from, bytes);
  } else {
    B::Memory::copy(to, from, bytes);
  }
}

/// Memory of backend B with 16 guard words on both sides. Outputs begin as NaN, so that elements that are not written
/// are noticed. On the host side, activations of any type are float.
template <class B, class T = float>
class Guarded {
  static constexpr index_t guard = 16;
  using Number = std::conditional_t<std::is_integral_v<T>, T, float>;
  using Word = std::conditional_t<sizeof(T) == 2, std::uint16_t,
                                  std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>>;
  static constexpr auto pattern = static_cast<Word>(0x7fffdead'7fdeadbfu >> (sizeof(T) == 2 ? 16 : 0));  // also a NaN

 public:
  explicit Guarded(index_t count) : count_(count), memory_(count + 2 * guard) {
    static_assert(sizeof(T) == sizeof pattern);
    const std::vector<Word> words(static_cast<std::size_t>(count + 2 * guard), pattern);
    copy_bytes<B>(memory_.data(), words.data(), words.size() * sizeof(Word));
  }
  Guarded(Context<B>& ctx, const std::vector<Number>& values) : Guarded(static_cast<index_t>(values.size())) {
    assign(ctx, values);
  }
  void assign(Context<B>& ctx, const std::vector<Number>& values) {
    copy_from_host(ctx, View<const Number, Host, dynamic>(values.data(), count_), View<T, B, dynamic>(data(), count_));
  }

  T* data() { return memory_.data() + guard; }
  template <index_t... E, class... Sizes>
  View<T, B, E...> view(Sizes... sizes) {
    return View<T, B, E...>(data(), sizes...);
  }
  /// For operands, whose static sizes are deduced.
  template <index_t... E, class... Sizes>
  View<const T, B, E...> input(Sizes... sizes) {
    return View<const T, B, E...>(data(), sizes...);
  }
  std::vector<Number> values(Context<B>& ctx) { return on_host<Number>(ctx); }
  /// Exactly, also those of `Exact`.
  std::vector<double> doubles(Context<B>& ctx) {
    if constexpr (std::is_same_v<T, double>) {
      return on_host<double>(ctx);
    } else {
      const auto numbers = values(ctx);
      return {numbers.begin(), numbers.end()};
    }
  }
  /// Whether nothing was written beside the buffer.
  bool intact() const {
    Word words[2][guard];
    copy_bytes<B>(words[0], memory_.data(), sizeof words[0]);
    copy_bytes<B>(words[1], memory_.data() + guard + count_, sizeof words[1]);
    for (const auto& side : words)
      for (const Word word : side)
        if (word != pattern) return false;
    return true;
  }

 private:
  template <class U>
  std::vector<U> on_host(Context<B>& ctx) {
    std::vector<U> host(static_cast<std::size_t>(count_));
    copy_to_host(ctx, View<const T, B, dynamic>(data(), count_), View<U, Host, dynamic>(host.data(), count_));
    return host;
  }

  index_t count_;
  Tensor<T, B, dynamic> memory_;
};

/// Half a unit in the last place of float32, relative.
inline constexpr double epsilon = 0x1p-24;

/// The type of activations that meet weights of type W, and what rounding a number to it may change, relative.
template <class W>
struct WeightsOf {
  using Weight = W;
};
template <class B, class W>
using activation_for = activation_t<B, WeightsOf<W>>;
template <class B>
using Activations = Guarded<B, activation_t<B, F32>>;
/// Activations of type A in memory of B; those of `Exact` are double.
template <class B, class A>
using Held = Guarded<B, std::conditional_t<std::is_same_v<B, Exact>, double, A>>;
template <class A>
inline constexpr double rounding_of = std::is_floating_point_v<A> ? 0.0 : 0x1p-8;
template <class A>
std::vector<float> rounded_to(std::vector<float> values) {
  for (float& value : values) value = static_cast<float>(static_cast<A>(value));
  return values;
}
inline std::vector<float> scaled(std::vector<float> values, float factor) {
  for (float& value : values) value *= factor;
  return values;
}
/// A matrix in memory as a file has it.
inline RawTensor raw_matrix(const float* values, const index_t (&shape)[2]) {
  return {.dtype = DType::f32, .data = reinterpret_cast<const std::byte*>(values), .shape = shape};
}

}  // namespace operations

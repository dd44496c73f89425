/// Buffers with guard words, deterministic numbers and tolerances: what every operation test needs.
#pragma once

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "qwen3vl/backend/contract/ops.hpp"
#include "qwen3vl/backend/cpu/cpu.hpp"

namespace operations {

using namespace qwen3vl;

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
  using Host = std::conditional_t<std::is_integral_v<T>, T, float>;
  using Word = std::conditional_t<sizeof(T) == 2, std::uint16_t,
                                  std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>>;
  static constexpr auto pattern = static_cast<Word>(0x7fffdead'7fdeadbfu >> (sizeof(T) == 2 ? 16 : 0));  // also a NaN

 public:
  explicit Guarded(index_t count) : count_(count), memory_(count + 2 * guard) {
    static_assert(sizeof(T) == sizeof pattern);
    const std::vector<Word> words(static_cast<std::size_t>(count + 2 * guard), pattern);
    copy_bytes<B>(memory_.data(), words.data(), words.size() * sizeof(Word));
  }
  Guarded(Context<B>& ctx, const std::vector<Host>& values) : Guarded(static_cast<index_t>(values.size())) {
    copy_from_host(ctx, View<const Host, Cpu, dynamic>(values.data(), count_), View<T, B, dynamic>(data(), count_));
  }

  T* data() { return memory_.data() + guard; }
  template <index_t... E, class... Sizes>
  View<T, B, E...> view(Sizes... sizes) {
    return View<T, B, E...>(data(), sizes...);
  }
  std::vector<Host> values(Context<B>& ctx) {
    std::vector<Host> host(static_cast<std::size_t>(count_));
    copy_to_host(ctx, View<const T, B, dynamic>(data(), count_), View<Host, Cpu, dynamic>(host.data(), count_));
    return host;
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
  index_t count_;
  Tensor<T, B, dynamic> memory_;
};

/// Checks an output element by element. bound[i] is the allowed error; it follows from the operands.
template <class B, class T>
void check(Context<B>& ctx, Guarded<B, T>& output, const std::vector<double>& expected,
           const std::vector<double>& bound, const std::string& what) {
  BOOST_TEST(output.intact(), what << ": wrote beside its output");
  const std::vector<float> values = output.values(ctx);
  BOOST_REQUIRE(values.size() == expected.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double error = std::abs(static_cast<double>(values[i]) - expected[i]);
    if (error <= bound[i]) continue;  // NaN fails
    BOOST_TEST(false,
               what << ": element " << i << " is " << values[i] << ", wanted " << expected[i] << " +- " << bound[i]);
    return;
  }
}

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
template <class A>
inline constexpr double rounding_of = std::is_floating_point_v<A> ? 0.0 : 0x1p-8;
template <class A>
void round_to(std::vector<float>& values) {
  for (float& value : values) value = static_cast<float>(static_cast<A>(value));
}

}  // namespace operations

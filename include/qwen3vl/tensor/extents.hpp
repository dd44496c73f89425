/// Extents: the sizes of a tensor, each known at compile time or `dynamic` (as in mdspan and CuTe).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace qwen3vl {

/// Signed, as in the field's other libraries: differences of sizes are common and must not wrap.
using index_t = std::int64_t;

/// An extent that is known at run time only.
inline constexpr index_t dynamic = -1;

/// Row-major sizes. Only dynamic extents take space.
template <index_t... E>
class Extents {
  static_assert(((E >= 0 || E == dynamic) && ...), "an extent is a size or qwen3vl::dynamic");

 public:
  static constexpr std::size_t rank = sizeof...(E);
  static constexpr std::size_t rank_dynamic = (std::size_t{0} + ... + (E == dynamic ? 1 : 0));
  static constexpr std::array<index_t, rank> static_extents{E...};

  constexpr Extents() = default;
  /// Takes the dynamic extents, in order.
  template <class... Sizes>
  requires(sizeof...(Sizes) == rank_dynamic && rank_dynamic > 0) constexpr explicit Extents(Sizes... sizes)
      : dynamic_{static_cast<index_t>(sizes)...} {}

  constexpr index_t extent(std::size_t i) const {
    if (static_extents[i] != dynamic) return static_extents[i];
    std::size_t slot = 0;
    for (std::size_t j = 0; j < i; ++j) slot += static_extents[j] == dynamic;
    return dynamic_[slot];
  }
  constexpr void set_dynamic(std::size_t slot, index_t size) { dynamic_[slot] = size; }
  constexpr index_t size() const {
    index_t product = 1;
    for (std::size_t i = 0; i < rank; ++i) product *= extent(i);
    return product;
  }
  /// Elements of one step of the first extent.
  constexpr index_t row_size() const {
    index_t product = 1;
    for (std::size_t i = 1; i < rank; ++i) product *= extent(i);
    return product;
  }

 private:
  // Never of size zero, so that a fully static Extents needs no special case.
  std::array<index_t, rank_dynamic == 0 ? 1 : rank_dynamic> dynamic_{};
};

namespace detail {

/// Whether extents `From...` may become `To...` without a check: equal where both are static, and To dynamic elsewhere.
template <class From, class To>
inline constexpr bool extents_convertible = false;
template <index_t... F, index_t... T>
requires(sizeof...(F) == sizeof...(T)) inline constexpr bool extents_convertible<Extents<F...>, Extents<T...>> =
    ((T == dynamic || F == T) && ...);

template <class ToExtents, class FromExtents>
constexpr ToExtents convert_extents(const FromExtents& from) {
  ToExtents to;
  std::size_t slot = 0;
  for (std::size_t i = 0; i < ToExtents::rank; ++i)
    if (ToExtents::static_extents[i] == dynamic) to.set_dynamic(slot++, from.extent(i));
  return to;
}

}  // namespace detail
}  // namespace qwen3vl

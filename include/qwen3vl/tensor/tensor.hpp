/// `Tensor` owns memory, `TensorView` (short: `View`) refers to it. Always row-major and contiguous. Extents are static
/// or `dynamic`; a view of a wrong static size does not compile. Dynamic sizes are checked where data enters (files,
/// user calls), not in kernels.
#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// Where a tensor's memory is: `Host` (tensor/host.hpp) or a device. `is_host` says whether the CPU may dereference it.
/// Backends that compute in the same memory space share tensors.
template <class M>
concept MemorySpace = requires(void* pointer, std::size_t bytes) {
  { M::is_host } -> std::convertible_to<bool>;
  { M::allocate(bytes) } -> std::same_as<void*>;  // 64-byte aligned, not initialised
  M::deallocate(pointer, bytes);
  M::fill_zero(pointer, bytes);
};

namespace detail {

template <class B>
struct MemoryOf {
  using type = B;
};
template <class B>
requires requires { typename B::Memory; }
struct MemoryOf<B> {
  using type = typename B::Memory;
};

}  // namespace detail

/// The memory space of B: a backend's `Memory`, or B if it is a memory space.
template <class B>
using memory_t = typename detail::MemoryOf<B>::type;

/// A non-owning, row-major view of `T`s in memory space `M`.
template <class T, class M, index_t... E>
class TensorView {
 public:
  using value_type = std::remove_const_t<T>;
  using element_type = T;
  using memory_type = M;
  using extents_type = Extents<E...>;
  static constexpr std::size_t rank = sizeof...(E);

  constexpr TensorView() = default;

  /// A view of `data`, with the dynamic extents in order.
  template <class... Sizes>
  requires(sizeof...(Sizes) == extents_type::rank_dynamic &&
           (std::convertible_to<Sizes, index_t> && ...)) constexpr explicit TensorView(T* data, Sizes... sizes)
      : data_(data), extents_(make(sizes...)) {}

  constexpr TensorView(T* data, const extents_type& extents) : data_(data), extents_(extents) {}

  /// From a view whose static extents agree (a static extent may become dynamic, T may become const T).
  template <class U, index_t... F>
  requires(std::is_convertible_v<U (*)[], T (*)[]>&& detail::extents_convertible<
           Extents<F...>, Extents<E...>>) constexpr TensorView(const TensorView<U, M, F...>&
                                                                   other)  // NOLINT(google-explicit-constructor):
                                                                           // a widening
      : data_(other.data()), extents_(detail::convert_extents<extents_type>(other.extents())) {}

  /// From a view of other sizes, or of const elements: deleted rather than absent, so that the compiler's first error
  /// shows both lists of extents (g++ 12 prints neither if no conversion exists).
  template <class U, index_t... F>
  requires(std::is_same_v<std::remove_const_t<U>, value_type> &&
           !(std::is_convertible_v<U (*)[], T (*)[]> &&
             detail::extents_convertible<Extents<F...>,
                                         Extents<E...>>)) constexpr TensorView(const TensorView<U, M, F...>& other) =
      delete;  // NOLINT(google-explicit-constructor)

  constexpr T* data() const { return data_; }
  constexpr const extents_type& extents() const { return extents_; }
  constexpr index_t extent(std::size_t i) const { return extents_.extent(i); }
  constexpr index_t rows() const { return extents_.extent(0); }
  /// Elements of one row: the product of all extents but the first.
  constexpr index_t row_size() const { return extents_.row_size(); }
  constexpr index_t size() const { return extents_.size(); }
  constexpr bool empty() const { return size() == 0; }

  /// One element; host memory only.
  template <class... Indexes>
  requires(M::is_host && sizeof...(Indexes) == rank) constexpr T& operator()(Indexes... indexes) const {
    index_t offset = 0;
    std::size_t i = 0;
    ((offset = offset * extents_.extent(i++) + static_cast<index_t>(indexes)), ...);
    return data_[offset];
  }

  /// Row `i`: a view of one rank less.
  constexpr auto operator[](index_t i) const requires(rank > 1) {
    return drop_first(i, std::type_identity<extents_type>{});
  }

  /// Rows [first, first + count): the first extent becomes dynamic.
  constexpr auto slice(index_t first, index_t count) const {
    return slice_rows(first, count, std::type_identity<extents_type>{});
  }

  /// The same elements under other extents. The number of elements must agree; the check is cheap beside any use.
  template <index_t... F, class... Sizes>
  constexpr TensorView<T, M, F...> reshape(Sizes... sizes) const {
    TensorView<T, M, F...> view(data_, sizes...);
    if (view.size() != size()) fail("reshape from ", size(), " to ", view.size(), " elements");
    return view;
  }

  /// All elements; host memory only.
  constexpr std::span<T> span() const requires(M::is_host) { return {data_, static_cast<std::size_t>(size())}; }

 private:
  template <class... Sizes>
  static constexpr extents_type make(Sizes... sizes) {
    if constexpr (sizeof...(Sizes) == 0) {
      return extents_type{};
    } else {
      return extents_type(static_cast<index_t>(sizes)...);
    }
  }
  template <index_t First, index_t... Rest>
  constexpr auto drop_first(index_t i, std::type_identity<Extents<First, Rest...>>) const {
    using Result = TensorView<T, M, Rest...>;
    typename Result::extents_type rest;
    std::size_t slot = 0;
    for (std::size_t j = 1; j < rank; ++j)
      if (extents_type::static_extents[j] == dynamic) rest.set_dynamic(slot++, extent(j));
    return Result(data_ + i * row_size(), rest);
  }
  template <index_t First, index_t... Rest>
  constexpr auto slice_rows(index_t first, index_t count, std::type_identity<Extents<First, Rest...>>) const {
    using Result = TensorView<T, M, dynamic, Rest...>;
    typename Result::extents_type sizes;
    sizes.set_dynamic(0, count);
    std::size_t slot = 1;
    for (std::size_t j = 1; j < rank; ++j)
      if (extents_type::static_extents[j] == dynamic) sizes.set_dynamic(slot++, extent(j));
    return Result(data_ + first * row_size(), sizes);
  }

  T* data_ = nullptr;
  extents_type extents_{};
};

/// A view of memory of backend (or memory space) B.
template <class T, class B, index_t... E>
using View = TensorView<T, memory_t<B>, E...>;

/// A tensor that owns its memory: zero after construction (except by uninitialized()), movable, not copyable (`copy` is
/// explicit). Whatever owns memory of a space holds it in one of these.
template <class T, class M, index_t... E>
class OwningTensor {
  static_assert(MemorySpace<M>, "the second argument of Tensor is a backend or a memory space, such as qwen3vl::Cpu");
  static_assert(std::is_trivially_copyable_v<T> && !std::is_const_v<T>, "tensors hold plain numbers");

 public:
  using value_type = T;
  using memory_type = M;
  using extents_type = Extents<E...>;
  static constexpr std::size_t rank = sizeof...(E);

  /// Empty (no memory) until assigned.
  OwningTensor() = default;

  /// Allocates with the dynamic extents, in order. `Tensor::zeros()` makes a fully static tensor.
  template <class... Sizes>
  requires(sizeof...(Sizes) == extents_type::rank_dynamic && sizeof...(Sizes) > 0) explicit OwningTensor(Sizes... sizes)
      : extents_(static_cast<index_t>(sizes)...) {
    allocate();
  }

  template <class... Sizes>
  static OwningTensor zeros(Sizes... sizes) {
    OwningTensor tensor;
    if constexpr (sizeof...(Sizes) > 0) tensor.extents_ = extents_type(static_cast<index_t>(sizes)...);
    tensor.allocate();
    return tensor;
  }

  /// Allocates with given extents, static or not.
  static OwningTensor of(const extents_type& extents) {
    OwningTensor tensor;
    tensor.extents_ = extents;
    tensor.allocate();
    return tensor;
  }

  /// Allocates without initialising; pages are committed on first write.
  template <class... Sizes>
  requires(sizeof...(Sizes) == extents_type::rank_dynamic) static OwningTensor uninitialized(Sizes... sizes) {
    OwningTensor tensor;
    if constexpr (sizeof...(Sizes) > 0) tensor.extents_ = extents_type(static_cast<index_t>(sizes)...);
    tensor.take_memory();
    return tensor;
  }

  OwningTensor(OwningTensor&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), extents_(std::exchange(other.extents_, extents_type{})) {}
  OwningTensor& operator=(OwningTensor&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(extents_, other.extents_);
    return *this;
  }
  OwningTensor(const OwningTensor&) = delete;
  OwningTensor& operator=(const OwningTensor&) = delete;
  ~OwningTensor() {
    if (data_ != nullptr) M::deallocate(data_, bytes());
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  /// Whether it holds memory (a default-constructed tensor of static extents does not).
  bool allocated() const { return data_ != nullptr; }
  const extents_type& extents() const { return extents_; }
  index_t extent(std::size_t i) const { return extents_.extent(i); }
  index_t rows() const { return extents_.extent(0); }
  index_t row_size() const { return extents_.row_size(); }
  index_t size() const { return extents_.size(); }
  bool empty() const { return data_ == nullptr || size() == 0; }
  std::size_t bytes() const { return static_cast<std::size_t>(size()) * sizeof(T); }

  TensorView<T, M, E...> view() { return {data_, extents_}; }
  TensorView<const T, M, E...> view() const { return {data_, extents_}; }

  /// To any view that view() converts to.
  template <class U, index_t... F>
  requires(std::is_convertible_v<TensorView<T, M, E...>, TensorView<U, M, F...>>)
  operator TensorView<U, M, F...>() {  // NOLINT(google-explicit-constructor): a tensor is its own widest view
    return view();
  }
  template <class U, index_t... F>
  requires(std::is_convertible_v<TensorView<const T, M, E...>, TensorView<const U, M, F...>>)
  operator TensorView<const U, M, F...>() const {  // NOLINT(google-explicit-constructor)
    return view();
  }

  template <class... Indexes>
  T& operator()(Indexes... indexes) {
    return view()(indexes...);
  }
  template <class... Indexes>
  const T& operator()(Indexes... indexes) const {
    return view()(indexes...);
  }
  auto operator[](index_t i) { return view()[i]; }
  auto operator[](index_t i) const { return view()[i]; }
  auto slice(index_t first, index_t count) { return view().slice(first, count); }
  auto slice(index_t first, index_t count) const { return view().slice(first, count); }
  std::span<T> span() { return view().span(); }
  std::span<const T> span() const { return view().span(); }

 private:
  void allocate() {
    const std::size_t total = take_memory();
    M::fill_zero(data_, total);
  }
  /// Returns the number of bytes.
  std::size_t take_memory() {
    for (std::size_t i = 0; i < rank; ++i)
      if (extent(i) < 0) fail("a tensor of negative extent ", extent(i));
    std::size_t total = sizeof(T);
    for (std::size_t i = 0; i < rank; ++i)
      if (__builtin_mul_overflow(total, static_cast<std::size_t>(extent(i)), &total))
        fail("a tensor of more bytes than can be counted");
    data_ = static_cast<T*>(M::allocate(total));
    return total;
  }

  T* data_ = nullptr;
  extents_type extents_{};
};

/// A tensor in the memory of backend (or memory space) B.
template <class T, class B, index_t... E>
using Tensor = OwningTensor<T, memory_t<B>, E...>;

}  // namespace qwen3vl

/// `Tensor` owns memory of a backend, `TensorView` (short: `View`) looks at it. Row-major and contiguous, always.
/// Extents are static or `dynamic`; a view of a wrong static size does not compile. Dynamic sizes are checked where
/// data enters (files, user calls), not in kernels.
#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include "qwen3vl/error.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// A backend's memory: where a tensor lives. `B::is_host` says whether the CPU may dereference it.
template <class B>
concept MemorySpace = requires(void* pointer, std::size_t bytes) {
  { B::is_host } -> std::convertible_to<bool>;
  { B::Memory::allocate(bytes) } -> std::same_as<void*>;  // 64-byte aligned, not initialised
  B::Memory::deallocate(pointer, bytes);
  B::Memory::fill_zero(pointer, bytes);
};

/// A non-owning, row-major look at `T`s in the memory of backend `B`.
template <class T, class B, index_t... E>
class TensorView {
 public:
  using value_type = std::remove_const_t<T>;
  using element_type = T;
  using backend_type = B;
  using extents_type = Extents<E...>;
  static constexpr std::size_t rank = sizeof...(E);

  constexpr TensorView() = default;

  /// Looks at `data`, with the dynamic extents in order.
  template <class... Sizes>
  requires(sizeof...(Sizes) == extents_type::rank_dynamic &&
           (std::convertible_to<Sizes, index_t> && ...)) constexpr explicit TensorView(T* data, Sizes... sizes)
      : data_(data), extents_(make(sizes...)) {}

  constexpr TensorView(T* data, const extents_type& extents) : data_(data), extents_(extents) {}

  /// From a view whose static extents agree (a static extent may become dynamic, T may become const T).
  template <class U, index_t... F>
  requires(std::is_convertible_v<U (*)[], T (*)[]>&& detail::extents_convertible<
           Extents<F...>, Extents<E...>>) constexpr TensorView(const TensorView<U, B, F...>&
                                                                   other)  // NOLINT(google-explicit-constructor):
                                                                           // a widening
      : data_(other.data()), extents_(detail::convert_extents<extents_type>(other.extents())) {}

  /// From a view of other sizes, or of const elements: never. Deleted, so that the compiler's first error has both
  /// lists of extents (g++ 12 prints none of a conversion that does not exist).
  template <class U, index_t... F>
  requires(std::is_same_v<std::remove_const_t<U>, value_type> &&
           !(std::is_convertible_v<U (*)[], T (*)[]> &&
             detail::extents_convertible<Extents<F...>,
                                         Extents<E...>>)) constexpr TensorView(const TensorView<U, B, F...>& other) =
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
  requires(B::is_host && sizeof...(Indexes) == rank) constexpr T& operator()(Indexes... indexes) const {
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

  /// The same elements under other extents. The number of elements must agree: checked, for it is cheap beside any use.
  template <index_t... F, class... Sizes>
  constexpr TensorView<T, B, F...> reshape(Sizes... sizes) const {
    TensorView<T, B, F...> view(data_, sizes...);
    if (view.size() != size()) fail("reshape from ", size(), " to ", view.size(), " elements");
    return view;
  }

  /// All elements; host memory only.
  constexpr std::span<T> span() const requires(B::is_host) { return {data_, static_cast<std::size_t>(size())}; }

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
    using Result = TensorView<T, B, Rest...>;
    typename Result::extents_type rest;
    std::size_t slot = 0;
    for (std::size_t j = 1; j < rank; ++j)
      if (extents_type::static_extents[j] == dynamic) rest.set_dynamic(slot++, extent(j));
    return Result(data_ + i * row_size(), rest);
  }
  template <index_t First, index_t... Rest>
  constexpr auto slice_rows(index_t first, index_t count, std::type_identity<Extents<First, Rest...>>) const {
    using Result = TensorView<T, B, dynamic, Rest...>;
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

template <class T, class B, index_t... E>
using View = TensorView<T, B, E...>;

/// A tensor that owns its memory; zero after construction (but for uninitialized()), movable, not copyable (copies are
/// explicit: `copy`).
template <class T, class B, index_t... E>
class Tensor {
  static_assert(MemorySpace<B>, "the second argument of Tensor is a backend, such as qwen3vl::Cpu");
  static_assert(std::is_trivially_copyable_v<T> && !std::is_const_v<T>, "tensors hold plain numbers");

 public:
  using value_type = T;
  using backend_type = B;
  using extents_type = Extents<E...>;
  static constexpr std::size_t rank = sizeof...(E);

  /// Empty (no memory) until assigned.
  Tensor() = default;

  /// Allocates with the dynamic extents, in order. A fully static tensor is made by `Tensor::zeros()`.
  template <class... Sizes>
  requires(sizeof...(Sizes) == extents_type::rank_dynamic && sizeof...(Sizes) > 0) explicit Tensor(Sizes... sizes)
      : extents_(static_cast<index_t>(sizes)...) {
    allocate();
  }

  template <class... Sizes>
  static Tensor zeros(Sizes... sizes) {
    Tensor tensor;
    if constexpr (sizeof...(Sizes) > 0) tensor.extents_ = extents_type(static_cast<index_t>(sizes)...);
    tensor.allocate();
    return tensor;
  }

  /// Allocates with extents that are at hand, static or not.
  static Tensor of(const extents_type& extents) {
    Tensor tensor;
    tensor.extents_ = extents;
    tensor.allocate();
    return tensor;
  }

  /// As the constructor, but what is in it is not known, and its memory is not touched: whoever writes first does that.
  template <class... Sizes>
  requires(sizeof...(Sizes) == extents_type::rank_dynamic) static Tensor uninitialized(Sizes... sizes) {
    Tensor tensor;
    if constexpr (sizeof...(Sizes) > 0) tensor.extents_ = extents_type(static_cast<index_t>(sizes)...);
    tensor.take_memory();
    return tensor;
  }

  Tensor(Tensor&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), extents_(std::exchange(other.extents_, extents_type{})) {}
  Tensor& operator=(Tensor&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(extents_, other.extents_);
    return *this;
  }
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;
  ~Tensor() {
    if (data_ != nullptr) B::Memory::deallocate(data_, bytes());
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  /// Whether memory is held (a default-constructed tensor of static extents holds none).
  bool allocated() const { return data_ != nullptr; }
  const extents_type& extents() const { return extents_; }
  index_t extent(std::size_t i) const { return extents_.extent(i); }
  index_t rows() const { return extents_.extent(0); }
  index_t row_size() const { return extents_.row_size(); }
  index_t size() const { return extents_.size(); }
  bool empty() const { return data_ == nullptr || size() == 0; }
  std::size_t bytes() const { return static_cast<std::size_t>(size()) * sizeof(T); }

  TensorView<T, B, E...> view() { return {data_, extents_}; }
  TensorView<const T, B, E...> view() const { return {data_, extents_}; }

  /// To any view that view() converts to.
  template <class U, index_t... F>
  requires(std::is_convertible_v<TensorView<T, B, E...>, TensorView<U, B, F...>>)
  operator TensorView<U, B, F...>() {  // NOLINT(google-explicit-constructor): a tensor is its own widest view
    return view();
  }
  template <class U, index_t... F>
  requires(std::is_convertible_v<TensorView<const T, B, E...>, TensorView<const U, B, F...>>)
  operator TensorView<const U, B, F...>() const {  // NOLINT(google-explicit-constructor)
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
    B::Memory::fill_zero(data_, total);
  }
  /// Returns how many bytes it took.
  std::size_t take_memory() {
    for (std::size_t i = 0; i < rank; ++i)
      if (extent(i) < 0) fail("a tensor of negative extent ", extent(i));
    std::size_t total = sizeof(T);
    for (std::size_t i = 0; i < rank; ++i)
      if (__builtin_mul_overflow(total, static_cast<std::size_t>(extent(i)), &total))
        fail("a tensor of more bytes than can be counted");
    data_ = static_cast<T*>(B::Memory::allocate(total));
    return total;
  }

  T* data_ = nullptr;
  extents_type extents_{};
};

}  // namespace qwen3vl

/// Copies between the host and the device, with conversion.
#pragma once

#include <cstring>
#include <type_traits>

#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/primitives/staging.cuh"
#include "qwen3vl/tensor/host.hpp"

namespace qwen3vl {

/// See backend/contract/ops.hpp. Waits for the device.
template <class T, class U, index_t... E, index_t... F>
void copy_to_host(Context<Cuda>& ctx, View<T, Cuda, E...> from, View<U, Host, F...> to) {
  using Value = std::remove_const_t<T>;
  if (from.size() != to.size()) fail("copying ", from.size(), " elements to ", to.size());
  Cuda& cuda = ctx.backend();
  cuda.staging().download(cuda.stream(), from.data(), static_cast<std::size_t>(from.size()) * sizeof(Value),
                          [&](const std::byte* pinned, std::size_t offset, std::size_t bytes) {
                            U* const target = to.data() + offset / sizeof(Value);
                            if constexpr (std::is_same_v<Value, U>) {
                              std::memcpy(target, pinned, bytes);
                            } else {
                              for (std::size_t i = 0; i < bytes / sizeof(Value); ++i) {
                                Value value;
                                std::memcpy(&value, pinned + i * sizeof value, sizeof value);
                                target[i] = static_cast<U>(value);
                              }
                            }
                          });
}

/// See backend/contract/ops.hpp. Does not wait: what was on the host has been read when this returns, and later
/// operations of the handle see it.
template <class T, class U, index_t... E, index_t... F>
void copy_from_host(Context<Cuda>& ctx, View<T, Host, E...> from, View<U, Cuda, F...> to) {
  if (from.size() != to.size()) fail("copying ", from.size(), " elements to ", to.size());
  Cuda& cuda = ctx.backend();
  cuda.staging().upload(cuda.stream(), to.data(), static_cast<std::size_t>(to.size()) * sizeof(U),
                        [&](std::byte* pinned, std::size_t offset, std::size_t bytes) {
                          const T* const source = from.data() + offset / sizeof(U);
                          cuda::in_parts(bytes / sizeof(U), [&](std::size_t begin, std::size_t end) {
                            if constexpr (std::is_same_v<std::remove_const_t<T>, U>) {
                              std::memcpy(pinned + begin * sizeof(U), source + begin, (end - begin) * sizeof(U));
                            } else {
                              auto* const target = reinterpret_cast<U*>(pinned);
                              for (std::size_t i = begin; i < end; ++i) target[i] = static_cast<U>(source[i]);
                            }
                          });
                        });
}

}  // namespace qwen3vl

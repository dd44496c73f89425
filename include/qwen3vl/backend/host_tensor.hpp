/// Tensors in host memory, for what crosses the library's door: ids, masks, pixels, results.
#pragma once

#include "qwen3vl/backend/cpu/cpu.hpp"
#include "qwen3vl/tensor/tensor.hpp"

namespace qwen3vl {

template <class T, index_t... E>
using HostTensor = Tensor<T, Cpu, E...>;

/// [rows, columns], both known at run time.
template <class T>
using HostMatrix = HostTensor<T, dynamic, dynamic>;

/// [a, b, c], all known at run time.
template <class T>
using HostCube = HostTensor<T, dynamic, dynamic, dynamic>;

}  // namespace qwen3vl

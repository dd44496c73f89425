/// Random numbers as PyTorch draws them on a CPU, which watermarks depend on.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

namespace qwen3vl::detail {

/// torch.Generator("cpu").manual_seed(seed): a 32-bit Mersenne twister, of whose seed 32 bits count.
inline std::mt19937 torch_generator(std::uint64_t seed) { return std::mt19937(static_cast<std::uint32_t>(seed)); }

/// The first `count` values of torch.randperm(size) on a CPU.
inline std::vector<std::int32_t> torch_randperm(std::size_t size, std::size_t count, std::mt19937& generator) {
  std::vector<std::int32_t> values(size);
  std::iota(values.begin(), values.end(), 0);
  for (std::size_t i = 0; i < std::min(count, size - 1); ++i)
    std::swap(values[i], values[i + generator() % (size - i)]);
  values.resize(count);
  return values;
}

}  // namespace qwen3vl::detail

/// The weights of a model on the CPU, for comparison bit for bit.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "qwen3vl/model/load.hpp"

namespace qwen3vl::test {

/// All weights, as they lie in memory.
template <class M>
std::vector<std::byte> memory(M& model) {
  std::vector<std::byte> all;
  model.parameters([&](auto& parameter, const Parts&) {
    detail::visit_memory(parameter,
                         [&](std::span<std::byte> piece) { all.insert(all.end(), piece.begin(), piece.end()); });
  });
  return all;
}

}  // namespace qwen3vl::test

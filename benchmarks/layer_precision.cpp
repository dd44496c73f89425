// The benchmarks of one variant's layers under one precision; the build names both.
#include "layer_benchmarks.hpp"
#include QWEN3VL_VARIANT_HEADER

namespace qwen3vl::bench {

template <>
void add_layer_benchmarks<QWEN3VL_PRECISION>(const LayerSettings& settings) {
  LayerBenchmarks<QWEN3VL_VARIANT_TYPE, QWEN3VL_PRECISION>(settings).add();
}

}  // namespace qwen3vl::bench

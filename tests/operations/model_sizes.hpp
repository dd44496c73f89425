/// The table at the sizes of the released models, for benchmarks. The sizes of tests are in tests/backend/.
#pragma once

#include "operations/cache.hpp"
#include "operations/products.hpp"
#include "operations/rows.hpp"

namespace operations {

/// `fresh` tokens of one sequence after `past` ones. 28 layers are filled, as many as 2B has: with thousands of tokens
/// decoding reads its keys from memory, as in a model.
template <class T, index_t H, index_t K, index_t D>
CausalAttention<H, K, D, T, float, 28> after(index_t fresh, index_t past) {
  CausalAttention<H, K, D, T, float, 28> operation;
  for (; past > 0; past -= 512) operation.chunks.push_back({std::min<index_t>(past, 512)});
  operation.chunks.push_back({fresh});
  operation.every_layer = true;
  return operation;
}

/// The products of 2B's layers: queries, keys and values, gate and up, down.
template <class W, class F>
void for_layer_products(F&& f) {
  for (const index_t rows : {1, 4, 512}) f(Linear<W, 4096, 2048, epilogue::Store>{rows});
  for (const index_t rows : {1, 512}) f(Linear<W, 12288, 2048, epilogue::SwiGlu>{rows});
  for (const index_t rows : {1, 512}) f(Linear<W, 2048, 6144, epilogue::Add>{rows});
}

/// f(operation) for each.
template <class F>
void for_model_sizes(F&& f) {
  for_layer_products<bf16>(f);
  f(Linear<bf16, 4096, 1024, epilogue::GeluTanh>{1024});  // the vision towers
  f(Linear<bf16, 1024, 4096, epilogue::Add>{1024});
  f(Linear<bf16, 4304, 1152, epilogue::GeluTanh>{1024});
  for_layer_products<q8>(f);
  for_layer_products<q4>(f);
  for_layer_products<q8_dot>(f);
  for_layer_products<q4_dot>(f);
  for (const index_t tokens : {1, 512}) f(Route<128, 8>{tokens});
  for (const index_t tokens : {1, 512}) f(ExpertMlp<bf16, 16, 8, 2048, 768>{tokens});  // 30B-A3B has 128 experts
  for (const index_t tokens : {1024, 3072}) f(Attention<16, 64>{{tokens}});
  for (const index_t tokens : {1024, 3072}) f(Attention<16, 72>{{tokens}});
  f(AttentionWeights<16, 64>{{{1024}}});
  f(WeightedValues<16, 64>{{{1024}}});
  f(after<float, 16, 8, 128>(512, 0));
  f(after<float, 16, 8, 128>(512, 3584));
  f(after<float, 16, 8, 128>(4096, 0));
  // Decoding: 2B, 8B and 30B-A3B share keys among 2, 4 and 8 heads.
  for (const index_t past : {512, 4096, 16384}) f(after<float, 16, 8, 128>(1, past));
  for (const index_t past : {512, 4096, 16384}) f(after<f16, 16, 8, 128>(1, past));
  f(after<bf16, 16, 8, 128>(1, 4096));
  f(after<float, 32, 8, 128>(1, 4096));
  f(after<f16, 32, 8, 128>(1, 4096));
  f(after<float, 32, 4, 128>(1, 4096));
  f(after<f16, 32, 4, 128>(1, 4096));
  f(LayerNorm<1024>{1024});
  for (const index_t rows : {1, 512}) f(RmsNorm<2048>{rows});
  f(RopeTables<24, 20, 20>{512});
  f(RotateQk<16, 64>{1024});
  f(RotateQk<16, 72>{1024});
  for (const index_t tokens : {1, 512}) f(QkNormRope<16, 8, 128, float>{{{{tokens}}}});
  f(QkNormRope<16, 8, 128, f16>{{{{1}}}});
  f(Embedding<bf16, 8192, 2048>{512});
  f(InterpolateAdd{1024, 2304, 1024});
  f(ScatterRows{{256, 512, 2048}});
  f(AddRows{{256, 512, 2048}});
  f(GatherRows{{256, 512, 2048}});
  f(CopyRows{{256, 512, 2048}});
  f(Argmax{1, 151936});
}

}  // namespace operations

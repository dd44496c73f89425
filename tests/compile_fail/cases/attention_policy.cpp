// expect: the attention policy of this precision lacks causal<H, K, D>
#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/config/released.hpp"
#include "qwen3vl/text/decoder_layer.hpp"

using namespace qwen3vl;

struct Windowed {
  template <index_t H, index_t K, index_t D, class B>
  static void causal_attention(Context<B>& ctx, const auto& qkv, const Segments& sequences, auto cache,
                               const auto& out);
};

using V = Qwen3VL_2B;
using P = WithAttention<Bf16, Windowed>;

void run(Context<Cpu>& ctx, View<float, Cpu, dynamic, 2048> x, const TextPositions<V, Cpu>& positions,
         KvCache<V, Cpu, P>& cache) {
  DecoderLayer<V, Cpu, P> layer;
  layer(ctx, x, positions, 1e-6f, cache.layer(0));
}

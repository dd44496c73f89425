// One layer of a variant that CMake made from a config.json, on random weights.
#include <cstdio>

#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/layers/mlp.hpp"
#include "qwen3vl/loading/random_weights.hpp"
#include "qwen3vl/model/load.hpp"
#include "qwen3vl/variants/my-model.hpp"

int main() {
  using namespace qwen3vl;
  using V = variants::MyModel;
  static_assert(V::config.text.hidden_size == 32 && V::config.text.mrope_section[0] == 4);
  static_assert(V::config.vision.deepstack_visual_indexes.size() == 1 && V::config.tie_word_embeddings);
  Cpu cpu(1);
  Context<Cpu> ctx(cpu);
  SwiGluMlp<V, Cpu, F32> mlp;
  load_parameters(ctx, mlp, RandomWeights{1, 0.5f}, "random weights");
  Tensor<float, Cpu, dynamic, 32> x(3), y(3);
  for (float& value : x.span()) value = 1.0f;
  mlp(ctx, x, y);
  float sum = 0.0f;
  for (const float value : y.span()) sum += value * value;
  std::printf("%g\n", static_cast<double>(sum));
  return sum > 0.0f ? 0 : 1;
}

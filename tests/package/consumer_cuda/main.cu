// One layer of a variant on a GPU, on random weights. Without a GPU, the error has to say so.
#include <cstdio>
#include <string_view>

#include "qwen3vl/backend/cuda.cuh"
#include "qwen3vl/layers/mlp.hpp"
#include "qwen3vl/loading/random_weights.hpp"
#include "qwen3vl/model/load.hpp"
#include "qwen3vl/variants/my-model.hpp"

int main() {
  using namespace qwen3vl;
  using V = variants::MyModel;
  try {
    Cuda cuda;
    Context<Cuda> ctx(cuda);
    SwiGluMlp<V, Cuda, F32> mlp;
    load_parameters(ctx, mlp, RandomWeights{1, 0.5f}, "random weights");
    Tensor<float, Host, dynamic, 32> ones(3);
    for (float& value : ones.span()) value = 1.0f;
    Tensor<float, Cuda, dynamic, 32> x(3), y(3);
    copy_from_host(ctx, View<const float, Host, dynamic, 32>(ones), x.view());
    mlp(ctx, x, y);
    float sum = 0.0f;
    for (const float value : download_floats(ctx, y.view())) sum += value * value;
    std::printf("%g\n", static_cast<double>(sum));
    return sum > 0.0f ? 0 : 1;
  } catch (const Error& error) {
    std::puts(error.what());
    return std::string_view(error.what()).find("looking for devices") != std::string_view::npos ? 0 : 1;
  }
}

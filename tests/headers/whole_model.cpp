// The whole library and two models, for compilers other than the one that builds the tests: everything is instantiated,
// nothing is run.
#include "qwen3vl/qwen3vl.hpp"

template class qwen3vl::ForConditionalGeneration<qwen3vl::Qwen3VL_2B, qwen3vl::Cpu, qwen3vl::Bf16Dot>;
template class qwen3vl::ForConditionalGeneration<qwen3vl::Qwen3VL_30B_A3B, qwen3vl::Cpu, qwen3vl::Q4>;

namespace {

template <class Model>
void whole_run(Model& model) {
  const qwen3vl::ModelInputs inputs;
  model.generate(inputs, {.max_new_tokens = 1});
  model.forward(inputs);
}

}  // namespace

int main() {
  using namespace qwen3vl;
  Cpu cpu;
  auto dense = ForConditionalGeneration<Qwen3VL_2B, Cpu, Bf16Dot>::from_pretrained("", cpu);
  auto sparse = ForConditionalGeneration<Qwen3VL_30B_A3B, Cpu, Q4>::from_pretrained("", cpu);
  whole_run(dense);
  whole_run(sparse);
}

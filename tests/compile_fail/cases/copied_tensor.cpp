// expect: (use of deleted function 'qwen3vl::OwningTensor<|call to deleted constructor of 'Tensor<)
#include "qwen3vl/backend/cpu/cpu.hpp"
#include "qwen3vl/tensor/tensor.hpp"

using namespace qwen3vl;

void run(const Tensor<float, Cpu, dynamic>& x) { Tensor<float, Cpu, dynamic> y = x; }

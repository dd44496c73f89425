// expect: fp8 weights are for the CUDA backend; 8-bit weights of the CPU are Q8
#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/layers/linear.hpp"

using namespace qwen3vl;

Linear<64, 64, Cpu, Fp8> layer;

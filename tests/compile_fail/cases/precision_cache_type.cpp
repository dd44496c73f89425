// expect: the Kv of a precision is float, bf16 or f16
#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/config/released.hpp"
#include "qwen3vl/text/decoder_layer.hpp"

using namespace qwen3vl;

KvCache<Qwen3VL_2B, Cpu, WithKv<Bf16, std::int8_t>> cache(1);

// expect: (constraints not satisfied|constraint failure)
#include "qwen3vl/layers/linear.hpp"

struct Toaster {};
qwen3vl::Linear<64, 64, Toaster, qwen3vl::F32> layer;

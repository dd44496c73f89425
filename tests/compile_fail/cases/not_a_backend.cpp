// expect: this type is no backend: it lacks is_host or Memory
#include "qwen3vl/layers/linear.hpp"

struct Toaster {};
qwen3vl::Linear<64, 64, Toaster, qwen3vl::F32> layer;

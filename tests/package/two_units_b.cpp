#include "qwen3vl/qwen3vl.hpp"

int other_unit() { return static_cast<int>(qwen3vl::GridThw{1, 4, 4}.tokens(2)); }

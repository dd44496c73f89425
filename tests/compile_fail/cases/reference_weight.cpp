// expect: the reference backend keeps weights as float, bf16, bf16_dot or stored
#include "qwen3vl/backend/eigen.hpp"

using namespace qwen3vl;
Reference<double>::Matrix<q8, 64, 64> matrix;

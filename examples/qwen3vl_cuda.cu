// The model of a program on the CUDA backend.
#define QWEN3VL_PROGRAM_CUDA
#include "qwen3vl.cpp"

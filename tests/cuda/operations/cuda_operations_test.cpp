// The CUDA backend's operations against double precision, run on the host with every access checked.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE cuda_operations
#include <boost/test/unit_test.hpp>

#include "qwen3vl/backend/cuda.cuh"
// After the operations, which the cases find by their names.
#include "backend/expert_cases.hpp"
#include "backend/linear_cases.hpp"
#include "backend/row_cases.hpp"
#include "operations/exact_results.hpp"

using namespace qwen3vl;

BOOST_AUTO_TEST_CASE(rows) {
  Cuda cuda;
  Context<Cuda> ctx(cuda);
  operations::all_row_cases(ctx);
}

BOOST_AUTO_TEST_CASE(experts) {
  Cuda cuda;
  Context<Cuda> ctx(cuda);
  operations::all_expert_cases(ctx);
}

// The rows of the table whose activations are f32; bf16 weights take bf16 activations on a device.
BOOST_AUTO_TEST_CASE(products) {
  Cuda cuda;
  Context<Cuda> ctx(cuda);
  for (const index_t rows : {0, 1, 2, 7, 29}) operations::linear_epilogues<Cuda, float, 33, 17>(ctx, rows);
  for (const index_t rows : {1, 9, 127}) operations::linear_epilogues<Cuda, float, 1, 1>(ctx, rows);
  for (const index_t rows : {4, 33}) operations::linear_case<Cuda, float, 96, 513, epilogue::SwiGlu>(ctx, rows, false);
}

// Choosing tokens on the device, run on the host.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE cuda_sampling
#include <boost/test/unit_test.hpp>

#include "backend/sampling_cases.hpp"

BOOST_AUTO_TEST_CASE(sampling) {
  qwen3vl::Cuda cuda;
  qwen3vl::Context<qwen3vl::Cuda> ctx(cuda);
  operations::all_sampling_cases(ctx);
}

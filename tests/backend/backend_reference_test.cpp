// Every operation of the backend contract on the reference backend, in float and in double.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE backend_reference
#include <boost/test/unit_test.hpp>

#include "backend/attention_cases.hpp"
#include "backend/cache_cases.hpp"
#include "backend/expert_cases.hpp"
#include "backend/linear_cases.hpp"
#include "backend/row_cases.hpp"
#include "qwen3vl/backend/eigen.hpp"

using namespace qwen3vl;

BOOST_AUTO_TEST_CASE_TEMPLATE(operations_of, Scalar, decltype(std::tuple<float, double>{})) {
  Reference<Scalar> backend;
  Context<Reference<Scalar>> ctx(backend);
  operations::all_linear_cases(ctx);
  operations::all_expert_cases(ctx);
  operations::all_attention_cases(ctx);
  operations::all_cache_cases(ctx);
  operations::all_row_cases(ctx);
}

// The operations of the backend contract on the reference backend, in float and in double, against the formulas of the
// tables. Its code is the same for all sizes: a few of them are enough.
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
using Scalars = std::tuple<float, double>;

template <class Scalar>
struct Fixture {
  using B = Reference<Scalar>;
  B backend;
  Context<B> ctx{backend};
};

BOOST_AUTO_TEST_CASE_TEMPLATE(products_equal_their_formulas, Scalar, Scalars) {
  Fixture<Scalar> fixture;
  using B = Reference<Scalar>;
  auto& ctx = fixture.ctx;
  for (const index_t rows : {0, 1, 2, 29}) operations::linear_epilogues<B, float, 33, 17>(ctx, rows);
  for (const index_t rows : {1, 9}) operations::linear_shapes<B, float, 1, 1>(ctx, rows);
  operations::linear_case<B, bf16, 65, 1100, epilogue::Add>(ctx, 20, true);
  operations::linear_case<B, bf16_dot, 33, 37, epilogue::Store>(ctx, 5, false);
  operations::rows_do_not_matter<B, bf16, 130, 70, epilogue::SwiGlu>(ctx);
  for (const index_t tokens : {0, 1, 5, 40}) {
    operations::route_case<B, 8, 2>(ctx, tokens, 1.0f);
    if constexpr (std::is_same_v<Scalar, float>)  // the table rounds differences of logits to float
      operations::route_case<B, 8, 2>(ctx, tokens, 30.0f);
    operations::route_case<B, 1, 1>(ctx, tokens, 1.0f);
  }
  operations::route_nan_case(ctx);
  for (const index_t tokens : {0, 1, 17}) operations::expert_mlp_case<B, bf16, 7, 3, 33, 12>(ctx, tokens, false);
  operations::expert_mlp_case<B, float, 4, 2, 20, 33>(ctx, 5, true);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(attention_equals_its_formula, Scalar, Scalars) {
  Fixture<Scalar> fixture;
  using B = Reference<Scalar>;
  auto& ctx = fixture.ctx;
  operations::attention_case<B, 2, 72>(ctx, {1, 5, 40, 0, 17}, 1.0f);
  operations::attention_case<B, 3, 32>(ctx, {64, 6, 14}, 4.0f);
  operations::causal_case<B, 4, 2, 32>(ctx, {{7, 5}, {1, 1}, {0, 9}, {3, 0}});
  operations::causal_case<B, 3, 1, 6, f16>(ctx, {{1, 1}, {40, 1}});
  operations::causal_case<B, 4, 2, 32, bf16>(ctx, {{130, 5}, {1, 1}, {3, 9}});
  operations::long_cache_case<B, 4, 2, 32>(ctx, {255, 0, 513, 64}, {1, 1, 2, 40}, true);
  operations::later_infinity_case<B, float>(ctx, 5);
  operations::later_infinity_case<B, f16>(ctx, 5);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(caches_and_row_operations, Scalar, Scalars) {
  Fixture<Scalar> fixture;
  operations::all_cache_cases(fixture.ctx);
  operations::all_row_cases(fixture.ctx);
}

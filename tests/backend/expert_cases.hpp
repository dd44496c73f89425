/// route() and expert_mlp() against double precision, and that no row's result depends on the other rows.
#pragma once

#include <set>
#include <vector>

#include "backend/check.hpp"
#include "operations/products.hpp"

namespace operations {

template <class B, index_t E, index_t TopK>
void route_case(Context<B>& ctx, index_t tokens, float scale) {
  check_operation(ctx, Route<E, TopK>{tokens, scale});
}

/// Logits that are not numbers still choose different experts, all of them in range.
template <class B>
void route_nan_case(Context<B>& ctx) {
  const std::vector<float> logits(6, std::numeric_limits<float>::quiet_NaN());
  Activations<B> input(ctx, logits);
  Guarded<B> weights(3);
  Guarded<B, std::int32_t> experts(3);
  route<6, 3>(ctx, input.template view<dynamic, 6>(1), experts.template view<dynamic, 3>(1),
              weights.template view<dynamic, 3>(1));
  const auto chosen = experts.values(ctx);
  BOOST_TEST(std::set<std::int32_t>(chosen.begin(), chosen.end()).size() == 3u);
  for (const std::int32_t e : chosen) BOOST_TEST((e >= 0 && e < 6));
}

/// Rows [first, first + count) of operands that `whole` are the results of.
template <class B, class Operands>
void check_rows_alone(Context<B>& ctx, Operands& operands, const Results& whole, index_t first, index_t count,
                      index_t width, const std::string& what) {
  Operands part(ctx, operands, first, count);
  part.call(ctx);
  check_alone(part.results(ctx)[0], whole[0], first, width, what);
}

template <class B, class W, index_t E, index_t TopK, index_t D, index_t I>
void expert_mlp_case(Context<B>& ctx, index_t tokens, bool one_expert) {
  using Operation = ExpertMlp<W, E, TopK, D, I, activation_for<B, W>>;
  const Operation operation{tokens, one_expert};
  typename Operation::template Operands<B> operands(ctx, operation);
  check_operation(ctx, operation, operands);
  const Results together = operands.results(ctx);
  for (index_t t = 0; t < tokens; t += B::is_host || tokens <= 20 ? 1 : 29)
    check_rows_alone(ctx, operands, together, t, 1, D, concat(Operation::name, operation.sizes()));
}

/// Each row of a product, alone and among others: what makes results independent of the batch.
template <class B, class W, index_t N, index_t K, class E>
void rows_do_not_matter(Context<B>& ctx) {
  using Operation = Linear<W, N, K, E, activation_for<B, W>>;
  const Operation operation{260, true};
  typename Operation::template Operands<B> operands(ctx, operation);
  operands.call(ctx);
  const Results together = operands.results(ctx);
  for (const index_t rows : {1, 2, 3, 4, 5, 20})
    for (index_t first = 0; first + rows <= 260; first += 73)
      check_rows_alone(ctx, operands, together, first, rows, Operation::width,
                       concat(Operation::name, operation.sizes()));
}

template <class B>
void all_expert_cases(Context<B>& ctx) {
  for (const index_t tokens : {0, 1, 2, 5, 40}) {
    for (const float scale : {0.1f, 1.0f, 30.0f}) {
      route_case<B, 8, 2>(ctx, tokens, scale);
      route_case<B, 128, 8>(ctx, tokens, scale);
    }
    route_case<B, 1, 1>(ctx, tokens, 1.0f);
  }
  route_nan_case(ctx);
  for (const index_t tokens : {0, 1, 3, 5, 17}) {
    expert_mlp_case<B, float, 4, 2, 20, 33>(ctx, tokens, false);
    expert_mlp_case<B, bf16, 7, 3, 33, 12>(ctx, tokens, false);
    expert_mlp_case<B, bf16, 4, 2, 456, 72>(ctx, tokens, false);
    if constexpr (B::is_host) {
      expert_mlp_case<B, bf16_dot, 4, 2, 33, 17>(ctx, tokens, false);
      expert_mlp_case<B, q8, 4, 2, 300, 33>(ctx, tokens, false);
      expert_mlp_case<B, q4, 4, 2, 40, 64>(ctx, tokens, false);
    }
  }
  expert_mlp_case<B, bf16, 2, 1, 8, 16>(ctx, 20, false);
  for (const index_t tokens : {70, 150}) expert_mlp_case<B, bf16, 4, 2, 200, 72>(ctx, tokens, false);
  expert_mlp_case<B, bf16, 128, 8, 16, 8>(ctx, 50, false);  // as many experts as the released models have
  // Above what one block of rows holds, and all experts for every token.
  expert_mlp_case<B, bf16, 7, 3, 33, 12>(ctx, 260, true);
  if constexpr (B::is_host) {  // cuBLASLt chooses by the number of rows
    rows_do_not_matter<B, bf16, 200, 700, epilogue::Add>(ctx);
    rows_do_not_matter<B, bf16, 130, 70, epilogue::SwiGlu>(ctx);
    rows_do_not_matter<B, bf16_dot, 200, 700, epilogue::Add>(ctx);
    rows_do_not_matter<B, bf16_dot, 130, 70, epilogue::SwiGlu>(ctx);
    rows_do_not_matter<B, q8, 200, 700, epilogue::Add>(ctx);
    rows_do_not_matter<B, q8, 130, 70, epilogue::SwiGlu>(ctx);
    rows_do_not_matter<B, q4, 200, 700, epilogue::Add>(ctx);
    rows_do_not_matter<B, q4, 130, 70, epilogue::SwiGlu>(ctx);
  }
}

}  // namespace operations

/// linear() against double precision: sizes that do and do not fill tiles, all weight types, all epilogues.
#pragma once

#include "backend/check.hpp"
#include "operations/products.hpp"

namespace operations {

template <class B, class W, index_t N, index_t K, class E, class A = activation_for<B, W>>
void linear_case(Context<B>& ctx, index_t rows, bool with_bias) {
  check_operation(ctx, Linear<W, N, K, E, A>{rows, with_bias});
}

/// The two epilogues that read or write differently from the others: what depends only on the shape is the same in all,
/// and each is compiled for every shape.
template <class B, class W, index_t N, index_t K, class A = activation_for<B, W>>
void linear_shapes(Context<B>& ctx, index_t rows) {
  linear_case<B, W, N, K, epilogue::Add, A>(ctx, rows, true);
  linear_case<B, W, 2 * N, K, epilogue::SwiGlu, A>(ctx, rows, rows % 2 == 0);
}

/// All epilogues.
template <class B, class W, index_t N, index_t K, class A = activation_for<B, W>>
void linear_epilogues(Context<B>& ctx, index_t rows) {
  linear_shapes<B, W, N, K, A>(ctx, rows);
  linear_case<B, W, N, K, epilogue::Store, A>(ctx, rows, false);
  linear_case<B, W, N, K, epilogue::Gelu, A>(ctx, rows, true);
  linear_case<B, W, N, K, epilogue::GeluTanh, A>(ctx, rows, false);
}

/// Rows around the edges of tiles (6 and 14), of the streamed path (4) and of a block.
template <class B>
void all_linear_cases(Context<B>& ctx) {
  for (const index_t rows : {0, 1, 2, 3, 4, 5, 6, 7, 13, 14, 15, 29}) {
    linear_epilogues<B, float, 33, 17>(ctx, rows);
    linear_epilogues<B, bf16, 64, 36>(ctx, rows);
    linear_epilogues<B, bf16_dot, 33, 37>(ctx, rows);
  }
  for (const index_t rows : {1, 9, 127}) linear_shapes<B, float, 1, 1>(ctx, rows);
  for (const index_t rows : {1, 9}) linear_shapes<B, bf16_dot, 1, 1>(ctx, rows);
  // Deeper than one block of columns, and a last panel of one row.
  for (const index_t rows : {1, 2, 5, 20, 240}) linear_case<B, bf16, 65, 1100, epilogue::Add>(ctx, rows, true);
  for (const index_t rows : {1, 2, 240}) linear_case<B, bf16_dot, 65, 1100, epilogue::Add>(ctx, rows, true);
  for (const index_t rows : {1, 3, 4, 5, 13, 29}) {
    linear_epilogues<B, q8, 33, 17>(ctx, rows);
    linear_epilogues<B, q4, 64, 36>(ctx, rows);
    // Two superblocks, the last of two blocks and not full; three, the last full.
    linear_shapes<B, q8, 24, 300>(ctx, rows);
    linear_shapes<B, q4, 37, 768>(ctx, rows);
  }
  for (const index_t rows : {1, 9, 127}) {
    linear_shapes<B, q8, 1, 1>(ctx, rows);
    linear_shapes<B, q4, 1, 1>(ctx, rows);
  }
  for (const index_t rows : {2, 240}) {
    linear_case<B, q8, 65, 1100, epilogue::Add>(ctx, rows, true);
    linear_case<B, q4, 65, 1100, epilogue::Add>(ctx, rows, true);
  }
  // More outputs than a group of panels, so that a thread has several groups.
  linear_case<B, bf16, 1100, 300, epilogue::Store>(ctx, 6, false);
  linear_case<B, bf16_dot, 1100, 300, epilogue::Store>(ctx, 6, false);
  linear_case<B, q8, 1100, 300, epilogue::Store>(ctx, 6, false);
  // Rows that two or three threads divide among them, also more than one of them packs at once.
  for (const index_t rows : {300, 401, 810}) {
    linear_case<B, float, 33, 17, epilogue::Store>(ctx, rows, true);
    linear_case<B, bf16, 64, 36, epilogue::Add>(ctx, rows, true);
    linear_case<B, bf16_dot, 65, 37, epilogue::GeluTanh>(ctx, rows, false);
    linear_case<B, q8, 66, 40, epilogue::SwiGlu>(ctx, rows, true);
    linear_case<B, q4, 33, 300, epilogue::Add>(ctx, rows, false);
  }
  for (const index_t rows : {4, 33}) linear_case<B, float, 96, 513, epilogue::SwiGlu>(ctx, rows, false);
}

}  // namespace operations

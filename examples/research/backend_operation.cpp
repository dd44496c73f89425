// A new backend operation in one file: soft_cap, y = cap * tanh(x / cap), which bounds scores without cutting them off.
// An operation is a free function that is found by overload on the backend. A concept says which backends have it, so
// that a layer over it fails to compile with that name on all others.
#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdio>

#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/layers/linear.hpp"
#include "qwen3vl/loading/random_weights.hpp"
#include "qwen3vl/model/load.hpp"

namespace qwen3vl {

// x [rows, D] to y [rows, D], which may be x. Error: a few units in the last place of y.
template <index_t D>
void soft_cap(Context<Cpu>& ctx, View<const float, Cpu, dynamic, D> x, float cap,
              std::type_identity_t<View<float, Cpu, dynamic, D>> y) {
#pragma omp parallel for num_threads(ctx.backend().threads()) if (x.size() > 65536)
  for (index_t row = 0; row < x.rows(); ++row)
    for (index_t i = 0; i < D; ++i) y(row, i) = cap * std::tanh(x(row, i) / cap);
}

// A backend that has the operation. For CUDA there would be an overload for Context<Cuda>& that launches a kernel.
template <class B>
concept HasSoftCap = Backend<B> && requires(Context<B>& ctx, View<activation_t<B, F32>, B, dynamic, 8> y) {
  soft_cap(ctx, View<const activation_t<B, F32>, B, dynamic, 8>(y), 1.0f, y);
};
static_assert(HasSoftCap<Cpu>);

// A layer over it, which knows no backend: a head whose scores stay within (-cap, cap).
template <index_t hidden, index_t classes, HasSoftCap B, class P>
class CappedHead {
  using A = activation_t<B, P>;
  Linear<hidden, classes, B, P> linear_;

 public:
  template <class F>
  void parameters(F&& f) {
    visit("head.", linear_, f);
  }
  // x [rows, hidden] to scores [rows, classes].
  void operator()(Context<B>& ctx, View<const A, B, dynamic, hidden> x, float cap,
                  View<A, B, dynamic, classes> scores) const {
    linear_(ctx, x, scores);
    soft_cap(ctx, View<const A, B, dynamic, classes>(scores), cap, scores);
  }
};

}  // namespace qwen3vl

int main() {
  using namespace qwen3vl;
  constexpr index_t hidden = 64, classes = 24, rows = 5;
  Cpu cpu;
  Context<Cpu> ctx(cpu);
  CappedHead<hidden, classes, Cpu, F32> head;
  load_parameters(ctx, head, RandomWeights(1, 1.0f), "random weights");
  Tensor<float, Cpu, dynamic, hidden> x(rows);
  for (index_t i = 0; i < x.size(); ++i) x.data()[i] = std::sin(static_cast<float>(i));
  Tensor<float, Cpu, dynamic, classes> capped(rows), far_away(rows);
  constexpr float cap = 3.0f;
  head(ctx, x, cap, capped);
  head(ctx, x, 1e6f, far_away);  // does nothing to scores of this size

  // The operation's test: the same in double precision.
  double error = 0.0, largest = 0.0, largest_before = 0.0;
  for (index_t i = 0; i < capped.size(); ++i) {
    const double before = far_away.data()[i], expected = cap * std::tanh(before / cap);
    error = std::max(error, std::abs(capped.data()[i] - expected));
    largest = std::max(largest, std::abs(expected));
    largest_before = std::max(largest_before, std::abs(before));
  }
  std::printf("scores up to %.1f are now below %.0f; against double precision: %s (%.1e)\n", largest_before,
              static_cast<double>(cap), error < 1e-5 && largest < cap && largest_before > cap ? "right" : "wrong",
              error);
}

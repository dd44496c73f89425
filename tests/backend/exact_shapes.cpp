// What the tables of the CPU expect, in double precision: compiled once for all instruction sets, into a library of its
// own, so that none of its code (Eigen's for this one's instruction set) is taken for a test's. A shape that is missing
// here is an undefined reference to its function.
#include "operations/exact_results.hpp"

namespace operations {

#define LINEAR(N, K, EPILOGUE)                                         \
  template std::vector<double> exact_linear<N, K, epilogue::EPILOGUE>( \
      index_t, const std::vector<float>&, const std::vector<float>&, const std::vector<float>&, std::vector<double>);
#define LINEAR_SHAPES(N, K) LINEAR(N, K, Add) LINEAR(2 * N, K, SwiGlu)
#define LINEAR_EPILOGUES(N, K) LINEAR_SHAPES(N, K) LINEAR(N, K, Store) LINEAR(N, K, Gelu) LINEAR(N, K, GeluTanh)
LINEAR_EPILOGUES(33, 17)
LINEAR_EPILOGUES(64, 36)
LINEAR_EPILOGUES(33, 37)
LINEAR_SHAPES(1, 1)
LINEAR_SHAPES(24, 300)
LINEAR_SHAPES(37, 768)
LINEAR(65, 1100, Add)
LINEAR(1100, 300, Store)
LINEAR(65, 37, GeluTanh)
LINEAR(66, 40, SwiGlu)
LINEAR(33, 300, Add)
LINEAR(96, 513, SwiGlu)

#define EXPERTS(E, TOP_K, D, I)                                                                        \
  template std::vector<double> exact_expert_mlp<E, TOP_K, D, I>(                                       \
      index_t, const std::vector<float>&, const std::vector<std::int32_t>&, const std::vector<float>&, \
      const std::vector<float>&, const std::vector<float>&, std::vector<double>);
EXPERTS(4, 2, 20, 33)
EXPERTS(7, 3, 33, 12)
EXPERTS(4, 2, 456, 72)
EXPERTS(4, 2, 33, 17)
EXPERTS(4, 2, 300, 33)
EXPERTS(4, 2, 40, 64)
EXPERTS(2, 1, 8, 16)
EXPERTS(4, 2, 200, 72)
EXPERTS(128, 8, 16, 8)

#define ATTENTION(H, D) \
  template Results exact_attention<H, D>(Part, const Segments&, const std::vector<float>&, std::vector<float>);
ATTENTION(2, 72)
ATTENTION(1, 12)
ATTENTION(3, 32)
ATTENTION(1, 64)

#define CAUSAL(H, K, D)                                                                               \
  template Results exact_causal<H, K, D>(Part, const Segments&, const std::vector<float>&,            \
                                         const std::vector<std::vector<float>>&,                      \
                                         const std::vector<std::vector<float>>&, std::vector<float>); \
  template Results exact_results(const QkNormRope<H, K, D>&);
CAUSAL(4, 2, 32)
CAUSAL(3, 1, 128)
CAUSAL(2, 2, 6)
CAUSAL(8, 1, 64)
CAUSAL(6, 2, 32)
CAUSAL(4, 2, 128)
CAUSAL(3, 1, 6)

template Results exact_results(const Route<8, 2>&);
template Results exact_results(const Route<128, 8>&);
template Results exact_results(const Route<1, 1>&);
template Results exact_results(const Embedding<bf16, 37, 13>&);
#define NORMS(D)                                     \
  template Results exact_results(const RmsNorm<D>&); \
  template Results exact_results(const LayerNorm<D>&);
NORMS(1)
NORMS(18)
NORMS(128)
NORMS(1152)
template Results exact_results(const RopeTables<3, 4, 2>&);
template Results exact_results(const RotateQk<3, 20>&);
template Results exact_results(const ScatterRows&);
template Results exact_results(const AddRows&);
template Results exact_results(const GatherRows&);
template Results exact_results(const CopyRows&);
template Results exact_results(const InterpolateAdd&);
template Results exact_results(const Argmax&);

}  // namespace operations

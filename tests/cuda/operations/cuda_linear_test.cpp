// Products on the device, run on the host: f32 and bf16, by the streaming kernel (up to eight rows) and by cuBLASLt,
// with all epilogues; and which algorithms cuBLASLt was asked for.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE cuda_linear
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <fstream>
#include <string>

#include "qwen3vl/backend/cuda.cuh"
// After the operations, which the cases find by their names.
#include "backend/linear_cases.hpp"
#include "operations/exact_results.hpp"

using namespace qwen3vl;

namespace {

struct Device {
  Cuda cuda;
  Context<Cuda> ctx{cuda};
};

/// A file that is gone after the test.
struct TemporaryFile {
  std::filesystem::path path = std::filesystem::temp_directory_path() / "qwen3vl_cuda_linear_test.tuning";
  TemporaryFile() { std::filesystem::remove(path); }
  ~TemporaryFile() { std::filesystem::remove(path); }
  std::vector<std::string> lines() const {
    std::ifstream in(path);
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  }
};

}  // namespace

BOOST_FIXTURE_TEST_CASE(float_products, Device) {
  for (const index_t rows : {0, 1, 2, 3, 5, 8, 9, 29}) operations::linear_epilogues<Cuda, float, 33, 17>(ctx, rows);
  for (const index_t rows : {1, 9}) operations::linear_epilogues<Cuda, float, 1, 1>(ctx, rows);
  for (const index_t rows : {4, 33}) operations::linear_case<Cuda, float, 96, 513, epilogue::SwiGlu>(ctx, rows, false);
}

BOOST_FIXTURE_TEST_CASE(bf16_products, Device) {
  // Widths of whole and of broken vectors, for tensor cores (columns a multiple of 8) and without.
  for (const index_t rows : {0, 1, 2, 3, 5, 8, 9, 29}) {
    operations::linear_epilogues<Cuda, bf16, 64, 40>(ctx, rows);
    operations::linear_epilogues<Cuda, bf16, 33, 36>(ctx, rows);
  }
  for (const index_t rows : {1, 9}) operations::linear_epilogues<Cuda, bf16, 1, 1>(ctx, rows);
  for (const index_t rows : {1, 7, 20}) operations::linear_case<Cuda, bf16, 65, 1104, epilogue::Add>(ctx, rows, true);
}

// Logits are float though activations are bf16.
BOOST_FIXTURE_TEST_CASE(float_results_of_bf16, Device) {
  constexpr index_t n = 24, k = 48;
  operations::Numbers numbers(9);
  const std::vector<float> weights = operations::rounded_to<bf16>(numbers.many(n * k));
  CudaMatrix<bf16, n, k, Packing::plain> matrix;
  matrix.allocate();
  const index_t shape[2] = {n, k};
  matrix.load_rows(ctx, 0,
                   {.dtype = DType::f32, .data = reinterpret_cast<const std::byte*>(weights.data()), .shape = shape});
  for (const index_t rows : {3, 12}) {
    const std::vector<float> x = operations::rounded_to<bf16>(numbers.many(rows * k));
    operations::Guarded<Cuda, bf16> input(ctx, x);
    operations::Guarded<Cuda> output(rows * n);
    linear(ctx, input.view<dynamic, k>(rows), matrix, View<const float, Cuda, n>(), output.view<dynamic, n>(rows),
           epilogue::Store{});
    std::vector<double> expected, bound;
    for (index_t i = 0; i < rows * n; ++i) {
      double sum = 0.0, norm = 0.0;
      for (index_t j = 0; j < k; ++j) {
        const double term = static_cast<double>(x[static_cast<std::size_t>(i / n * k + j)]) *
                            static_cast<double>(weights[static_cast<std::size_t>(i % n * k + j)]);
        sum += term;
        norm += std::abs(term);
      }
      expected.push_back(sum);
      bound.push_back(static_cast<double>(k + 8) * operations::epsilon * norm);
    }
    operations::check(ctx, output, expected, bound, concat("float results of ", rows, " rows of bf16"));
  }
}

BOOST_FIXTURE_TEST_CASE(algorithms_are_kept, Device) {
  operations::linear_case<Cuda, bf16, 64, 40, epilogue::Add>(ctx, 29, true);
  const std::size_t one = cuda.gemm_plans().size();
  operations::linear_case<Cuda, bf16, 64, 40, epilogue::Add>(ctx, 29, true);
  BOOST_TEST(cuda.gemm_plans().size() == one);
  operations::linear_case<Cuda, bf16, 64, 40, epilogue::Add>(ctx, 28, true);
  BOOST_TEST(cuda.gemm_plans().size() == one + 1);
  operations::linear_case<Cuda, bf16, 64, 40, epilogue::Add>(ctx, 8, true);  // not cuBLASLt's
  BOOST_TEST(cuda.gemm_plans().size() == one + 1);
  BOOST_TEST(cuda.gemm_plans().tuned() == 0u);
}

BOOST_AUTO_TEST_CASE(tuned_algorithms_are_kept_in_a_file) {
  const TemporaryFile file;
  {
    Device d;
    d.cuda.gemm_plans().tune(file.path, 0);
    operations::linear_epilogues<Cuda, bf16, 64, 40>(d.ctx, 29);
    operations::linear_epilogues<Cuda, bf16, 64, 40>(d.ctx, 29);
    BOOST_TEST(d.cuda.gemm_plans().tuned() == d.cuda.gemm_plans().size());
    BOOST_TEST(file.lines().size() == d.cuda.gemm_plans().tuned() + 1);
  }
  const std::vector<std::string> lines = file.lines();
#ifdef QWEN3VL_CUDA_ON_HOST
  BOOST_TEST(lines.front() == "cuBLASLt 0, emulated on the host");
#else
  BOOST_TEST(lines.front().starts_with("cuBLASLt "));
#endif
  {
    Device d;
    d.cuda.gemm_plans().tune(file.path, 0);
    BOOST_TEST(d.cuda.gemm_plans().tuned() == lines.size() - 1);
    operations::linear_epilogues<Cuda, bf16, 64, 40>(d.ctx, 29);
    BOOST_TEST(file.lines() == lines, boost::test_tools::per_element());  // nothing was timed again
    operations::linear_epilogues<Cuda, bf16, 64, 40>(d.ctx, 30);
    BOOST_TEST(file.lines().size() > lines.size());
  }
  {  // made elsewhere: started again
    std::ofstream(file.path) << "cuBLASLt 7, another device\n" << lines[1] << '\n';
    Device d;
    d.cuda.gemm_plans().tune(file.path, 0);
    BOOST_TEST(d.cuda.gemm_plans().tuned() == 0u);
    operations::linear_case<Cuda, bf16, 64, 40, epilogue::Store>(d.ctx, 31, false);
    BOOST_TEST(file.lines().front() == lines.front());
    BOOST_TEST(file.lines().size() == 2u);
  }
  std::ofstream(file.path) << lines[0] << "\n12 x\n";
  Device d;
  BOOST_CHECK_THROW(d.cuda.gemm_plans().tune(file.path, 0), Error);
}

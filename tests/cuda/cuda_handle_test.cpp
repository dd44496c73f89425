// The handle, its memory, copies through pinned buffers, and captured graphs.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE cuda_handle
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <span>
#include <string>
#include <vector>

#include "qwen3vl/backend/contract/transfer.hpp"
#include "qwen3vl/backend/cuda.cuh"
#ifdef QWEN3VL_CUDA_ON_HOST
#include "cuda/on_host/memory.hpp"
#endif

using namespace qwen3vl;

namespace {
bool says(const Error& error, std::string_view part) {
  BOOST_TEST_MESSAGE(error.what());
  return std::string_view(error.what()).find(part) != std::string_view::npos;
}
}  // namespace

#ifdef QWEN3VL_CUDA_ON_HOST  // what the emulated device has is known
BOOST_AUTO_TEST_CASE(devices_that_are_not_there) {
  BOOST_CHECK_EXCEPTION(Cuda(1), Error,
                        [](const Error& e) { return says(e, "device 1 was asked for; this machine has 1"); });
  BOOST_CHECK_EXCEPTION(Cuda(-1), Error, [](const Error& e) { return says(e, "device -1"); });
  const Cuda cuda;
  BOOST_TEST(cuda.architecture() == 90);
  BOOST_TEST(cuda.multiprocessors() > 0);
}

BOOST_AUTO_TEST_CASE(running_out_of_memory) {
  const std::size_t before = cuda_on_host::allocated_device_memory();
  cuda_on_host::set_device_memory(before + 10000);
  {
    const Tensor<float, Cuda, dynamic> fits(1000);
    BOOST_CHECK_EXCEPTION((Tensor<float, Cuda, dynamic>(2000)), Error,
                          [](const Error& e) { return says(e, "out of device memory: 8000 bytes more are needed"); });
  }
  BOOST_TEST(cuda_on_host::allocated_device_memory() == before);
  cuda_on_host::set_device_memory(std::size_t{64} << 30);
}
#else
BOOST_AUTO_TEST_CASE(devices_that_are_not_there) {
  int devices = 0;
  cuda::check(cudaGetDeviceCount(&devices));
  BOOST_CHECK_EXCEPTION(Cuda{devices}, Error,
                        [](const Error& e) { return says(e, "was asked for; this machine has"); });
}

BOOST_AUTO_TEST_CASE(running_out_of_memory) {
  const Cuda cuda;
  const auto too_many = static_cast<index_t>(cuda.free_bytes() / 2);  // floats, twice of what is free
  BOOST_CHECK_EXCEPTION((Tensor<float, Cuda, dynamic>(too_many)), OutOfMemory,
                        [](const Error& e) { return says(e, "out of device memory: "); });
  const Tensor<float, Cuda, dynamic> fits(1000);  // nothing is broken
  BOOST_CHECK_THROW(cuda.require_memory(std::size_t{1} << 50, "the weights"), OutOfMemory);
}
#endif

BOOST_AUTO_TEST_CASE(copies) {
  Cuda cuda;
  Context<Cuda> ctx(cuda);
  // More than two staging buffers, and a remainder; then nothing.
  for (const std::size_t count : {std::size_t{5} * cuda::Staging::piece / 8 + 3, std::size_t{0}}) {
    std::vector<float> values(count);
    for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i % 1000003);
    const auto tensor = upload(ctx, values);
    BOOST_TEST((download_floats(ctx, tensor.view()) == values));
    // Rounded to bf16 on the way, and widened on the way back.
    Tensor<bf16, Cuda, dynamic> narrow(static_cast<index_t>(count));
    copy_from_host(ctx, View<const float, Host, dynamic>(values.data(), static_cast<index_t>(count)), narrow.view());
    for (float& value : values) value = static_cast<float>(bf16(value));
    BOOST_TEST((download_floats(ctx, narrow.view()) == values));
  }
  const Tensor<float, Cuda, dynamic> zeros(77);
  for (const float value : download_floats(ctx, zeros.view())) BOOST_TEST(value == 0.0f);
  Tensor<float, Host, dynamic> host(76);
  BOOST_CHECK_THROW(copy_to_host(ctx, zeros.view(), host.view()), Error);
}

// Captured work does not run at once, but each time the graph is started.
BOOST_AUTO_TEST_CASE(graphs) {
  constexpr index_t columns = 24;
  Cuda cuda;
  Context<Cuda> ctx(cuda);
  const auto x = upload(ctx, std::vector<float>(columns, 1.5f));
  const auto index = upload(ctx, std::vector<std::int32_t>{1});
  Tensor<float, Cuda, dynamic, dynamic> y(2, columns);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  const auto capture = [&](auto&& more) {
    cuda::check(cudaStreamBeginCapture(cuda.stream(), cudaStreamCaptureModeThreadLocal));
    add_rows(ctx, View<const float, Cuda, dynamic, dynamic>(x.data(), 1, columns), index.view(), y.view());
    more();
    cuda::check(cudaStreamEndCapture(cuda.stream(), &graph), "capturing");
  };
  // Waiting is not allowed while a graph is captured; an attempt invalidates the capture.
  BOOST_CHECK_THROW(capture([&] { BOOST_CHECK_THROW(cuda.synchronize(), Error); }), Error);
  BOOST_TEST(graph == nullptr);
  capture([] {});
  cuda::check(cudaGraphInstantiate(&executable, graph, 0));
  cuda::check(cudaGraphDestroy(graph));
  BOOST_TEST(download_floats(ctx, y.view())[columns] == 0.0f);
  for (int i = 0; i < 3; ++i) cuda::check(cudaGraphLaunch(executable, cuda.stream()));
  cuda::check(cudaGraphExecDestroy(executable));
  const std::vector<float> result = download_floats(ctx, y.view());
  BOOST_TEST(result[columns - 1] == 0.0f);
  for (std::size_t i = columns; i < 2 * columns; ++i) BOOST_TEST(result[i] == 4.5f);
}

// For saving: what was loaded comes back, from an odd row on and of an expert.
BOOST_AUTO_TEST_CASE(weights_come_back) {
  Cuda cuda;
  Context<Cuda> ctx(cuda);
  std::vector<float> values(3 * 32 * 16);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 251) / 4.0f;  // fits bf16
  const index_t shape[] = {32, 16};
  const auto from_row = [&](index_t first) {
    return RawTensor{
        .dtype = DType::f32, .data = reinterpret_cast<const std::byte*>(values.data() + first * 16), .shape = shape};
  };
  CudaMatrix<bf16, 32, 16, Packing::gate_up> matrix;
  CudaExperts<float, 3, 32, 16, Packing::plain> experts;
  matrix.allocate();
  experts.allocate();
  matrix.load_rows(ctx, 0, from_row(0));
  for (index_t e = 0; e < 3; ++e) experts.load_expert(ctx, e, from_row(32 * e), false);
  std::vector<bf16> some(std::size_t{5} * 16);
  matrix.store_rows(ctx, 7, std::span(some));
  for (std::size_t i = 0; i < some.size(); ++i) BOOST_TEST(static_cast<float>(some[i]) == values[7 * 16 + i]);
  std::vector<float> expert(std::size_t{32} * 16);
  experts.store_expert(ctx, 2, std::span(expert));
  BOOST_TEST(std::ranges::equal(expert, std::span(values).subspan(2 * 32 * 16)));
}

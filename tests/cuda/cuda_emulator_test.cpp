// The emulation of kernels on the host (tests/cuda/on_host/): correct kernels run correctly, and each of its checks
// detects the faulty kernel written for it.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE cuda_emulator
#include <boost/test/unit_test.hpp>
#include <functional>
#include <string>
#include <vector>

#include "cuda/on_host/memory.hpp"
#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/primitives/instructions.cuh"
#include "qwen3vl/backend/cuda/primitives/launch.cuh"
#include "qwen3vl/backend/cuda/primitives/reduce.cuh"
#include "qwen3vl/backend/cuda/primitives/vector.cuh"

using namespace qwen3vl;
using cuda::launch;
using cuda::launch_early;
using cuda::shared_memory;

namespace kernels {  // not anonymous: messages name them

struct Words {
  int values[128];
};

__global__ void reverse(const int* x, int* y) {
  auto& shared = shared_memory<Words>();
  shared.values[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  y[blockIdx.x * blockDim.x + threadIdx.x] = shared.values[blockDim.x - 1 - threadIdx.x];
}
__global__ void reverse_without_barrier(const int* x, int* y) {
  auto& shared = shared_memory<Words>();
  shared.values[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = shared.values[threadIdx.x ^ 64u];
}
__global__ void read_after_write(int* y) {
  auto& shared = shared_memory<Words>();
  shared.values[threadIdx.x] = 1;
  __syncthreads();
  shared.values[threadIdx.x] = 2;
  y[threadIdx.x] = shared.values[threadIdx.x >= 32 ? threadIdx.x - 32 : threadIdx.x];
}
__global__ void write_after_read(int* y) {
  auto& shared = shared_memory<Words>();
  shared.values[threadIdx.x] = 1;
  __syncthreads();
  y[threadIdx.x] = shared.values[(threadIdx.x + 1) % blockDim.x];
  shared.values[threadIdx.x] = 2;
}
__global__ void two_writers(int*) { shared_memory<Words>().values[threadIdx.x / 2] = 1; }
/// Lanes of one warp exchange through shared memory, with __syncwarp or a shuffle between, which orders nothing.
template <bool Right>
__global__ void within_warp(int* y) {
  auto& shared = shared_memory<Words>();
  shared.values[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (Right) {
    __syncwarp();
  } else {
    static_cast<void>(__shfl_xor_sync(cuda::all_lanes, 1, 1));
  }
  y[threadIdx.x] = shared.values[threadIdx.x ^ 1u];
}
__global__ void across_warps(int* y) {  // __syncwarp is not enough
  auto& shared = shared_memory<Words>();
  shared.values[threadIdx.x] = 1;
  __syncwarp();
  y[threadIdx.x] = shared.values[threadIdx.x ^ 32u];
}
__global__ void not_written(int* y) { y[threadIdx.x] = shared_memory<Words>().values[threadIdx.x]; }
__global__ void beyond_shared(int*) { shared_memory<Words>().values[threadIdx.x + 64] = 1; }
__global__ void fill(int* y, int count) {
  if (static_cast<int>(threadIdx.x) < count) y[threadIdx.x] = 7;
}
__global__ void in_turn(int* y, bool waits, int reads) {
  if (waits) cuda::take_turn();
  if (reads > 0) y[threadIdx.x] = 8;
}
__global__ void unaligned(int* y) { *reinterpret_cast<std::int64_t*>(y + 1) = 1; }
template <int N, class T>
__global__ void copy_vectors(const T* x, T* y) {
  cuda::store_vector(y + threadIdx.x * N, cuda::load_vector<N>(x + threadIdx.x * N));
}
template <int N, class T>
__global__ void copy_floats(const T* x, T* y) {
  float values[N];
  cuda::load_floats<N>(x + threadIdx.x * N, values);
  cuda::store_floats<N>(y + threadIdx.x * N, values);
}
__global__ void two_barriers(int* y) {
  if (threadIdx.x < 64) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  y[threadIdx.x] = 1;
}
__global__ void barrier_in_half_a_warp(int* y) {
  if (threadIdx.x % 32 < 16) y[threadIdx.x] = __shfl_xor_sync(cuda::all_lanes, 1, 1);
  __syncthreads();
}
__global__ void early_return(int* y) {  // allowed: threads that have returned are not waited for
  if (threadIdx.x >= 64) return;
  __syncthreads();
  y[threadIdx.x] = 3;
}
__global__ void counts(int* y) {
  auto& shared = shared_memory<Words>();
  if (threadIdx.x == 0) shared.values[0] = 0;
  __syncthreads();
  atomicAdd(&shared.values[0], 2);
  __syncthreads();
  if (threadIdx.x == 0) atomicAdd(y, shared.values[0]);
}
__global__ void warp_functions(unsigned* y) {
  const unsigned lane = threadIdx.x % 32;
  unsigned* const to = y + threadIdx.x * 8;
  to[0] = __shfl_sync(cuda::all_lanes, threadIdx.x, 5);
  to[1] = __shfl_up_sync(cuda::all_lanes, threadIdx.x, 3);
  to[2] = __shfl_down_sync(cuda::all_lanes, threadIdx.x, 4, 8);
  to[3] = __shfl_xor_sync(cuda::all_lanes, threadIdx.x, 6);
  to[4] = __ballot_sync(cuda::all_lanes, lane % 3 == 0);
  to[5] = static_cast<unsigned>(__any_sync(cuda::all_lanes, threadIdx.x == 40));
  to[6] = static_cast<unsigned>(__all_sync(cuda::all_lanes, threadIdx.x < 32));
  to[7] = cuda::warp_sum<8>(threadIdx.x);
}
using Reduce = cuda::BlockReduce<int, 128>;
__global__ void __launch_bounds__(128) block_sum(const int* x, int* y) {
  const int sum = shared_memory<Reduce>().sum(x[threadIdx.x]);
  y[threadIdx.x] = sum;
}
struct Large {
  char bytes[100 * 1024];
};
__global__ void large_shared(int* y) {
  shared_memory<Large>().bytes[100 * 1024 - 1 - threadIdx.x] = 1;
  y[threadIdx.x] = 1;
}
__global__ void many_dimensions(int* y) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  y[block * blockDim.x * blockDim.y * blockDim.z + thread] += 1;
}

}  // namespace kernels

namespace {

/// Numbers on the "device".
struct Ints {
  explicit Ints(std::size_t n) : count(n) {
    cuda::check(cudaMalloc(reinterpret_cast<void**>(&data), n * sizeof(int)));
    cuda::check(cudaMemset(data, 0, n * sizeof(int)));
    cuda::check(cudaStreamSynchronize(nullptr));
  }
  ~Ints() { static_cast<void>(cudaFree(data)); }
  std::vector<int> host() const {
    std::vector<int> values(count);
    cuda::check(cudaMemcpy(values.data(), data, count * sizeof(int), cudaMemcpyDeviceToHost));
    return values;
  }
  int* data = nullptr;
  std::size_t count;
};

void fails(const std::function<void()>& f, const std::vector<std::string>& parts) {
  try {
    f();
    BOOST_ERROR("the check was silent about: " << parts.front());
  } catch (const cuda_on_host::Failure& failure) {
    for (const std::string& part : parts)
      BOOST_TEST(std::string(failure.what()).find(part) != std::string::npos, failure.what() << " lacks: " << part);
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(right_kernels_run) {
  Ints x(256), y(256);
  std::vector<int> numbers;
  for (int i = 0; i < 256; ++i) numbers.push_back(3 * i);
  cuda::check(cudaMemcpy(x.data, numbers.data(), 1024, cudaMemcpyHostToDevice));
  launch<kernels::Words>(nullptr, kernels::reverse, 2, 128, x.data, y.data);
  for (int i = 0; i < 256; ++i)
    BOOST_TEST(y.host()[static_cast<std::size_t>(i)] == 3 * (i / 128 * 128 + 127 - i % 128));
  launch<kernels::Words>(nullptr, kernels::within_warp<true>, 1, 128, y.data);
  for (int i = 0; i < 128; ++i) BOOST_TEST(y.host()[static_cast<std::size_t>(i)] == (i ^ 1));
  launch(nullptr, kernels::early_return, 1, 128, y.data);
  BOOST_TEST(y.host()[63] == 3);
  BOOST_TEST(y.host()[64] == 65);
  Ints count(1);
  launch<kernels::Words>(nullptr, kernels::counts, 3, 100, count.data);
  BOOST_TEST(count.host()[0] == 600);
  launch<kernels::Reduce>(nullptr, kernels::block_sum, 1, 128, x.data, y.data);
  for (int i = 0; i < 128; ++i) BOOST_TEST(y.host()[static_cast<std::size_t>(i)] == 3 * 127 * 64);
  launch<kernels::Large>(nullptr, kernels::large_shared, 1, 32, y.data);
  Ints all(2 * 3 * 2 * 4 * 2 * 3);
  launch(nullptr, kernels::many_dimensions, dim3(2, 3, 2), dim3(4, 2, 3), all.data);
  for (const int value : all.host()) BOOST_TEST(value == 1);
  launch(nullptr, kernels::fill, 0, 128, y.data, 1000);  // no blocks: nothing
}

BOOST_AUTO_TEST_CASE(warp_functions) {
  Ints y(64 * 8);
  launch(nullptr, kernels::warp_functions, 1, 64, reinterpret_cast<unsigned*>(y.data));
  const std::vector<int> got = y.host();
  for (int t = 0; t < 64; ++t) {
    const int lane = t % 32, warp = t - lane;
    const int* const v = got.data() + t * 8;
    BOOST_TEST(v[0] == warp + 5);
    BOOST_TEST(v[1] == (lane < 3 ? t : t - 3));
    BOOST_TEST(v[2] == (lane % 8 < 4 ? t + 4 : t));
    BOOST_TEST(v[3] == (t ^ 6));
    BOOST_TEST(v[4] == 0x49249249);
    BOOST_TEST(v[5] == (t >= 32));
    BOOST_TEST(v[6] == (t < 32));
    BOOST_TEST(v[7] == 8 * (t / 8 * 8) + 28);
  }
}

BOOST_AUTO_TEST_CASE(races_are_found) {
  Ints x(128), y(128);
  using kernels::Words;
  fails([&] { launch<Words>(nullptr, kernels::reverse_without_barrier, 1, 128, x.data, y.data); },
        {"kernels::reverse_without_barrier", "thread (0, 0, 0)", "which this block has not written"});
  fails([&] { launch<Words>(nullptr, kernels::read_after_write, 1, 128, y.data); },
        {"kernels::read_after_write", "block (0, 0, 0), thread (32, 0, 0)", "reads byte 0 of shared memory",
         "thread number 0 writes without a barrier"});
  fails([&] { launch<Words>(nullptr, kernels::write_after_read, 1, 128, y.data); },
        {"writes byte", "reads without a barrier"});
  fails([&] { launch<Words>(nullptr, kernels::two_writers, 1, 128, y.data); },
        {"thread (1, 0, 0)", "thread number 0 writes"});
  fails([&] { launch<Words>(nullptr, kernels::within_warp<false>, 1, 128, y.data); }, {"without a barrier"});
  fails([&] { launch<Words>(nullptr, kernels::across_warps, 1, 128, y.data); }, {"without a barrier"});
  fails([&] { launch<Words>(nullptr, kernels::not_written, 1, 128, y.data); }, {"which this block has not written"});
}

BOOST_AUTO_TEST_CASE(accesses_beyond_bounds_are_found) {
  Ints x(100), y(128);
  fails([&] { launch(nullptr, kernels::fill, 1, 128, x.data, 101); },
        {"kernels::fill", "thread (100, 0, 0)", "writes 4 bytes", "4 bytes after the end of an allocation of 400"});
  fails([&] { launch(nullptr, kernels::fill, 1, 128, x.data - 1, 1); }, {"4 bytes before an allocation of 400"});
  fails([&] { launch<kernels::Words>(nullptr, kernels::beyond_shared, 1, 128, y.data); },
        {"thread (64, 0, 0)", "byte 512 of shared memory, of which there are 512"});
  int on_host = 0;
  fails([&] { launch(nullptr, kernels::fill, 1, 1, &on_host, 1); }, {"host memory"});
  std::vector<int> heap(128);
  fails([&] { launch(nullptr, kernels::fill, 1, 1, heap.data(), 1); }, {"host memory"});
  int* freed = nullptr;
  {
    Ints z(30);
    freed = z.data;
  }
  fails([&] { launch(nullptr, kernels::fill, 1, 1, freed, 1); }, {"of an allocation of 120 that was freed"});
  fails([&] { launch(nullptr, kernels::unaligned, 1, 1, y.data); }, {"no multiple"});
  // Vectors are accessed as one word, and checked as such.
  const auto as = [](int* p, auto kind) { return reinterpret_cast<decltype(kind)*>(p); };
  launch(nullptr, kernels::copy_vectors<4, int>, 1, 25, x.data, y.data);
  launch(nullptr, kernels::copy_vectors<8, bf16>, 1, 25, as(x.data, bf16{}), as(y.data, bf16{}));
  launch(nullptr, kernels::copy_floats<8, bf16>, 1, 25, as(x.data, bf16{}), as(y.data, bf16{}));
  fails([&] { launch(nullptr, kernels::copy_vectors<4, int>, 1, 1, x.data + 1, y.data); }, {"reads", "no multiple"});
  fails([&] { launch(nullptr, kernels::copy_vectors<4, int>, 1, 1, x.data, y.data + 2); }, {"writes", "no multiple"});
  fails([&] { launch(nullptr, kernels::copy_vectors<2, int>, 1, 1, x.data, y.data + 1); }, {"writes", "no multiple"});
  fails([&] { launch(nullptr, kernels::copy_floats<8, bf16>, 1, 1, as(x.data + 1, bf16{}), as(y.data, bf16{})); },
        {"reads", "no multiple"});
  fails([&] { launch(nullptr, kernels::copy_floats<8, bf16>, 1, 1, as(x.data, bf16{}), as(y.data + 1, bf16{})); },
        {"writes", "no multiple"});
  fails([&] { launch(nullptr, kernels::copy_vectors<4, int>, 1, 26, x.data, y.data); },
        {"thread (25, 0, 0)", "reads 16 bytes that end 16 bytes after"});
  fails([&] { cuda::check(cudaMemset(x.data, 0, 401)); }, {"1 bytes after the end"});
  // And the launch after a failure is as good as any.
  launch(nullptr, kernels::fill, 1, 128, x.data, 100);
  for (const int value : x.host()) BOOST_TEST(value == 7);
}

// cudaMemcpy to the device and cudaMemset return before they are done, and other streams do not wait for them.
BOOST_AUTO_TEST_CASE(streams_do_not_wait_for_the_default_one) {
  Ints y(128);
  const std::vector<int> ones(128, 1);
  cudaStream_t stream = nullptr;
  cuda::check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  cuda::check(cudaMemcpy(y.data, ones.data(), 512, cudaMemcpyHostToDevice));
  launch(stream, kernels::fill, 1, 128, y.data, 128);
  BOOST_TEST(y.host()[5] == 1);
  cuda::check(cudaMemcpy(y.data, ones.data(), 512, cudaMemcpyHostToDevice));
  cuda::check(cudaStreamSynchronize(nullptr));
  launch(stream, kernels::fill, 1, 128, y.data, 128);
  BOOST_TEST(y.host()[5] == 7);
  cuda::check(cudaStreamDestroy(stream));
}

// A kernel that begins while the one before may still run waits before it touches anything.
BOOST_AUTO_TEST_CASE(kernels_out_of_turn_are_found) {
  Ints y(128);
  Cuda cuda;
  Context<Cuda> ctx(cuda);
  launch_early(ctx, kernels::in_turn, 2, 64, y.data, true, 1);
  BOOST_TEST(y.host()[5] == 8);
  launch(ctx, kernels::in_turn, 2, 64, y.data, false, 1);
  fails([&] { launch_early(ctx, kernels::in_turn, 2, 64, y.data, false, 1); },
        {"kernels::in_turn", "writes device memory before its turn"});
  fails([&] { launch_early(ctx, kernels::in_turn, 2, 64, y.data, false, 0); }, {"returns before its turn"});
}

BOOST_AUTO_TEST_CASE(divergent_barriers_are_found) {
  Ints y(128);
  fails([&] { launch(nullptr, kernels::two_barriers, 1, 128, y.data); },
        {"kernels::two_barriers", "waits at the barrier of"});
  fails([&] { launch(nullptr, kernels::barrier_in_half_a_warp, 1, 128, y.data); }, {"cuda_emulator_test.cpp"});
}

BOOST_AUTO_TEST_CASE(impossible_launches_are_refused) {
  Ints y(128);
  BOOST_CHECK_EXCEPTION(launch(nullptr, kernels::fill, 1, 1025, y.data, 1), Error, [](const Error& e) {
    return std::string(e.what()).find("kernels::fill(int*, int) on a grid of 1 x 1 x 1 blocks of 1025 threads") !=
           std::string::npos;
  });
}

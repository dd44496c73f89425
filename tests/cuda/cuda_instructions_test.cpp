// The emulated instructions against the register layouts that the PTX ISA documents, written down here once more.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE cuda_instructions
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "cuda/on_host/memory.hpp"
#include "qwen3vl/backend/cuda/primitives/instructions.cuh"
#include "qwen3vl/backend/cuda/primitives/launch.cuh"

using namespace qwen3vl;
using cuda::launch;
using cuda::shared_memory;

namespace kernels {

struct alignas(16) Tiles {
  std::uint16_t values[4][8][8];
};
__global__ void load_tiles(const std::uint16_t* x, std::uint32_t* plain, std::uint32_t* transposed) {
  auto& shared = shared_memory<Tiles>();
  for (int i = 0; i < 8; ++i) (&shared.values[0][0][0])[threadIdx.x * 8 + i] = x[threadIdx.x * 8 + i];
  __syncwarp();
  const std::uint16_t* const row = shared.values[threadIdx.x / 8][threadIdx.x % 8];
  std::uint32_t r[4], t[4];
  cuda::ldmatrix_x4(r, row);
  cuda::ldmatrix_x4_trans(t, row);
  for (int i = 0; i < 4; ++i) {
    plain[threadIdx.x * 4 + i] = r[i];
    transposed[threadIdx.x * 4 + i] = t[i];
  }
}
__global__ void load_tiles_too_early(const std::uint16_t* x) {
  auto& shared = shared_memory<Tiles>();
  for (int i = 0; i < 8; ++i) (&shared.values[0][0][0])[(threadIdx.x ^ 8) * 8 + i] = x[threadIdx.x * 8 + i];
  __syncwarp();
  for (int i = 0; i < 8; ++i) (&shared.values[0][0][0])[(threadIdx.x ^ 8) * 8 + i] = x[threadIdx.x * 8 + i];
  std::uint32_t r[4];
  cuda::ldmatrix_x4(r, shared.values[threadIdx.x / 8][threadIdx.x % 8]);
}
__global__ void multiply(const std::uint32_t* a, const std::uint32_t* b, float* d) {
  std::uint32_t ra[4], rb[2];
  float rd[4];
  for (int i = 0; i < 4; ++i) ra[i] = a[threadIdx.x * 4 + i];
  for (int i = 0; i < 2; ++i) rb[i] = b[threadIdx.x * 2 + i];
  for (int i = 0; i < 4; ++i) rd[i] = d[threadIdx.x * 4 + i];
  cuda::mma_bf16_16x8x16(rd, ra, rb);
  for (int i = 0; i < 4; ++i) d[threadIdx.x * 4 + i] = rd[i];
}

struct alignas(16) Copied {
  float values[3][64][4];
};
/// Three groups of copies; after cp_async_wait<1> the first two are there.
template <bool Wait, bool Barrier>
__global__ void copy(const float* x, float* y) {
  auto& shared = shared_memory<Copied>();
  const int t = static_cast<int>(threadIdx.x);
  for (int g = 0; g < 3; ++g) {
    cuda::cp_async_16(shared.values[g][t], x + (g * 64 + t) * 4, t % 4 != 3);
    cuda::cp_async_commit();
  }
  if (Wait) cuda::cp_async_wait<1>();
  if (Barrier) __syncthreads();
  for (int i = 0; i < 4; ++i) y[t * 4 + i] = shared.values[1][t ^ 33][i];
}

/// Halves of 16 bytes: odd ones are zeros.
__global__ void copy_halves(const float* x, float* y) {
  auto& shared = shared_memory<Copied>();
  const int t = static_cast<int>(threadIdx.x);
  for (int half = 0; half < 2; ++half)
    cuda::cp_async_8(shared.values[0][t] + 2 * half, x + t * 4 + 2 * half, half == 0);
  cuda::cp_async_commit();
  cuda::cp_async_wait<0>();
  for (int i = 0; i < 4; ++i) y[t * 4 + i] = shared.values[0][t][i];
}

}  // namespace kernels

namespace {

template <class T>
struct Device {
  explicit Device(const std::vector<T>& values) : count(values.size()) {
    cuda::check(cudaMalloc(reinterpret_cast<void**>(&data), count * sizeof(T)));
    cuda::check(cudaMemcpy(data, values.data(), count * sizeof(T), cudaMemcpyHostToDevice));
  }
  ~Device() { static_cast<void>(cudaFree(data)); }
  std::vector<T> host() const {
    std::vector<T> values(count);
    cuda::check(cudaMemcpy(values.data(), data, count * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }
  T* data = nullptr;
  std::size_t count;
};

bool says(const cuda_on_host::Failure& failure, const char* part) {
  BOOST_TEST_MESSAGE(failure.what());
  return std::string(failure.what()).find(part) != std::string::npos;
}

std::uint32_t pair_of(float low, float high) {
  return bf16(low).bits | static_cast<std::uint32_t>(bf16(high).bits) << 16;
}

}  // namespace

// "ldmatrix": thread t of .x4 holds, of tile i, row t / 4 and columns 2 (t % 4), 2 (t % 4) + 1; with .trans of the
// transposed tile. Addresses of tile i come from threads 8 i to 8 i + 7.
BOOST_AUTO_TEST_CASE(ldmatrix) {
  std::vector<std::uint16_t> x(256);
  for (std::size_t i = 0; i < 256; ++i) x[i] = static_cast<std::uint16_t>(257 * i);
  Device<std::uint16_t> from(x);
  Device<std::uint32_t> plain(std::vector<std::uint32_t>(128)), transposed(std::vector<std::uint32_t>(128));
  launch<kernels::Tiles>(nullptr, kernels::load_tiles, 1, 32, from.data, plain.data, transposed.data);
  const auto p = plain.host(), t = transposed.host();
  for (std::size_t thread = 0; thread < 32; ++thread)
    for (std::size_t tile = 0; tile < 4; ++tile)
      for (std::size_t half = 0; half < 2; ++half) {
        const std::size_t row = thread / 4, column = 2 * (thread % 4) + half;
        const auto part = [&](std::uint32_t word) { return static_cast<std::uint16_t>(word >> (16 * half)); };
        BOOST_TEST(part(p[thread * 4 + tile]) == x[tile * 64 + row * 8 + column]);
        BOOST_TEST(part(t[thread * 4 + tile]) == x[tile * 64 + column * 8 + row]);
      }
  BOOST_CHECK_EXCEPTION(launch<kernels::Tiles>(nullptr, kernels::load_tiles_too_early, 1, 32, from.data),
                        cuda_on_host::Failure, [](const auto& e) { return says(e, "without a barrier between"); });
}

// "Matrix Fragments for mma.m16n8k16 with floating point type": with group = t / 4 and in_group = t % 4,
//   A: row = group for i in {0, 1, 4, 5} else group + 8; column = 2 in_group + (i & 1), and 8 more for i >= 4
//   B: row = 2 in_group + (i & 1), and 8 more for i >= 2; column = group
//   C: row = group for i < 2 else group + 8; column = 2 in_group + (i & 1)
BOOST_AUTO_TEST_CASE(mma) {
  float a[16][16], b[16][8], c[16][8];
  std::uint32_t state = 1;
  const auto number = [&] {
    state = state * 1664525u + 1013904223u;
    return static_cast<float>(bf16(static_cast<float>(state >> 8) / 8388608.0f - 1.0f));
  };
  for (auto& row : a)
    for (float& v : row) v = number();
  for (auto& row : b)
    for (float& v : row) v = number();
  for (auto& row : c)
    for (float& v : row) v = number();
  std::vector<std::uint32_t> ra, rb;
  std::vector<float> rc;
  for (int t = 0; t < 32; ++t) {
    const int group = t / 4, in_group = t % 4;
    const auto a_at = [&](int i) {
      return a[i == 0 || i == 1 || i == 4 || i == 5 ? group : group + 8][2 * in_group + (i & 1) + (i >= 4 ? 8 : 0)];
    };
    const auto b_at = [&](int i) { return b[2 * in_group + (i & 1) + (i >= 2 ? 8 : 0)][group]; };
    for (int i = 0; i < 8; i += 2) ra.push_back(pair_of(a_at(i), a_at(i + 1)));
    for (int i = 0; i < 4; i += 2) rb.push_back(pair_of(b_at(i), b_at(i + 1)));
    for (int i = 0; i < 4; ++i) rc.push_back(c[i < 2 ? group : group + 8][2 * in_group + (i & 1)]);
  }
  Device<std::uint32_t> da(ra), db(rb);
  Device<float> dc(rc);
  launch(nullptr, kernels::multiply, 1, 32, da.data, db.data, dc.data);
  const auto d = dc.host();
  for (int t = 0; t < 32; ++t)
    for (int i = 0; i < 4; ++i) {
      const int row = i < 2 ? t / 4 : t / 4 + 8, column = 2 * (t % 4) + (i & 1);
      double sum = static_cast<double>(c[row][column]), norm = std::abs(sum);
      for (int k = 0; k < 16; ++k) {
        sum += static_cast<double>(a[row][k]) * static_cast<double>(b[k][column]);
        norm += std::abs(static_cast<double>(a[row][k]) * static_cast<double>(b[k][column]));
      }
      BOOST_TEST(std::abs(static_cast<double>(d[static_cast<std::size_t>(t * 4 + i)]) - sum) <= 0x1p-22 * norm);
    }
}

BOOST_AUTO_TEST_CASE(cp_async) {
  std::vector<float> x(3 * 64 * 4);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
  Device<float> from(x), to(std::vector<float>(256));
  launch<kernels::Copied>(nullptr, kernels::copy<true, true>, 1, 64, from.data, to.data);
  const auto y = to.host();
  for (std::size_t t = 0; t < 64; ++t)
    for (std::size_t i = 0; i < 4; ++i) {
      const std::size_t source = t ^ 33;
      BOOST_TEST(y[t * 4 + i] == (source % 4 == 3 ? 0.0f : x[256 + source * 4 + i]));
    }
  using cuda_on_host::Failure;
  BOOST_CHECK_EXCEPTION(launch<kernels::Copied>(nullptr, kernels::copy<true, false>, 1, 64, from.data, to.data),
                        Failure, [](const Failure& e) { return says(e, "shared memory"); });
  launch<kernels::Copied>(nullptr, kernels::copy<false, true>, 1, 64, from.data, to.data);  // not waited for: NaN
  for (const float value : to.host()) BOOST_TEST(std::isnan(value));
  BOOST_CHECK_EXCEPTION(launch<kernels::Copied>(nullptr, kernels::copy<true, true>, 1, 64, from.data + 1, to.data),
                        Failure, [](const Failure& e) { return says(e, "no multiple of 16"); });
  BOOST_CHECK_EXCEPTION(launch<kernels::Copied>(nullptr, kernels::copy<true, true>, 1, 64, from.data + 64, to.data),
                        Failure, [](const Failure& e) { return says(e, "after the end of an allocation"); });
}

BOOST_AUTO_TEST_CASE(cp_async_of_8_bytes) {
  std::vector<float> x(64 * 4);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
  Device<float> from(x), to(std::vector<float>(256));
  launch<kernels::Copied>(nullptr, kernels::copy_halves, 1, 64, from.data, to.data);
  const auto y = to.host();
  for (std::size_t i = 0; i < x.size(); ++i) BOOST_TEST(y[i] == (i % 4 < 2 ? x[i] : 0.0f));
  BOOST_CHECK_EXCEPTION(launch<kernels::Copied>(nullptr, kernels::copy_halves, 1, 64, from.data + 1, to.data),
                        cuda_on_host::Failure, [](const auto& e) { return says(e, "no multiple of 8"); });
}

BOOST_AUTO_TEST_CASE(conversions) {
  BOOST_TEST(cuda::multiply_bf16x2(pair_of(3.0f, -0.5f), pair_of(0.25f, 4.0f)) == pair_of(0.75f, -2.0f));
  BOOST_TEST(cuda::multiply_bf16x2(pair_of(-0.0f, 0x1p-133f), pair_of(2.0f, 0x1p120f)) == pair_of(-0.0f, 0x1p-13f));
  BOOST_TEST(cuda::multiply_bf16x2(pair_of(1.0078125f, 1.0f), pair_of(1.0078125f, 0.0f)) == pair_of(1.015625f, 0.0f));
  BOOST_TEST(cuda::pack_bf16(1.0f, -2.0f) == 0xc0003f80u);
  BOOST_TEST(cuda::pack_bf16(1.00390625f, 1.01171875f) == 0x3f823f80u);  // halfway: to even
  BOOST_TEST(cuda::exp2_fast(3.0f) == 8.0f);
  BOOST_TEST(cuda::exp2_fast(-1000.0f) == 0.0f);
}

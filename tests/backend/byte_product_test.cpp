// Products with q8_dot and q4_dot weights, which round activations to bytes where the instruction set that this file is
// compiled for multiplies those. A program of its own, so that it compiles beside the table of all operations.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_NO_MAIN
#include <bit>
#include <boost/test/unit_test.hpp>

#include "backend/block_cases.hpp"
#include "backend/expert_cases.hpp"
#include "backend/linear_cases.hpp"
#include "backend/processor.hpp"
#include "qwen3vl/backend/cpu/operations/experts.hpp"
#include "qwen3vl/backend/cpu/operations/linear.hpp"
#include "qwen3vl/backend/host/rows.hpp"

using namespace qwen3vl;
using operations::Numbers;

namespace {

template <class F>
void with_threads(F&& f) {
  for (const int threads : {1, 3}) {
    Cpu cpu(threads);
    Context<Cpu> ctx(cpu);
    f(ctx);
  }
}

/// Sums of products of bytes against integers, with all weights and activations at the ends of their ranges, too.
template <bool nibbles>
void byte_sums() {
  using Products = simd::ByteProducts<nibbles>;
  constexpr int width = simd::width, largest = nibbles ? 15 : 127, smallest = nibbles ? 0 : -127;
  Numbers numbers(5);
  for (int round = 0; round < 40; ++round) {
    std::int8_t w[8][width][4], x[8][4];
    std::int32_t wanted[width] = {}, x_sum = 0;
    for (int k = 0; k < 8; ++k)
      for (int i = 0; i < 4; ++i) {
        x[k][i] = static_cast<std::int8_t>(round < 2 ? 127 : round < 4 ? -127 : std::lrint(numbers() * 127.0f));
        x_sum += x[k][i];
        for (int lane = 0; lane < width; ++lane) {
          const float any = nibbles ? std::abs(numbers()) * 15.0f : numbers() * 127.0f;
          w[k][lane][i] = static_cast<std::int8_t>(round % 2 == 0 && round < 4 ? largest
                                                   : round < 4                 ? smallest
                                                                               : std::lrint(any));
          wanted[lane] += w[k][lane][i] * x[k][i];
        }
      }
    auto sum = Products::start(-128 * x_sum);
    for (int k = 0; k < 8; ++k) {
      simd::UInts words;
      std::memcpy(&words, w[k], sizeof words);
      std::int32_t quad = 0;
      std::memcpy(&quad, x[k], sizeof quad);
      sum = Products::add(sum, Products::prepared(words), simd::splat_int(quad));
    }
    const simd::Ints total = Products::total(sum);
    for (int lane = 0; lane < width; ++lane) BOOST_REQUIRE(total[lane] == wanted[lane]);
  }
}
void all_byte_sums() {
  if constexpr (simd::has_byte_dot) byte_sums<simd::has_byte_dot ? false : true>();
  byte_sums<true>();
}

/// Rounded activations are the same integers on every instruction set: this is the rule, one number at a time.
template <class W, index_t K>
void rounded_rows(float outlier) {
  using Rows = cpu_kernels::ByteRows<W, K>;
  // Columns of the bytes of one word of q8, and of two of q4.
  constexpr int order_q8[4] = {0, 2, 1, 3}, order_q4[8] = {0, 4, 1, 5, 2, 6, 3, 7};
  constexpr index_t group = std::is_same_v<W, q8> ? 4 : 8;
  std::vector<float> x = Numbers(K).many(K);
  x[K / 2] *= outlier;
  std::vector<std::int32_t> words(static_cast<std::size_t>(Rows::words));
  Rows::put(x.data(), words.data());
  // The same row among others in a tile.
  std::vector<std::int32_t> tile(static_cast<std::size_t>(Rows::words * Rows::tile_rows));
  const std::vector<float> other(K, 3.0f);
  constexpr index_t place = Rows::tile_rows - 2;
  Rows::put_tile([&](index_t r) { return r == place ? x.data() : other.data(); }, place + 1, tile.data());
  for (index_t b = 0; b < Rows::blocks; ++b) {
    const std::int32_t* const block = words.data() + b * 10;
    float largest = 0.0f;
    for (index_t k = b * 32; k < std::min<index_t>(K, b * 32 + 32); ++k)
      largest = std::max(largest, std::abs(x[static_cast<std::size_t>(k)]));
    const float factor = 127.0f / largest;
    BOOST_TEST(block[8] == std::bit_cast<std::int32_t>(1.0f / factor));
    std::int32_t sum = 0;
    for (index_t i = 0; i < 32; ++i) {
      const index_t k = b * 32 + i / group * group + (group == 4 ? order_q8[i % 4] : order_q4[i % 8]);
      volatile const float scaled = k < K ? x[static_cast<std::size_t>(k)] * factor : 0.0f;
      const int got = static_cast<std::int8_t>(block[i / 4] >> (8 * (i % 4)) & 0xff);
      BOOST_TEST(got == std::lrint(scaled));
      sum += got;
    }
    BOOST_TEST(block[9] == (std::is_same_v<W, q8> ? -128 * sum : std::bit_cast<std::int32_t>(1.0f / factor * sum)));
    const std::int32_t* const in_tile = tile.data() + b * 10 * Rows::tile_rows;
    for (index_t i = 0; i < 8; ++i) BOOST_TEST(in_tile[place * 8 + i] == block[i]);
    for (index_t i = 8; i < 10; ++i) BOOST_TEST(in_tile[i * Rows::tile_rows + place] == block[i]);
  }
}
void all_rounded_rows() {
  for (const float outlier : {1.0f, 1000.0f}) {
    rounded_rows<q8, 512>(outlier);
    rounded_rows<q8, 33>(outlier);
    rounded_rows<q4, 300>(outlier);
    rounded_rows<q4, 1>(outlier);
  }
}

/// The packed weights are those of q8 and q4.
template <class W, Packing packing>
void same_weights(Context<Cpu>& ctx) {
  constexpr index_t n = 70, k = 300;
  const std::vector<float> weights = operations::normal(9, n * k);
  const index_t shape[2] = {n, k};
  const RawTensor raw{.dtype = DType::f32, .data = reinterpret_cast<const std::byte*>(weights.data()), .shape = shape};
  const auto packed = [&](auto& matrix) {
    matrix.allocate();
    matrix.load_rows(ctx, 0, raw);
    std::vector<std::byte> bytes;
    matrix.visit_memory([&](std::span<const std::byte> memory) { bytes.assign(memory.begin(), memory.end()); });
    return bytes;
  };
  CpuMatrix<W, n, k, packing> matrix;
  CpuMatrix<typename W::Blocks, n, k, packing> blocks;
  BOOST_TEST((packed(matrix) == packed(blocks)), W::name << ": the weights of " << W::Blocks::name);
}
void all_weights() {
  with_threads([](Context<Cpu>& ctx) {
    same_weights<q8_dot, Packing::plain>(ctx);
    same_weights<q4_dot, Packing::gate_up>(ctx);
  });
}

/// Rows around the edges of tiles (6 and 14), of half of them, of the streamed path (4) and of what threads divide.
template <class W>
void products(Context<Cpu>& ctx) {
  using namespace operations;
  for (const index_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 13, 14, 15, 17, 29, 401}) {
    linear_case<Cpu, W, 24, 300, epilogue::Add>(ctx, rows, true);  // the last of two superblocks is not full
    linear_case<Cpu, W, 66, 40, epilogue::SwiGlu>(ctx, rows, rows % 2 == 0);
  }
  for (const index_t rows : {2, 240}) linear_case<Cpu, W, 65, 1100, epilogue::Add>(ctx, rows, true);
  for (const index_t tokens : {0, 1, 5, 17}) expert_mlp_case<Cpu, W, 4, 2, 40, 64>(ctx, tokens, false);
  expert_mlp_case<Cpu, W, 4, 2, 40, 64>(ctx, 150, true);
  rows_do_not_matter<Cpu, W, 65, 1100, epilogue::Add>(ctx);
}
void all_products() {
  with_threads([](Context<Cpu>& ctx) {
    products<q8_dot>(ctx);
    products<q4_dot>(ctx);
  });
}

/// Zeros, very small and very large activations, and what is not finite.
void all_extremes() {
  Cpu cpu(1);
  Context<Cpu> ctx(cpu);
  for (const index_t rows : {2, 6}) {
    operations::extreme_case<Cpu, q8_dot, 5, 512>(ctx, rows);
    operations::extreme_case<Cpu, q4_dot, 5, 44>(ctx, rows);
  }
}

bool init() {
  auto& suite = boost::unit_test::framework::master_test_suite();
  suite.add(BOOST_TEST_CASE(all_byte_sums));
  suite.add(BOOST_TEST_CASE(all_rounded_rows));
  suite.add(BOOST_TEST_CASE(all_weights));
  suite.add(BOOST_TEST_CASE(all_products));
  suite.add(BOOST_TEST_CASE(all_extremes));
  return true;
}

}  // namespace

int main(int argc, char** argv) { return run_where_it_fits(&init, argc, argv); }

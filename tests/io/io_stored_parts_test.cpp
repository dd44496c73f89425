// Parts of a mapped tensor: the same bytes, read from the file where they can be and from the mapping where they
// cannot.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE io_stored_parts
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/backend/cpu/weights/stored_parts.hpp"
#include "qwen3vl/io/weights/safetensors.hpp"
#include "qwen3vl/io/weights/write_safetensors.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;

namespace {

const test::TemporaryFolder folder;
constexpr index_t rows = 70, columns = 40;

/// A file of two tensors, so that the second one begins somewhere.
std::filesystem::path written(const std::string& name) {
  std::vector<float> first(13, 1.0f), second;
  for (index_t i = 0; i < rows * columns; ++i) second.push_back(static_cast<float>(i % 251) - 125.0f);
  write_safetensors(folder / name, {stored_tensor("a", View<const float, Cpu, dynamic>(first.data(), 13)),
                                    stored_tensor("b", View<const float, Cpu, dynamic, columns>(second.data(), rows))});
  return folder / name;
}

RawTensor raw_of(const StoredTensor& tensor) {
  return {.dtype = tensor.dtype, .data = tensor.bytes.data(), .shape = tensor.shape, .file = tensor.file};
}

bool inside(std::span<const std::byte> bytes, const std::byte* p) {
  return p >= bytes.data() && p < bytes.data() + bytes.size();
}

}  // namespace

BOOST_AUTO_TEST_CASE(parts_are_read_from_the_file) {
  SafetensorsFile opened = SafetensorsFile::open(written("a.safetensors"));
  const SafetensorsFile file = std::move(opened);  // the descriptor moves along
  const RawTensor raw = raw_of(*file.find("b"));
  BOOST_TEST_REQUIRE(raw.file.descriptor >= 0);
  const cpu_kernels::StoredParts parts(raw, 3, 1000);
  int same = 0, read = 0;
#pragma omp parallel for num_threads(3) reduction(+ : same, read)
  for (std::size_t first = 0; first < 10000; first += 500) {
    const std::byte* const part = parts(first, 1000);
    same += std::memcmp(part, raw.data + first, 1000) == 0 ? 1 : 0;
    read += inside(file.file_bytes(), part) ? 0 : 1;
  }
  BOOST_TEST(same == 20);
  BOOST_TEST(read == 20);
  BOOST_TEST(parts(0, 1001) == raw.data);  // more than was said
}

BOOST_AUTO_TEST_CASE(what_cannot_be_read_is_mapped) {
  const std::filesystem::path path = written("b.safetensors");
  const SafetensorsFile file = SafetensorsFile::open(path);
  RawTensor raw = raw_of(*file.find("b"));
  const auto end = static_cast<std::size_t>(rows * columns) * sizeof(float);
  {
    const cpu_kernels::StoredParts parts(raw, 1, 1000);
    std::filesystem::resize_file(path, file.file_bytes().size() - 10);
    BOOST_TEST(!inside(file.file_bytes(), parts(end - 1010, 1000)));
    BOOST_TEST(parts(end - 1009, 1000) == raw.data + end - 1009);
  }
  raw.file.descriptor = -1;
  BOOST_TEST(cpu_kernels::StoredParts(raw, 1, 1000)(8, 1000) == raw.data + 8);
}

// Every kind of weights is packed alike from a file and from memory.
template <class W, Packing packing>
void same_from_both(Context<Cpu>& ctx, const RawTensor& raw) {
  CpuMatrix<W, rows, columns, packing> from_file, from_memory;
  from_file.allocate();
  from_memory.allocate();
  RawTensor memory = raw;
  memory.file = {};
  from_file.load_rows(ctx, 0, raw);
  from_memory.load_rows(ctx, 0, memory);
  for (index_t n = 0; n < rows; ++n) {
    float a[columns], b[columns];
    from_file.read_row(n, a);
    from_memory.read_row(n, b);
    BOOST_TEST_REQUIRE(std::memcmp(a, b, sizeof a) == 0, "row " << n);
  }
}

BOOST_AUTO_TEST_CASE(weights_are_the_same_from_file_and_memory) {
  std::vector<bf16> numbers;
  for (index_t i = 0; i < rows * columns; ++i) numbers.push_back(bf16(static_cast<float>(i % 97) - 40.0f));
  write_safetensors(folder / "c.safetensors",
                    {stored_tensor("c", View<const bf16, Cpu, dynamic, columns>(numbers.data(), rows))});
  const SafetensorsFile floats = SafetensorsFile::open(written("d.safetensors"));
  const SafetensorsFile bf16s = SafetensorsFile::open(folder / "c.safetensors");
  for (const int threads : {1, 2}) {
    Cpu cpu(threads);
    Context<Cpu> ctx(cpu);
    for (const RawTensor& raw : {raw_of(*floats.find("b")), raw_of(*bf16s.find("c"))}) {
      same_from_both<float, Packing::plain>(ctx, raw);
      same_from_both<bf16, Packing::plain>(ctx, raw);
      same_from_both<bf16, Packing::gate_up>(ctx, raw);
      same_from_both<bf16_dot, Packing::plain>(ctx, raw);
      same_from_both<bf16_dot, Packing::gate_up>(ctx, raw);
      same_from_both<q8, Packing::plain>(ctx, raw);
      same_from_both<q4, Packing::gate_up>(ctx, raw);
    }
  }
}

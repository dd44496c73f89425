// Parts of a mapped tensor: the same bytes, read from the file where they can be and from the mapping where they
// cannot.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE io_stored_parts
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/backend/cpu/weights/stored_parts.hpp"
#include "qwen3vl/backend/cpu/weights/stored_weights.hpp"
#include "qwen3vl/io/weights/concatenated_rows.hpp"
#include "qwen3vl/io/weights/gguf.hpp"
#include "qwen3vl/io/weights/plain_rows.hpp"
#include "qwen3vl/io/weights/safetensors.hpp"
#include "qwen3vl/io/weights/write_safetensors.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;

namespace {

const test::TemporaryFolder folder;
constexpr index_t rows = 70, columns = 40;
constexpr index_t rows_of_file = rows, row_columns = columns;
constexpr std::size_t row_bytes = columns * sizeof(float);

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
  const cpu_kernels::StoredParts parts(raw, 3, 7);
  int same = 0, read = 0;
#pragma omp parallel for num_threads(3) reduction(+ : same, read)
  for (index_t first = 0; first < 60; first += 3) {
    const std::byte* const part = parts(first, 7);
    same += std::memcmp(part, raw.data + first * row_bytes, 7 * row_bytes) == 0 ? 1 : 0;
    read += inside(file.file_bytes(), part) ? 0 : 1;
  }
  BOOST_TEST(same == 20);
  BOOST_TEST(read == 20);
  BOOST_TEST(parts(0, 8) == raw.data);  // more than was said
}

BOOST_AUTO_TEST_CASE(what_cannot_be_read_is_mapped) {
  const std::filesystem::path path = written("b.safetensors");
  const SafetensorsFile file = SafetensorsFile::open(path);
  RawTensor raw = raw_of(*file.find("b"));
  {
    const cpu_kernels::StoredParts parts(raw, 1, 7);
    std::filesystem::resize_file(path, file.file_bytes().size() - 10);
    BOOST_TEST(!inside(file.file_bytes(), parts(rows - 8, 7)));
    BOOST_TEST(parts(rows - 7, 7) == raw.data + (rows - 7) * row_bytes);
  }
  raw.file.descriptor = -1;
  BOOST_TEST(cpu_kernels::StoredParts(raw, 1, 7)(8, 7) == raw.data + 8 * row_bytes);
}

/// Requires the same numbers of two matrices, to the last bit.
template <class W, index_t N, index_t K, Packing packing>
void require_same(const CpuMatrix<W, N, K, packing>& a, const CpuMatrix<W, N, K, packing>& b) {
  for (index_t n = 0; n < N; ++n) {
    float a_row[K], b_row[K];
    a.read_row(n, a_row);
    b.read_row(n, b_row);
    BOOST_TEST_REQUIRE(std::memcmp(a_row, b_row, sizeof a_row) == 0, "row " << n);
  }
}

/// Rows of numbers that are counted up, of twice as many rows as the tests load.
class Counted : public EncodedRows {
 public:
  index_t rows() const override { return test_rows; }
  index_t columns() const override { return test_columns; }
  void read(index_t first, index_t count, float* to) const override {
    for (index_t r = 0; r < count; ++r)
      for (index_t k = 0; k < test_columns; ++k) *to++ = value(first + r, k);
  }
  std::string_view type_name() const override { return "counted"; }
  std::vector<std::span<const std::byte>> memory() const override { return {}; }
  static float value(index_t r, index_t k) { return static_cast<float>((r * 3 + k) % 128) - 64.0f; }

 private:
  static constexpr index_t test_rows = rows_of_file * 2, test_columns = row_columns;
};

// Encoded rows are packed as the numbers that they are, from any row on, also as gates and ups and transposed.
template <class W, Packing packing>
void packed_from_rows(Context<Cpu>& ctx, index_t first) {
  const Counted counted;
  const index_t shape[] = {rows, columns}, turned[] = {columns, rows};
  std::vector<float> values(static_cast<std::size_t>(rows * columns)), columns_first(values.size());
  counted.read(first, rows, values.data());
  for (index_t r = 0; r < rows; ++r)
    for (index_t k = 0; k < columns; ++k)
      columns_first[static_cast<std::size_t>(k * rows + r)] = values[static_cast<std::size_t>(r * columns + k)];
  CpuMatrix<W, rows, columns, packing> expected, actual;
  expected.allocate();
  actual.allocate();
  expected.load_rows(ctx, 0, {.data = reinterpret_cast<const std::byte*>(values.data()), .shape = shape});
  actual.load_rows(ctx, 0, {.shape = shape, .encoded = &counted, .first_row = first});
  require_same(expected, actual);
  CpuMatrix<W, columns, rows, packing> back, turned_back;
  back.allocate();
  turned_back.allocate();
  back.load_transposed(ctx, {.shape = shape, .encoded = &counted, .first_row = first});
  turned_back.load_rows(ctx, 0, {.data = reinterpret_cast<const std::byte*>(columns_first.data()), .shape = turned});
  require_same(back, turned_back);
}

BOOST_AUTO_TEST_CASE(encoded_rows_are_packed) {
  Cpu cpu(2);
  Context<Cpu> ctx(cpu);
  for (const index_t first : {index_t{0}, index_t{37}, rows}) {
    packed_from_rows<float, Packing::plain>(ctx, first);
    packed_from_rows<bf16, Packing::gate_up>(ctx, first);
    packed_from_rows<q8, Packing::gate_up>(ctx, first);
    packed_from_rows<q4, Packing::plain>(ctx, first);
  }
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
  require_same(from_file, from_memory);
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

/// Plain tensors that are put together stay in their type; of several types, in float32, which holds them all.
BOOST_AUTO_TEST_CASE(plain_rows_put_together_are_kept) {
  const auto values = [](auto type) {
    std::vector<decltype(type)> numbers;
    for (index_t i = 0; i < rows * columns; ++i)
      numbers.push_back(decltype(type)(static_cast<float>(i % 977) + 0.125f));
    return numbers;
  };
  const auto floats = values(0.0f);
  const auto bf16s = values(bf16());
  const auto f16s = values(f16());
  const auto part = [](const auto& numbers) {
    return SomeRows{
        std::make_shared<PlainRows>(stored_tensor(
            "x", View<const std::decay_t<decltype(numbers[0])>, Cpu, dynamic, columns>(numbers.data(), rows))),
        0, rows};
  };
  const auto form = [&](const SomeRows& first, const SomeRows& second) {
    const ConcatenatedRows both({first, second}, "x");
    const index_t shape[] = {2 * rows, columns};
    cpu_kernels::StoredWeights weights(2 * rows, columns, 1);
    const RawTensor raw{.shape = shape, .encoded = &both};
    weights.expect_rows(0, raw);
    weights.allocate();
    weights.load_rows(2, 0, raw);
    std::vector<float> row(columns), wanted(columns);
    for (const index_t n : {index_t{0}, rows - 1, rows, 2 * rows - 1}) {
      weights.read_row(n, row.data());
      both.read(n, 1, wanted.data());
      BOOST_TEST(row == wanted, boost::test_tools::per_element());
    }
    return weights.form_of(0);
  };
  BOOST_TEST(form(part(floats), part(floats)) == "f32");
  BOOST_TEST(form(part(bf16s), part(bf16s)) == "bf16");
  BOOST_TEST(form(part(f16s), part(f16s)) == "f16");
  BOOST_TEST(form(part(f16s), part(bf16s)) == "f32");
}

/// What `Stored` keeps of a GGUF file's types, and that it gives back the file's own values.
BOOST_AUTO_TEST_CASE(types_of_gguf_are_kept) {
  const GgufFile file = GgufFile::open(std::filesystem::path(QWEN3VL_TEST_DATA) / "golden" / "gguf" / "types.gguf");
  const std::map<std::string_view, std::string_view> forms = {{"Q8_0", "bytes with f16 scales"},
                                                              {"Q5_0", "bytes with f16 scales"},
                                                              {"IQ4_NL", "bytes with f16 scales"},
                                                              {"Q4_0", "nibbles with f16 scales"},
                                                              {"Q4_K", "q4_k"},
                                                              {"Q5_K", "q5_k"},
                                                              {"Q6_K", "q6_k"},
                                                              {"Q4_1", "bf16"}};
  std::size_t seen = 0;
  for (const StoredTensor& tensor : file.tensors()) {
    if (!tensor.encoded || tensor.shape.size() != 2) continue;
    RawTensor raw = raw_of(tensor);
    raw.encoded = tensor.encoded.get();
    cpu_kernels::StoredWeights weights(raw.rows(), raw.row_size(), 1);
    weights.expect_rows(0, raw);
    weights.allocate();
    weights.load_rows(2, 0, raw);
    const auto form = forms.find(tensor.encoded->type_name());
    const std::string what = concat(tensor.name, ", ", tensor.encoded->type_name());
    if (form == forms.end()) continue;
    ++seen;
    BOOST_TEST(weights.form_of(0) == form->second, what);
    if (form->second == "bf16") continue;
    std::vector<float> row(static_cast<std::size_t>(raw.row_size())), wanted(row.size());
    for (index_t n = 0; n < raw.rows(); ++n) {
      weights.read_row(n, row.data());
      tensor.encoded->read(n, 1, wanted.data());
      for (std::size_t k = 0; k < row.size(); ++k)
        BOOST_REQUIRE_MESSAGE(row[k] == wanted[k] || (std::isnan(row[k]) && std::isnan(wanted[k])),
                              what << ", row " << n << ", column " << k);
    }
  }
  BOOST_TEST(seen >= forms.size());
}

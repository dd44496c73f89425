// Weights that files keep as integers with scales, or in pieces.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE io_quantization
#include <boost/test/unit_test.hpp>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "qwen3vl/io/weights/concatenated_rows.hpp"
#include "qwen3vl/io/weights/plain_rows.hpp"
#include "support/check_fails.hpp"

using namespace qwen3vl;

namespace {

/// Bytes q, each row with one scale: 1 + the row.
class Bytes : public EncodedRows {
 public:
  explicit Bytes(index_t rows, index_t group = 4) : rows_(rows), group_(group) {}
  index_t rows() const override { return rows_; }
  index_t columns() const override { return 4; }
  void read(index_t first, index_t count, float* to) const override {
    for (index_t r = first; r < first + count; ++r)
      for (index_t k = 0; k < 4; ++k) *to++ = static_cast<float>((1 + r) * (k - 1));
  }
  BlockLayout blocks() const override { return {.form = BlockForm::bytes, .group = group_}; }
  void read_blocks(index_t row, const BlockRow& to) const override {
    for (index_t k = 0; k < 4; ++k) to.q[k] = static_cast<std::int8_t>(k - 1);
    to.scales[0] = static_cast<float>(1 + row);
  }
  std::string_view type_name() const override { return "bytes"; }
  std::vector<std::span<const std::byte>> memory() const override { return {std::as_bytes(std::span(&group_, 1))}; }

 private:
  index_t rows_, group_;
};

}  // namespace

BOOST_AUTO_TEST_CASE(rows_of_several_matrices) {
  const auto a = std::make_shared<Bytes>(3), b = std::make_shared<Bytes>(5);
  const ConcatenatedRows all({{b, 2, 0}, {a, 0, 3}, {b, 1, 2}, {b, 0, 0}, {a, 2, 1}}, "all");
  BOOST_TEST(all.rows() == 6);
  BOOST_TEST(all.columns() == 4);
  const std::vector<float> scales{1, 2, 3, 2, 3, 3};
  for (index_t first = 0; first < 6; ++first)
    for (index_t count = 0; count <= 6 - first; ++count) {
      std::vector<float> values(static_cast<std::size_t>(count) * 4 + 1, -77.0f);
      all.read(first, count, values.data());
      for (index_t i = 0; i < count * 4; ++i)
        BOOST_TEST(values[static_cast<std::size_t>(i)] ==
                   scales[static_cast<std::size_t>(first + i / 4)] * static_cast<float>(i % 4 - 1));
      BOOST_TEST(values.back() == -77.0f);
    }
  BOOST_TEST((all.blocks().form == BlockForm::bytes && all.blocks().group == 4));
  for (index_t row = 0; row < 6; ++row) {
    std::int8_t q[4];
    float scale = 0.0f;
    all.read_blocks(row, {.q = q, .scales = &scale});
    BOOST_TEST(scale == scales[static_cast<std::size_t>(row)]);
    BOOST_TEST(q[3] == 2);
  }
  BOOST_TEST(all.type_name() == "bytes");
  BOOST_TEST(all.memory().size() == 2u);  // b's once
}

BOOST_AUTO_TEST_CASE(rows_of_several_types) {
  const std::vector<float> values{1, 2, 3, 4, 5, 6, 7, 8};
  const StoredTensor stored{.name = "w", .shape = {2, 1, 4}, .bytes = std::as_bytes(std::span(values))};
  const auto plain = std::make_shared<PlainRows>(stored);
  BOOST_TEST(plain->rows() == 2);
  const ConcatenatedRows all({{plain, 1, 1}, {std::make_shared<Bytes>(3), 0, 1}}, "all");
  float read[8];
  all.read(0, 2, read);
  BOOST_TEST(std::vector<float>(read, read + 8) == (std::vector<float>{5, 6, 7, 8, -1, 0, 1, 2}));
  BOOST_TEST((all.blocks().form == BlockForm::none));
  BOOST_TEST(all.type_name() == "several types");
  // Groups of another size are another layout.
  const ConcatenatedRows groups({{std::make_shared<Bytes>(1), 0, 1}, {std::make_shared<Bytes>(1, 2), 0, 1}}, "all");
  BOOST_TEST((groups.blocks().form == BlockForm::none));
}

BOOST_AUTO_TEST_CASE(rows_that_do_not_fit) {
  const auto a = std::make_shared<Bytes>(3);
  const std::vector<float> values(8);
  const StoredTensor stored{.name = "w", .shape = {4, 2}, .bytes = std::as_bytes(std::span(values))};
  CHECK_FAILS(ConcatenatedRows({}, "all"), "all is put together from no rows");
  CHECK_FAILS(ConcatenatedRows({{a, 1, 3}}, "all"), "a matrix of 3 rows does not have");
  CHECK_FAILS(ConcatenatedRows({{a, -1, 3}}, "all"), "does not have");
  CHECK_FAILS(ConcatenatedRows({{a, 1, -1}}, "all"), "does not have");
  CHECK_FAILS(ConcatenatedRows({{a, 0, 1}, {std::make_shared<PlainRows>(stored), 0, 1}}, "all"),
              "of 4 and of 2 columns");
  StoredTensor bytes{.name = "w", .dtype = DType::u8, .shape = {4, 8}, .bytes = std::as_bytes(std::span(values))};
  CHECK_FAILS(PlainRows{bytes}, "w is of type U8");
  bytes.dtype = DType::f32;
  bytes.shape = {8};
  CHECK_FAILS(PlainRows{bytes}, "w is [8], wanted a matrix");
}

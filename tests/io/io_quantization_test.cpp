// Weights that files keep as integers with scales, or in pieces.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE io_quantization
#include <algorithm>
#include <bit>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "qwen3vl/base/python_pattern.hpp"
#include "qwen3vl/io/checkpoint/checkpoint_files.hpp"
#include "qwen3vl/io/weights/concatenated_rows.hpp"
#include "qwen3vl/io/weights/plain_rows.hpp"
#include "qwen3vl/io/weights/quantized/quantization.hpp"
#include "qwen3vl/io/weights/safetensors.hpp"
#include "support/check_fails.hpp"
#include "support/test_files.hpp"

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

const std::string golden = QWEN3VL_TEST_DATA "/golden/quantized/";
const nlohmann::json& configs() {
  static const nlohmann::json all = read_json_file(golden + "configs.json");
  return all;
}

/// The tensors of a golden case, and what the format's own tool makes of them.
struct Case {
  SafetensorsFile file;
  Checkpoint checkpoint{"checkpoint"};
  std::vector<StoredTensor> expected;
  std::vector<std::vector<std::byte>> changed;  // bytes of tensors that a test changes

  explicit Case(const std::string& name) : file(SafetensorsFile::open(golden + name + ".safetensors")) {
    for (const StoredTensor& tensor : file.tensors())
      if (tensor.name.starts_with("out.")) {
        expected.push_back(tensor);
        expected.back().name.erase(0, 4);
      } else {
        checkpoint.put(tensor);
      }
  }
  void decode(const nlohmann::json& config) {
    const auto quantization = quantization_from_json(config, "config.json");
    BOOST_REQUIRE(quantization.has_value());
    decode_quantized(checkpoint, *quantization);
  }
  /// A tensor in the checkpoint with other bytes, type or shape.
  void change(const std::string& name, const std::function<void(StoredTensor&, std::vector<std::byte>&)>& how) {
    StoredTensor tensor = *checkpoint.find(name);
    changed.emplace_back(tensor.bytes.begin(), tensor.bytes.end());
    how(tensor, changed.back());
    tensor.bytes = changed.back();
    checkpoint.put(tensor);
  }
};

/// What the integers of a row multiply out to.
std::vector<float> from_blocks(const EncodedRows& rows, index_t row) {
  const BlockLayout layout = rows.blocks();
  const index_t groups = (rows.columns() + layout.group - 1) / layout.group;
  std::vector<std::int8_t> q(static_cast<std::size_t>(rows.columns()));
  std::vector<float> scales(static_cast<std::size_t>(groups)), values;
  std::vector<std::uint8_t> offsets(static_cast<std::size_t>(groups));
  rows.read_blocks(row, {.q = q.data(), .scales = scales.data(), .offsets = offsets.data()});
  for (index_t k = 0; k < rows.columns(); ++k) {
    const auto i = static_cast<std::size_t>(k), g = static_cast<std::size_t>(k / layout.group);
    float number = q[i];
    if (layout.form == BlockForm::e4m3)
      number = static_cast<float>(std::bit_cast<f8_e4m3>(static_cast<std::uint8_t>(q[i])));
    if (layout.form == BlockForm::nibbles) {
      BOOST_TEST_REQUIRE((q[i] >= 0 && q[i] <= 15 && offsets[g] <= 15));
      number = static_cast<float>(q[i] - offsets[g]);
    }
    values.push_back(scales[g] * number);
  }
  return values;
}

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

// Every format's numbers are, bit for bit, those of its own tool, and integers for kernels multiply out to them.
BOOST_AUTO_TEST_CASE(golden_formats) {
  const std::map<std::string, BlockForm> forms = {{"ct_int4", BlockForm::nibbles},
                                                  {"ct_int4_zeros", BlockForm::nibbles},
                                                  {"ct_int4_rows", BlockForm::nibbles},
                                                  {"ct_int8", BlockForm::bytes},
                                                  {"ct_w8a8", BlockForm::bytes},
                                                  {"ct_w8_tensor", BlockForm::bytes},
                                                  {"ct_fp8_tensor", BlockForm::e4m3},
                                                  {"ct_fp8_rows", BlockForm::e4m3},
                                                  {"ct_fp8_blocks", BlockForm::e4m3},
                                                  {"ct_mxfp8", BlockForm::e4m3},
                                                  {"fp8", BlockForm::e4m3},
                                                  {"fp8_tensor", BlockForm::e4m3},
                                                  {"fp8_experts", BlockForm::e4m3},
                                                  {"gptq_4", BlockForm::nibbles},
                                                  {"gptq_4_zeros", BlockForm::nibbles},
                                                  {"gptq_4_v2", BlockForm::nibbles},
                                                  {"gptq_4_rows", BlockForm::nibbles},
                                                  {"gptq_8", BlockForm::bytes},
                                                  {"gptq_3", BlockForm::nibbles},
                                                  {"awq", BlockForm::nibbles},
                                                  {"bnb_int8", BlockForm::bytes}};
  std::size_t cases = 0;
  for (const auto& [name, config] : configs().items()) {
    BOOST_TEST_CONTEXT(name) {
      Case golden_case(name);
      const Checkpoint& checkpoint = golden_case.checkpoint;
      golden_case.decode(config);
      ++cases;
      std::size_t decoded = 0;
      for (const std::string& tensor : checkpoint.names()) decoded += checkpoint.find(tensor)->encoded ? 1 : 0;
      BOOST_TEST(decoded == golden_case.expected.size());
      for (const StoredTensor& expected : golden_case.expected) {
        const StoredTensor* const actual = checkpoint.find(expected.name);
        BOOST_REQUIRE_MESSAGE(actual != nullptr && actual->encoded, expected.name);
        const EncodedRows& rows = *actual->encoded;
        BOOST_TEST(actual->shape == expected.shape, boost::test_tools::per_element());
        BOOST_TEST(rows.rows() * rows.columns() == expected.size());
        BOOST_TEST(rows.columns() == expected.shape.back());
        std::size_t bytes = 0;
        for (const auto& part : rows.memory()) bytes += part.size();
        BOOST_TEST(bytes > 0u);
        BOOST_TEST(!rows.type_name().empty());
        const auto columns = static_cast<std::size_t>(rows.columns());
        std::vector<float> values(static_cast<std::size_t>(expected.size()));
        read_floats(expected, values);
        for (const index_t first : {index_t{0}, index_t{1}, rows.rows() / 2})
          for (const index_t count : {index_t{1}, rows.rows() / 3, rows.rows() - first}) {
            std::vector<float> read(static_cast<std::size_t>(count) * columns + 1, -7.0f);
            rows.read(first, count, read.data());
            const std::size_t size = (read.size() - 1) * sizeof(float);
            BOOST_TEST(std::memcmp(read.data(), values.data() + static_cast<std::size_t>(first) * columns, size) == 0,
                       expected.name << ", rows from " << first);
            BOOST_TEST(read.back() == -7.0f);
          }
        if (const auto form = forms.find(name); form != forms.end()) BOOST_TEST((rows.blocks().form == form->second));
        if (rows.blocks().form == BlockForm::none) continue;
        for (index_t r = 0; r < rows.rows(); ++r) {
          const std::vector<float> whole = from_blocks(rows, r);
          for (std::size_t k = 0; k < columns; ++k) {
            const float wanted = values[static_cast<std::size_t>(r) * columns + k];
            // bitsandbytes multiplies a second time.
            const float allowed = name == "bnb_int8" ? std::abs(wanted) * 0x1p-22f : 0.0f;
            BOOST_TEST_REQUIRE(std::abs(whole[k] - wanted) <= allowed);
          }
        }
      }
    }
  }
  BOOST_TEST(cases == 38u);
}

BOOST_AUTO_TEST_CASE(patterns_of_names) {
  const auto matches = [](const char* pattern, std::string_view name) {
    return PythonPattern(pattern, "targets").matches_start(name);
  };
  // Each as Python's re.match has it.
  const std::tuple<const char*, const char*, bool> cases[] = {
      {"abc", "abcd", true},
      {"abc", "xabc", false},
      {".*abc$", "xabc", true},
      {".*abc$", "abcd", false},
      {"a|b|cd", "cd", true},
      {"^(a|b)+$", "abba", true},
      {"^(a|b)+$", "abca", false},
      {R"(.*layers\.\d+\.mlp\.(gate|up)_proj)", "model.layers.12.mlp.up_proj", true},
      {R"(.*layers\.\d+\.mlp\.(gate|up)_proj)", "model.layers.x.mlp.up_proj", false},
      {"a{2}b", "aab", true},
      {"a{2,3}b", "aaab", true},
      {"^a{2,3}b", "aaaab", false},
      {"a{2,}b", "aaaaab", true},
      {"a{,2}", "a{,2}", true},
      {"[a-c_x]+$", "abc_x", true},
      {"[^.]+$", "a.b", false},
      {"[]a]+$", "]a", true},
      {"(?!.*visual).*proj", "language.q_proj", true},
      {"(?!.*visual).*proj", "visual.q_proj", false},
      {"(?=.*q_).*proj", "a.q_proj", true},
      {R"(\w+\b.\w+$)", "ab.cd", true},
      {"(a*)*b", "aaab", true},
      {"(?:a?)*$", "aaa", true},
      {"a.*?b$", "axxb", true},
      {"()", "", true},
      {"", "x", true}};
  for (const auto& [pattern, name, expected] : cases)
    BOOST_TEST(matches(pattern, name) == expected, pattern << " and " << name);
}

// Every tensor of a format is needed, in its type and size.
BOOST_AUTO_TEST_CASE(damaged_tensors) {
  const auto fails = [](const std::string& name, const std::function<void(Case&)>& damage) {
    Case damaged(name);
    damage(damaged);
    try {
      damaged.decode(configs()[name]);
    } catch (const Error& error) {
      const std::string_view what = error.what();
      BOOST_TEST((what.find("checkpoint") != what.npos || what.find("a.") != what.npos), what);
      return true;
    }
    return false;
  };
  const auto one_of = [](const std::string& name, std::initializer_list<std::string_view> ends) {
    return std::ranges::any_of(ends, [&](std::string_view end) { return name.ends_with(end); });
  };
  std::size_t tried = 0;
  for (const auto& [name, config] : configs().items())
    for (const std::string& tensor : Case(name).checkpoint.names()) {
      BOOST_TEST_CONTEXT(name << " " << tensor) {
        ++tried;
        // Of activations or of the cache, or not quantised.
        if (one_of(tensor, {"activation_scale", "input_scale", "input_global_scale", "k_scale", "plain.weight"}))
          continue;
        const bool is_plain_expert = tensor.ends_with("1.up_proj.weight") && name == "fp8_experts_split";
        const bool may_be_missing = one_of(tensor, {"g_idx", "weight_format"});
        BOOST_TEST(fails(name, [&](Case& c) { c.checkpoint.erase(tensor); }) == !may_be_missing);
        BOOST_TEST(fails(name, [&](Case& c) {
          c.change(tensor, [](StoredTensor& stored, std::vector<std::byte>&) { stored.dtype = DType::boolean; });
        }));
        BOOST_TEST(fails(name, [&](Case& c) {
          c.change(tensor, [](StoredTensor& stored, std::vector<std::byte>& bytes) {
            stored.shape = {0, 8};
            bytes.clear();
          });
        }));
        // A row less; a last block of FP8 or group of columns may be smaller.
        if (is_plain_expert || Case(name).checkpoint.find(tensor)->shape.empty()) continue;
        const bool may_be_smaller = (name.starts_with("fp8") && tensor.ends_with("weight")) ||
                                    (name == "fp8_experts_split" && tensor.ends_with("weight_scale_inv")) ||
                                    (one_of(name, {"awq", "gptq_4_v2"}) && tensor.ends_with("qweight")) ||
                                    (name.starts_with("ct_fp8_tensor") && tensor.ends_with(".weight")) ||
                                    (one_of(name, {"ct_w8_tensor", "ct_fp8_blocks"}) && tensor.ends_with(".weight")) ||
                                    (name == "modelopt" && tensor == "b.weight");
        if (may_be_smaller) continue;
        BOOST_TEST(fails(name, [&](Case& c) {
          c.change(tensor, [](StoredTensor& stored, std::vector<std::byte>& bytes) {
            const std::size_t row = bytes.size() / static_cast<std::size_t>(stored.shape[0]);
            --stored.shape[0];
            bytes.resize(bytes.size() - row);
          });
        }));
      }
    }
  BOOST_TEST(tried > 150u);

  const auto refused = [](const char* name, const char* tensor, const char* message, const auto& how) {
    Case damaged(name);
    damaged.change(tensor, how);
    CHECK_FAILS(damaged.decode(configs()[name]), message);
  };
  using Bytes = std::vector<std::byte>;
  for (const std::uint8_t byte : {std::uint8_t{3}, std::uint8_t{255}})  // group 3, and a negative one
    for (const char* const name : {"gptq_4_order", "ct_int4_g_idx"})
      refused(name, name[0] == 'g' ? "a.g_idx" : "a.weight_g_idx", "wanted numbers of groups from 0 to 2",
              [&](StoredTensor&, Bytes& bytes) { std::fill(bytes.begin() + 4, bytes.begin() + 8, std::byte{byte}); });
  const auto with_state = [](const char* json) {
    return [json](StoredTensor& stored, Bytes& bytes) {
      const auto* const begin = reinterpret_cast<const std::byte*>(json);
      bytes.assign(begin, begin + std::strlen(json));
      stored.shape = {static_cast<index_t>(bytes.size())};
    };
  };
  const char* const state = "a.weight.quant_state.bitsandbytes__nf4";
  refused("bnb_nf4", state, "not valid JSON", with_state("{"));
  refused("bnb_nf4", state, "shape is not the two sizes", with_state(R"({"quant_type":"nf4","blocksize":64})"));
  refused("bnb_nf4", state, "four bits each of [24, 65]",
          with_state(R"({"quant_type":"nf4","blocksize":64,"shape":[24,65]})"));
  refused("bnb_nf4", state, "a.weight.absmax is F32 [24], wanted [48]",
          with_state(R"({"quant_type":"nf4","blocksize":32,"shape":[24,64]})"));
  refused("bnb_nf4", state, "blocksize is 0", with_state(R"({"quant_type":"nf4","blocksize":0,"shape":[24,64]})"));
  refused("bnb_nf4", state, "blocksize is 48, wanted a power of two",
          with_state(R"({"quant_type":"nf4","blocksize":48,"shape":[24,64]})"));
  refused("bnb_nf4", state, "from 1 to 2147483647",
          with_state(R"({"quant_type":"nf4","blocksize":64,"shape":[24,9223372036854775807]})"));
  refused("bnb_nf4", state, "quant_type is \"fp4\", wanted nf4",
          with_state(R"({"quant_type":"fp4","blocksize":64,"shape":[24,64]})"));
  refused("bnb_int8", "a.weight_format", "wanted 0", [](StoredTensor&, Bytes& bytes) { bytes[0] = std::byte{2}; });
  refused("ct_int4", "a.weight_shape", "which do not fit 4 bits",
          [](StoredTensor&, Bytes& bytes) { bytes[8] = std::byte{200}; });
  // Zero points of a symmetric weight.
  for (const int value : {0, 1}) {
    Case zeros("ct_w8a8");
    zeros.change("a.weight_scale", [&](StoredTensor& stored, Bytes& bytes) {
      stored.name = "a.weight_zero_point";
      stored.dtype = DType::i8;
      bytes.assign(static_cast<std::size_t>(stored.size()), std::byte{0});
      bytes.back() = static_cast<std::byte>(value);
    });
    if (value == 0) {
      zeros.decode(configs()["ct_w8a8"]);
      BOOST_TEST(zeros.checkpoint.find("a.weight_zero_point") == nullptr);
    } else {
      CHECK_FAILS(zeros.decode(configs()["ct_w8a8"]), "wanted zeros, since its scheme says symmetric");
    }
  }
  // The plain weight beside the packed one, an expert that is missing, one of another shape, experts twice.
  Case twice("ct_int4");
  twice.change("a.weight_scale", [](StoredTensor& stored, Bytes&) { stored.name = "a.weight"; });
  CHECK_FAILS(twice.decode(configs()["ct_int4"]), "the quantised a has a plain weight, too");
  const std::string experts = "model.language_model.layers.0.mlp.experts.";
  Case missing("ct_mixed");
  for (const char* const rest : {"weight_packed", "weight_scale", "weight_shape"})
    missing.checkpoint.erase(experts + "0.up_proj." + rest);
  CHECK_FAILS(missing.decode(configs()["ct_mixed"]), "experts.0.up_proj.weight is missing");
  Case doubled("fp8_experts_split");
  doubled.change(experts + "1.up_proj.weight",
                 [&](StoredTensor& stored, Bytes&) { stored.name = experts + "down_proj"; });
  CHECK_FAILS(doubled.decode(configs()["fp8_experts_split"]), "has experts one by one and");
  refused("fp8_experts_hub", (experts + "down_proj").c_str(), "do not belong together",
          [](StoredTensor& stored, Bytes&) {
            stored.shape = {3, 20, 48};
          });
}

BOOST_AUTO_TEST_CASE(settings) {
  const auto read = [](const char* json) {
    return quantization_from_json(parse_json(json, "config.json"), "config.json");
  };
  BOOST_TEST(!read("{}").has_value());
  BOOST_TEST(!read(R"({"quantization_config": null, "text_config": {}})").has_value());
  BOOST_TEST(read(R"({"quantization_config": {"load_in_4bit": true}})").has_value());
  BOOST_TEST(read(R"({"text_config": {"quantization_config": {"quant_method": "awq"}},
                      "quantization_config": {"quant_method": "awq"}})")
                 .has_value());
  BOOST_TEST(read(R"({"compression_config": {"sparsity_config": {"format": "dense"}, "quantization_config":
                      {"config_groups": {}, "format": "dense"}}})")
                 .has_value());
  BOOST_TEST(read(R"({"quantization_config": {"quant_method": "compressed-tensors",
      "config_groups": {"g": {"weights": {"strategy": "block", "block_structure": "128x64"}}}}})")
                 .has_value());
  const std::pair<const char*, const char*> wrong[] = {
      {R"({"quant_method": "hqq"})", "config.json: quantization_config.quant_method is 'hqq', which is not read"},
      {R"({})", "config.json: quantization_config has no quant_method"},
      {R"(8)", "quantization_config is not a JSON object"},
      {R"({"quant_method": "fp8", "fmt": "e5m2"})", "fmt is \"e5m2\", wanted e4m3"},
      {R"({"quant_method": "fp8", "expert_dtype": "fp4"})", "expert_dtype is \"fp4\""},
      {R"({"quant_method": "fp8", "weight_block_size": [0, 1]})", "weight_block_size is [0,1]"},
      {R"({"quant_method": "fp8", "weight_block_size": [1]})", "wanted two sizes"},
      {R"({"quant_method": "fp8", "new_option": 3})", "new_option is a setting of quantisation that is not known"},
      {R"({"quant_method": "gptq", "bits": 5})", "bits is 5, wanted 2, 3, 4 or 8"},
      {R"({"quant_method": "gptq", "checkpoint_format": "marlin"})", "checkpoint_format is \"marlin\""},
      {R"({"quant_method": "gptq", "group_size": 0})", "group_size is 0"},
      {R"({"quant_method": "gptq", "rotation": "hadamard"})", "rotation is \"hadamard\", wanted none"},
      {R"({"quant_method": "gptq", "dynamic": {"+:a": {"bits": 8, "x": 1}}})", "x is a setting of quantisation"},
      {R"({"quant_method": "gptq", "dynamic": {"+:a(": {"bits": 8}}})", "a ( without ) at character 2"},
      {R"({"quant_method": "awq", "version": "GEMV"})", "version is \"GEMV\", wanted gemm"},
      {R"({"quant_method": "awq", "bits": 8})", "bits is 8, wanted 4"},
      {R"({"quant_method": "bitsandbytes", "bnb_4bit_quant_type": "int4"})", "wanted one of fp4, nf4"},
      {R"({"quant_method": "modelopt"})", "quant_algo is missing"},
      {R"({"quant_method": "modelopt", "quant_algo": "W4A8_AWQ"})", "quant_algo is \"W4A8_AWQ\""},
      {R"({"quant_method": "compressed-tensors", "format": "marlin-24"})", "format is \"marlin-24\""},
      {R"({"quant_method": "compressed-tensors", "sparsity_config": {"format": "sparse-bitmask"}})",
       "sparsity_config.format is \"sparse-bitmask\", wanted dense"},
      {R"({"quant_method": "compressed-tensors", "transform_config": {"config_groups": {"u": {}}}})",
       "transform_config.config_groups is"},
      {R"({"quant_method": "compressed-tensors", "config_groups": {"W4A16": ["Linear"]}})",
       "config_groups.W4A16 is [\"Linear\"], wanted an object"},
      {R"({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 9}}}})",
       "from 1 to 8"},
      {R"({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 6, "type": "float"}}}})",
       "num_bits is 6, wanted 4 or 8"},
      {R"({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"dynamic": true}}}})",
       "dynamic is true"},
      {R"({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"strategy": "group"}}}})",
       "group_size is missing"},
      {R"({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"strategy": "block"}}}})",
       "block_structure is missing"},
      {R"({"quant_method": "compressed-tensors",
           "config_groups": {"g": {"weights": {"strategy": "block", "block_structure": "128"}}}})",
       "block_structure is \"128\", wanted two sizes"},
      {R"({"quant_method": "compressed-tensors", "config_groups":
           {"g": {"weights": {}, "targets": ["Linear"]}, "h": {"weights": {}, "targets": ["Linear"]}}})",
       "h.targets has Linear, as another group has"}};
  for (const auto& one : wrong)
    CHECK_FAILS(read(concat(R"({"quantization_config": )", std::get<0>(one), "}").c_str()), std::get<1>(one));
  CHECK_FAILS(read(R"({"quantization_config": {"quant_method": "awq"},
                       "text_config": {"quantization_config": {"quant_method": "gptq"}}})"),
              "text_config.quantization_config differs from another one");
}

BOOST_AUTO_TEST_CASE(checkpoint_folders) {
  const test::TemporaryFolder folder;
  std::filesystem::copy(golden + "modelopt.safetensors", folder / "model.safetensors");
  folder.write("config.json", "{}");
  const std::string plain = CheckpointFiles(folder.path()).weights().fingerprint();
  BOOST_TEST(!CheckpointFiles(folder.path()).weights().find("a.weight")->encoded);
  // ModelOpt's own file, which counts where config.json says nothing.
  folder.write("hf_quant_config.json", R"({"producer": {"name": "modelopt"},
      "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}})");
  const Checkpoint checkpoint = CheckpointFiles(folder.path()).weights();
  BOOST_TEST(checkpoint.find("a.weight")->encoded->type_name() == "NVFP4");
  BOOST_TEST(checkpoint.find("a.weight_scale") == nullptr);
  BOOST_TEST(checkpoint.fingerprint() != plain);
  folder.write("config.json", configs()["modelopt"].dump());
  BOOST_TEST(CheckpointFiles(folder.path()).weights().find("b.weight")->encoded->type_name() == "F8_E4M3");
  folder.write("config.json", "{}");
  folder.write("hf_quant_config.json", "{}");
  CHECK_FAILS(CheckpointFiles(folder.path()).weights(), "hf_quant_config.json: quantization is missing");
  folder.write("hf_quant_config.json", R"({"quantization": {"quant_algo": "INT8_SQ"}})");
  CHECK_FAILS(CheckpointFiles(folder.path()).weights(), "quantization.quant_algo is \"INT8_SQ\"");
}

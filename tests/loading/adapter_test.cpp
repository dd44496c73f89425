// Adapters of PEFT, merged into a checkpoint: equal to PEFT's own numbers (tests/golden/make_adapters.py).
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE adapter
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "qwen3vl/io/weights/write_safetensors.hpp"
#include "qwen3vl/loading/adapters/peft_adapter.hpp"
#include "support/check_fails.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
using qwen3vl::test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

const fs::path golden = fs::path(QWEN3VL_TEST_DATA) / "golden";

std::vector<float> values_of(const StoredTensor& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.size()));
  read_floats(tensor, values);
  return values;
}

/// A row of a matrix, or of a stack of them as transformers has it.
std::vector<float> row_of(const StoredTensor& tensor, const std::vector<float>& values, index_t row, bool turned) {
  const index_t rows = tensor.shape.size() == 3 ? tensor.shape[turned ? 2 : 1] : tensor.shape[0];
  const index_t matrices = tensor.shape.size() == 3 ? tensor.shape[0] : 1;
  const index_t columns = tensor.size() / rows / matrices;
  std::vector<float> found;
  for (index_t c = 0; c < columns; ++c) {
    const index_t matrix = row / rows, r = row % rows;
    const index_t place = turned ? (matrix * columns + c) * rows + r : (matrix * rows + r) * columns + c;
    found.push_back(values[static_cast<std::size_t>(place)]);
  }
  return found;
}

/// Compares the tensors that PEFT changes, and no other one is changed.
void compare(const Checkpoint& merged, const Checkpoint& base, const fs::path& expected_file) {
  const SafetensorsFile expected = SafetensorsFile::open(expected_file);
  for (const std::string& name : merged.names()) {
    const StoredTensor& tensor = *merged.find(name);
    const std::vector<float> values = values_of(tensor);
    const StoredTensor* const wanted = expected.find(name);
    if (wanted == nullptr) {
      const StoredTensor* const before = base.find(
          name == "lm_head.weight" && base.find(name) == nullptr ? "model.language_model.embed_tokens.weight" : name);
      BOOST_REQUIRE_MESSAGE(before != nullptr, name);
      BOOST_TEST((values == values_of(*before)), name);
      continue;
    }
    std::vector<std::int64_t> rows(static_cast<std::size_t>(wanted->shape[0]));
    read_int64s(*expected.find(name + ".rows"), rows);
    const std::vector<float> wanted_values = values_of(*wanted);
    const auto columns = wanted_values.size() / rows.size();
    const bool turned = tensor.shape.size() == 3;  // the test's base has the experts as the Hub has them
    double worst = 0.0;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const std::vector<float> row = row_of(tensor, values, rows[i], turned);
      BOOST_REQUIRE(row.size() == columns);
      for (std::size_t c = 0; c < columns; ++c)
        worst = std::max(worst, std::abs(double{row[c]} - double{wanted_values[i * columns + c]}) /
                                    std::max(1.0, std::abs(double{wanted_values[i * columns + c]})));
    }
    BOOST_TEST(worst < 1e-6, name << ": " << worst);
  }
  for (const StoredTensor& tensor : expected.tensors())
    if (tensor.name != "logits" && !tensor.name.ends_with(".rows"))
      BOOST_TEST((merged.find(tensor.name) != nullptr), tensor.name);
}

Checkpoint base_of(const std::string& model) { return Checkpoint::open(golden / "models" / model); }

/// A copy of an adapter with another config, names or values.
struct Changed {
  TemporaryFolder folder;
  nlohmann::json config;
  std::map<std::string, std::pair<std::vector<index_t>, std::vector<float>>> tensors;
  std::vector<std::string> warnings;

  explicit Changed(const char* adapter, const char* model = "dense_small") {
    const fs::path from = golden / "adapters" / model / adapter;
    config = read_json_file(from / "adapter_config.json");
    const SafetensorsFile file = SafetensorsFile::open(from / "adapter_model.safetensors");
    for (const StoredTensor& tensor : file.tensors()) tensors[tensor.name] = {tensor.shape, values_of(tensor)};
  }
  void rename(const std::function<std::string(const std::string&)>& name) {
    decltype(tensors) renamed;
    for (auto& [old, tensor] : tensors) renamed[name(old)] = std::move(tensor);
    tensors = std::move(renamed);
  }
  Checkpoint merge(float scale = 1.0f, const char* model = "dense_small") {
    std::vector<StoredTensor> stored;
    for (const auto& [name, tensor] : tensors)
      stored.push_back({name, DType::f32, tensor.first, std::as_bytes(std::span(tensor.second))});
    write_safetensors(folder / "adapter_model.safetensors", stored);
    write_json_file(folder / "adapter_config.json", config);
    Checkpoint checkpoint = base_of(model);
    bool tied = std::string(model) == "dense_small";
    PeftAdapter::open(folder.path()).merge_into(checkpoint, scale, tied, [&](const std::string& text) {
      warnings.push_back(text);
    });
    return checkpoint;
  }
};

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != text.npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
  return text;
}

}  // namespace

BOOST_AUTO_TEST_CASE(equal_to_peft) {
  int cases = 0;
  for (const std::string model : {"dense_small", "moe_small"})
    for (const auto& entry : fs::directory_iterator(golden / "adapters" / model)) {
      if (!entry.is_directory()) continue;
      BOOST_TEST_CONTEXT(entry.path()) {
        Checkpoint merged = base_of(model);
        bool tied = model == "dense_small";
        const auto counts = PeftAdapter::open(entry.path()).merge_into(merged, 1.0f, tied, {});
        BOOST_TEST(counts.updated + counts.replaced > 0u);
        compare(merged, base_of(model), entry.path() / "expected.safetensors");
        const std::string name = entry.path().filename().string();
        const bool parts = name == "embedding" || name == "head" || name == "dora_embedding" || name == "saved" ||
                           name == "tied";  // stored twice, with the same numbers
        BOOST_TEST(tied == (model == "dense_small" && !parts));
        ++cases;
      }
    }
  BOOST_TEST(cases == 15);
}

BOOST_AUTO_TEST_CASE(several_with_scales) {
  const nlohmann::json several = read_json_file(golden / "adapters" / "several.json");
  for (const auto& [model, adapters] : several.items()) {
    Checkpoint merged = base_of(model);
    const std::string before = merged.fingerprint();
    bool tied = model == "dense_small";
    for (const auto& adapter : adapters)
      PeftAdapter::open(golden / "adapters" / model / adapter[0].get<std::string>())
          .merge_into(merged, adapter[1].get<float>(), tied, {});
    compare(merged, base_of(model), golden / "adapters" / model / "several.safetensors");
    BOOST_TEST(merged.fingerprint().starts_with(before));
    BOOST_TEST(merged.fingerprint().size() > before.size() + 100);
  }
}

BOOST_AUTO_TEST_CASE(tied_tensors_that_stay_one) {
  Changed changed("tied");
  std::erase_if(changed.tensors, [](const auto& one) { return one.first.find("lm_head") != one.first.npos; });
  const Checkpoint merged = changed.merge();
  BOOST_TEST((merged.find("lm_head.weight") == nullptr));
  BOOST_TEST(changed.warnings.empty());
  const StoredTensor& embedding = *merged.find("model.language_model.embed_tokens.weight");
  BOOST_TEST(embedding.encoded->type_name() == "merged LoRA");
}

// What is beside an adapter as base_layer is what the adapter is on top of.
BOOST_AUTO_TEST_CASE(the_base_of_an_adapter) {
  const std::string name = "model.language_model.embed_tokens.weight";
  Changed changed("dora_embedding");
  const Checkpoint base = base_of("dense_small");
  const StoredTensor& embedding = *base.find(name);
  changed.tensors["base_model.model.model.language_model.embed_tokens.base_layer.weight"] = {embedding.shape,
                                                                                             values_of(embedding)};
  compare(changed.merge(), base, golden / "adapters" / "dense_small" / "dora_embedding" / "expected.safetensors");
  for (auto& [tensor, content] : changed.tensors)
    if (tensor.ends_with("base_layer.weight")) content.second[0] = 17.0f;
  BOOST_TEST(values_of(*changed.merge().find("lm_head.weight"))[0] == 17.0f);
}

BOOST_AUTO_TEST_CASE(rows_one_by_one) {
  for (const char* const adapter : {"dora", "dora_embedding", "tokens"}) {
    Changed changed(adapter);
    const Checkpoint merged = changed.merge();
    for (const std::string& name : merged.names()) {
      const StoredTensor& tensor = *merged.find(name);
      if (!tensor.encoded) continue;
      const EncodedRows& rows = *tensor.encoded;
      BOOST_TEST(rows.rows() * rows.columns() == tensor.size());
      BOOST_TEST(!rows.memory().empty());
      const std::vector<float> all = values_of(tensor);
      std::vector<float> row(static_cast<std::size_t>(rows.columns()));
      for (index_t r = 0; r < rows.rows(); ++r) {
        rows.read(r, 1, row.data());
        BOOST_TEST(std::memcmp(row.data(), all.data() + r * rows.columns(), row.size() * sizeof(float)) == 0);
      }
    }
  }
}

// Onto a base whose rows are decoded, too.
BOOST_AUTO_TEST_CASE(a_base_of_another_format) {
  class Widened final : public EncodedRows {
   public:
    explicit Widened(const StoredTensor& tensor) : shape_(tensor.shape), values_(values_of(tensor)) {}
    index_t rows() const override { return shape_[0] * (shape_.size() == 3 ? shape_[1] : 1); }
    index_t columns() const override { return static_cast<index_t>(values_.size()) / rows(); }
    void read(index_t first, index_t count, float* to) const override {
      std::copy_n(values_.data() + first * columns(), count * columns(), to);
    }
    std::string_view type_name() const override { return "test"; }
    std::vector<std::span<const std::byte>> memory() const override { return {}; }

   private:
    std::vector<index_t> shape_;
    std::vector<float> values_;
  };
  for (const auto& [model, adapter] :
       {std::pair("dense_small", "vision"), std::pair("dense_small", "lora_bias"), std::pair("moe_small", "experts")}) {
    Checkpoint merged = base_of(model);
    for (const std::string& name : merged.names()) {
      StoredTensor tensor = *merged.find(name);
      tensor.encoded = std::make_shared<Widened>(tensor);
      tensor.bytes = {};
      merged.put(tensor);
    }
    bool tied = false;
    const fs::path folder = golden / "adapters" / model / adapter;
    PeftAdapter::open(folder).merge_into(merged, 1.0f, tied, {});
    compare(merged, base_of(model), folder / "expected.safetensors");
  }
}

BOOST_AUTO_TEST_CASE(other_names) {
  const std::string prefix = "base_model.model.", text = "model.language_model.";
  const std::function<std::string(const std::string&)> forms[] = {
      [&](const std::string& name) {
        return replaced(replaced(name, "lora_A", "lora_A.default"), "lora_B", "lora_B.x");
      },
      [&](const std::string& name) { return name.substr(prefix.size()); },
      [&](const std::string& name) { return replaced(name, text, "model."); },  // of before 4.52
      [&](const std::string& name) { return replaced(name, text, "language_model."); },
      [&](const std::string& name) { return replaced(name, text, ""); },  // of the text model alone
      [&](const std::string& name) { return replaced(name, prefix, prefix + "_orig_mod."); },
  };
  for (const auto& form : forms) {
    Changed changed("lora");
    changed.rename(form);
    compare(changed.merge(), base_of("dense_small"),
            golden / "adapters" / "dense_small" / "lora" / "expected.safetensors");
    BOOST_TEST(changed.warnings.empty());
  }
  Changed vision("vision");
  vision.rename([&](const std::string& name) { return replaced(name, "model.visual.", "visual."); });
  compare(vision.merge(), base_of("dense_small"),
          golden / "adapters" / "dense_small" / "vision" / "expected.safetensors");
  Changed saved("saved");
  saved.rename([&](const std::string& name) {
    return replaced(replaced(name, "lm_head.", "lm_head.modules_to_save.default."), "merger.",
                    "merger.modules_to_save.");
  });
  saved.tensors["base_model.model.lm_head.original_module.weight"] = {{1}, {0.0f}};
  std::erase_if(saved.tensors, [](const auto& one) { return one.first.find("deepstack") != one.first.npos; });
  saved.merge();
}

BOOST_AUTO_TEST_CASE(settings_that_are_not_computed) {
  const std::pair<const char*, nlohmann::json> settings[] = {
      {"peft_type", "LOHA"},
      {"megatron_config", {{"a", 1}}},
      {"layer_replication", {{0, 4}, {2, 5}}},
      {"alora_invocation_tokens", {1, 2}},
      {"use_qalora", true},
      {"use_bdlora", {{"nblocks", 2}}},
      {"kasa_config", {{"beta", 1}}},
      {"arrow_config", {{"top_k", 1}}},
      {"monteclora_config", {{"use_entropy", false}}},
      {"a_new_setting", 3},
      {"init_lora_weights", "pissa_niter_16"},
      {"init_lora_weights", "olora"},
      {"bias", "some"},
      {"r", 0},
      {"lora_alpha", "8"},
      {"rank_pattern", {{"q_proj", 2.5}}},
      {"rank_pattern", {{"q_proj(", 2}}},
      {"alpha_pattern", 3},
      {"target_modules", {1}},
      {"target_modules", "(?<=a)q_proj"},
      {"trainable_token_indices", {-1}},
  };
  for (const auto& setting : settings) {
    const std::string key = setting.first;
    Changed changed("lora");
    changed.config[key] = setting.second;
    CHECK_FAILS(changed.merge(), key);
  }
  // Of training, or without effect.
  Changed changed("lora");
  for (const auto& [key, value] :
       std::initializer_list<std::pair<const char*, nlohmann::json>>{{"lora_dropout", 0.1},
                                                                     {"init_lora_weights", "gaussian"},
                                                                     {"task_type", "CAUSAL_LM"},
                                                                     {"loftq_config", {}},
                                                                     {"velora_config", {{"num_groups", 2}}},
                                                                     {"a_new_setting", nullptr},
                                                                     {"another", false},
                                                                     {"revision", "main"}})
    changed.config[key] = value;
  changed.merge();
  BOOST_TEST(changed.warnings.empty());
}

BOOST_AUTO_TEST_CASE(tensors_that_do_not_fit) {
  const std::string q = "base_model.model.model.language_model.layers.0.self_attn.q_proj.";
  const auto fails_if = [&](const char* adapter, const std::function<void(Changed&)>& change, const std::string& text,
                            const char* model = "dense_small") {
    Changed changed(adapter, model);
    change(changed);
    CHECK_FAILS(changed.merge(1.0f, model), text);
  };
  fails_if(
      "lora", [](Changed& c) { c.config["r"] = 3; }, "is [4, 128], wanted [3, 128]");
  fails_if(
      "lora",
      [&](Changed& c) {
        c.tensors[q + "lora_B.weight"] = {{64, 4}, std::vector<float>(256)};
      },
      "lora_B");
  fails_if(
      "lora", [&](Changed& c) { c.tensors.erase(q + "lora_B.weight"); }, "not both lora_A and lora_B");
  fails_if(
      "lora",
      [&](Changed& c) {
        c.tensors[q + "lora_B.bias"] = {{128}, std::vector<float>(128)};
      },
      "no lora_bias");
  fails_if(
      "lora",
      [&](Changed& c) {
        c.tensors[q + "lora_C.weight"] = {{1}, {0.0f}};
      },
      "lora_C");
  fails_if(
      "lora", [&](Changed& c) { c.tensors[q + "lora_A.b.weight"] = c.tensors[q + "lora_A.weight"]; }, "two adapters");
  fails_if(
      "lora",
      [&](Changed& c) {
        c.tensors["base_model.model.score.weight"] = {{1}, {0.0f}};
      },
      "score.weight");
  fails_if(
      "lora",
      [&](Changed& c) {
        c.tensors["base_model.model.lm_head.bias"] = {{1}, {0.0f}};
      },
      "lm_head.bias");
  fails_if(
      "lora", [](Changed& c) { c.config["target_modules"] = {"down_proj"}; }, "q_proj.lora_A.weight");
  fails_if(
      "lora", [](Changed& c) { c.config["exclude_modules"] = ".*layers.3.*"; }, "layers.3.");
  fails_if(
      "patterns",
      [](Changed& c) {
        c.config["layers_to_transform"] = {0, 1};
      },
      "layers.3.");
  fails_if(
      "patterns", [](Changed& c) { c.config["layers_pattern"] = {"blocks"}; }, "layers.0.");
  fails_if(
      "lora",
      [](Changed& c) { c.rename([](const std::string& name) { return replaced(name, "layers.3", "layers.9"); }); },
      "layers.9.");
  fails_if(
      "dora", [](Changed& c) { c.config["use_dora"] = false; }, "no use_dora");
  fails_if(
      "lora", [](Changed& c) { c.config["use_dora"] = true; }, "lacks the lora_magnitude_vector");
  fails_if(
      "dora",
      [](Changed& c) {
        c.tensors.begin()->second = {{0}, {}};
      },
      "wanted");
  fails_if(
      "lora_bias", [](Changed& c) { c.config["lora_bias"] = false; }, "no lora_bias");
  fails_if(
      "tokens",
      [](Changed& c) {
        c.config["trainable_token_indices"] = {1, 2, 320};
      },
      "has 320");
  fails_if(
      "tokens",
      [](Changed& c) {
        c.config["trainable_token_indices"] = {1, 2};
      },
      "wanted [2, 64]");
  fails_if(
      "tokens", [](Changed& c) { c.config["trainable_token_indices"] = nullptr; }, "trainable_tokens_delta");
  fails_if(
      "saved",
      [](Changed& c) {
        c.tensors["base_model.model.lm_head.weight"] = {{330, 64}, std::vector<float>(330 * 64)};
      },
      "is [330, 64], wanted [320, 64]");
  fails_if(
      "experts", [](Changed& c) { c.config["target_parameters"] = {"experts.down_proj"}; }, "experts.base_layer",
      "moe_small");
  fails_if(
      "experts", [](Changed& c) { c.config["r"] = 4; }, "wanted [32, 48]", "moe_small");
  fails_if(
      "experts", [](Changed& c) { c.config["rank_pattern"] = nlohmann::json::object(); }, "wanted [16, 40]",
      "moe_small");

  Changed fewer("lora");
  fewer.tensors.erase(q + "lora_A.weight");
  fewer.tensors.erase(q + "lora_B.weight");
  fewer.merge();
  BOOST_REQUIRE(fewer.warnings.size() == 1u);
  BOOST_TEST(fewer.warnings[0].ends_with("target_modules name: model.language_model.layers.0.self_attn.q_proj"));
}

BOOST_AUTO_TEST_CASE(folders_that_are_none) {
  const TemporaryFolder folder;
  CHECK_FAILS(PeftAdapter::open(folder / "missing"), "there is no adapter");
  CHECK_FAILS(PeftAdapter::open(folder.path()), "holds no adapter_config.json");
  CHECK_FAILS(PeftAdapter::open(folder.write("lora.gguf", "GGUF")),
              "GGUF format, which is not read; give a folder of PEFT");
  CHECK_FAILS(PeftAdapter::open(folder.path()), "holds lora.gguf, an adapter in llama.cpp's GGUF format");
  CHECK_FAILS(PeftAdapter::open(golden / "models" / "dense_small"), "is a whole model");
  const TemporaryFolder pickle;
  pickle.write("adapter_config.json", "{}");
  CHECK_FAILS(PeftAdapter::open(pickle.path()), "holds no adapter_model.safetensors");
  pickle.write("adapter_model.bin", "");
  CHECK_FAILS(PeftAdapter::open(pickle.path()), "Python pickle");
  pickle.write("adapter_model.safetensors", "not read");
  CHECK_FAILS(PeftAdapter::open(pickle.path()), "peft_type is missing");
}

// As Python's re: each pattern with a text that re.fullmatch accepts and one that it does not.
BOOST_AUTO_TEST_CASE(patterns_of_python) {
  const std::string q = "model.language_model.layers.11.self_attn.q_proj", v = "model.visual.blocks.3.attn.qkv";
  const std::tuple<const char*, std::string, std::string> cases[] = {
      {R"(.*\.q_proj)", q, v},
      {R"(.*(q|k)_proj)", q, v},
      {R"(^(?!.*visual).*(?:proj|qkv)$)", q, v},
      {R"(model\.language_model(?=\.).*\d+.*)", q, v},
      {R"((?:.*?(?:vision|visual).*?(?:attn|mlp).*?(?:qkv|fc1).*?)|(?:\bmodel\.layers\.[\d]{1,}\.(?:q_proj))?)", v, q},
      {R"([a-z_.]+\.1{2}\.[^\d]*)", q, v},
      {R"(.*layers\.(1[01]|[2-9])\.self_attn\.\w+)", q, v},
      {R"((?P<all>model\..*?){1,1}attn\.q_.*)", q, v},
      {R"((a|ab)(c|bcd)(d*))", "abcd", "abce"},
      {R"((a*)*b)", "aaab", "aaac"},
      {R"((a+|b){2,3}?c)", "abac", "c"},
      {R"(a{,2}b{1}c{2,})", "aabccc", "aabc"},
      {R"(a{x}[]-])", "a{x}]", "a"},
      {R"([^]a]\.)", "b.", "]."},
      {R"(\Aa.\Z)", "ab", "a\n"},
      {R"(a\Bb\b)", "ab", "a"},
      {R"(|a)", "", "b"},
  };
  for (const auto& [pattern, yes, no] : cases) {
    const PythonPattern compiled(pattern, "test");
    BOOST_TEST(compiled.matches_all(yes), pattern);
    BOOST_TEST(!compiled.matches_all(no), pattern);
  }
  BOOST_TEST(PythonPattern("layers", "test").matches_start("layers.0"));
  for (const char* const bad : {"(", ")", "[a", "*a", "a**", "(?i)a", "(?<=a)b", R"((a)\1)", R"(\)", "a{3,2}", "[b-a]",
                                R"([\d-z])", "^*", "a{99999}", "(?P<a"})
    CHECK_FAILS(PythonPattern(bad, "test"), "is not understood");
  CHECK_FAILS(PythonPattern(std::string(100, '('), "test"), "nested too deeply");
  CHECK_FAILS(PythonPattern(R"((a+)+b)", "test").matches_all(std::string(60, 'a')), "too many steps");
  CHECK_FAILS(PythonPattern(R"((?:ab?)*c)", "test").matches_all(std::string(100'000, 'a')), "too many steps");
}

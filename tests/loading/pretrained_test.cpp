// Checkpoints as transformers 5.24 accepts them: other names, tensors too many, a tied head that is stored.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE pretrained
#include "qwen3vl/loading/pretrained.hpp"

#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/io/weights/plain_rows.hpp"
#include "qwen3vl/io/weights/write_safetensors.hpp"
#include "qwen3vl/loading/save_pretrained.hpp"
#include "qwen3vl/variants/golden-dense_small_model.hpp"
#include "support/check_fails.hpp"
#include "support/model_memory.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
using qwen3vl::test::memory;
using qwen3vl::test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

using Model = ForConditionalGeneration<variants::golden_dense_small, Cpu, F32>;
constexpr const char *head = "lm_head.weight", *embed_tokens = "model.language_model.embed_tokens.weight";

const fs::path original = fs::path(QWEN3VL_TEST_DATA) / "golden" / "models" / "dense_small";

/// A copy of the checkpoint, changed by `change` before it is written, and what loading it says.
struct Changed {
  TemporaryFolder folder;
  Cpu cpu{2};
  std::vector<std::string> warnings;

  explicit Changed(const std::function<void(std::vector<StoredTensor>&)>& change) {
    const Checkpoint checkpoint = Checkpoint::open(original);
    std::vector<StoredTensor> tensors;
    for (const std::string& name : checkpoint.names()) tensors.push_back(*checkpoint.find(name));
    change(tensors);
    write_safetensors(folder / "model.safetensors", tensors);
    for (const char* const name : {"config.json", "generation_config.json"}) fs::copy(original / name, folder / name);
  }

  Model load(const fs::path& packed_cache = {}) {
    warnings.clear();
    return Model::from_pretrained(
        folder.path(), cpu,
        {.packed_cache = packed_cache, .warn = [&](const std::string& text) { warnings.push_back(text); }});
  }
};

using Rename = std::function<std::string(const std::string&)>;
auto renamed(const Rename& rename) {
  return [rename](std::vector<StoredTensor>& tensors) {
    for (StoredTensor& tensor : tensors) tensor.name = rename(tensor.name);
  };
}
bool starts(const std::string& name, const char* start) { return name.starts_with(start); }

StoredTensor& tensor_of(std::vector<StoredTensor>& tensors, const std::string& name) {
  return *std::ranges::find(tensors, name, &StoredTensor::name);
}

std::vector<std::byte> loaded_original() {
  Cpu cpu(2);
  Model model = Model::from_pretrained(original, cpu);
  return memory(model);
}

}  // namespace

BOOST_AUTO_TEST_CASE(names_that_transformers_renames) {
  const std::string text = "model.language_model.";
  const Rename forms[] = {
      [](const std::string& name) { return name.substr(6); },   // a base model's save
      [](const std::string& name) { return "model." + name; },  // of a model inside another
      [&](const std::string& name) {                            // by 5.10 to 5.23
        return starts(name, text.c_str()) ? text + "model." + name.substr(text.size()) : name;
      },
      [&](const std::string& name) {
        return starts(name, text.c_str()) ? "language_model.model.model." + name.substr(text.size()) : name;
      },
      [](const std::string& name) { return starts(name, "model.visual.") ? name.substr(6) : name; },  // a mixture
  };
  const std::vector<std::byte> wanted = loaded_original();
  for (const Rename& form : forms) {
    Changed changed(renamed(form));
    Model model = changed.load();
    BOOST_TEST((memory(model) == wanted), form("model.language_model.norm.weight"));
    BOOST_TEST(changed.warnings.empty(), form("model.language_model.norm.weight"));
  }
}

BOOST_AUTO_TEST_CASE(names_that_it_does_not_rename) {
  Changed changed(renamed([](const std::string& name) { return "module." + name; }));
  std::string what;
  try {
    changed.load();
  } catch (const Error& error) {
    what = error.what();
  }
  BOOST_TEST(what.find(" more; not part of the model: module.model.language_model.") != std::string::npos, what);
  BOOST_TEST(what.size() < 700u, what);
}

BOOST_AUTO_TEST_CASE(tensors_too_many) {
  const std::vector<float> values(4);
  Changed changed([&](std::vector<StoredTensor>& tensors) {
    for (const char* const name : {"score.weight", "model.visual.blocks.99.norm1.bias", "visual.pos_embed.weight",
                                   "model.language_model.layers.0.self_attn.rotary_emb.inv_freq"})
      tensors.push_back({name, DType::f32, {4}, std::as_bytes(std::span(values))});
  });
  Model model = changed.load();
  BOOST_TEST((memory(model) == loaded_original()));
  BOOST_REQUIRE(changed.warnings.size() == 1u);
  BOOST_TEST(changed.warnings[0] ==
             changed.folder.path().string() +
                 " holds tensors that are not part of the model and not used: model.visual.blocks.99.norm1.bias, "
                 "score.weight, visual.pos_embed.weight");
}

BOOST_AUTO_TEST_CASE(a_tied_head_that_is_stored_too) {
  for (const char* const name : {"lm_head.weight", "model.lm_head.weight"}) {
    Changed changed([&](std::vector<StoredTensor>& tensors) {
      tensors.push_back(tensor_of(tensors, embed_tokens));
      tensors.back().name = name;
    });
    Model model = changed.load();
    BOOST_TEST(!model.has_own_head());
    BOOST_TEST(changed.warnings.empty());
    BOOST_TEST((memory(model) == loaded_original()));
  }
}

BOOST_AUTO_TEST_CASE(only_the_head_of_a_tied_pair) {
  for (const bool base_name : {false, true}) {
    Changed changed([&](std::vector<StoredTensor>& tensors) {
      tensor_of(tensors, embed_tokens).name = base_name ? "model.lm_head.weight" : head;
    });
    Model model = changed.load();
    BOOST_TEST((memory(model) == loaded_original()));
    BOOST_TEST(changed.warnings.empty());
  }
}

// A LoRA merged with modules_to_save: transformers does not tie what differs.
BOOST_AUTO_TEST_CASE(a_tied_head_with_other_values) {
  std::vector<float> values;
  Changed changed([&](std::vector<StoredTensor>& tensors) {
    StoredTensor other = tensor_of(tensors, embed_tokens);
    values.resize(other.bytes.size() / sizeof(float));
    read_floats(other, values);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = values[i] * 0.5f + static_cast<float>(i % 7) * 0.01f;
    other.name = head;
    other.bytes = std::as_bytes(std::span(values));
    tensors.push_back(other);
  });
  const TemporaryFolder packed;
  std::vector<std::byte> first;
  for (const fs::path& cache : {fs::path(), packed.path(), packed.path()}) {
    Model model = changed.load(cache);
    BOOST_TEST(model.has_own_head());
    BOOST_REQUIRE(changed.warnings.size() == 1u);
    BOOST_TEST(changed.warnings[0].find("config.json ties lm_head.weight to model.language_model.embed_tokens.weight, "
                                        "but ") != std::string::npos,
               changed.warnings[0]);
    if (first.empty()) first = memory(model);
    BOOST_TEST((memory(model) == first));

    // The logits are those of the stored head.
    ModelInputs inputs;
    inputs.input_ids = HostMatrix<TokenId>(1, 3);
    for (index_t i = 0; i < 3; ++i) inputs.input_ids(0, i) = static_cast<TokenId>(7 + i);
    inputs.attention_mask = HostMatrix<std::uint8_t>(1, 3);
    std::ranges::fill(inputs.attention_mask.span(), std::uint8_t{1});
    const ModelOutput output = model.forward(inputs);
    const index_t hidden = output.last_hidden_state.extent(2);
    for (index_t v = 0; v < Model::vocab_size; v += 13) {
      double wanted = 0.0;
      for (index_t k = 0; k < hidden; ++k)
        wanted += static_cast<double>(output.last_hidden_state(0, 2, k)) *
                  static_cast<double>(values[static_cast<std::size_t>(v * hidden + k)]);
      BOOST_TEST(std::abs(static_cast<double>(output.logits(0, 2, v)) - wanted) < 1e-4);
    }
  }
}

// The same type runs a checkpoint whose config is not tied.
BOOST_AUTO_TEST_CASE(a_config_that_is_not_tied) {
  Changed changed([&](std::vector<StoredTensor>& tensors) {
    tensors.push_back(tensor_of(tensors, embed_tokens));
    tensors.back().name = head;
  });
  nlohmann::json config = read_json_file(original / "config.json");
  config["tie_word_embeddings"] = false;
  changed.folder.write("config.json", config.dump());
  Model model = changed.load();
  BOOST_TEST(model.has_own_head());
  BOOST_TEST(changed.warnings.empty());
  std::vector<std::byte> wanted = loaded_original();
  std::vector<std::byte> found = memory(model);
  BOOST_TEST(found.size() > wanted.size());
  found.resize(wanted.size());  // the head comes last
  BOOST_TEST((found == wanted));

  fs::copy_file(original / "model.safetensors", changed.folder / "model.safetensors",
                fs::copy_options::overwrite_existing);
  CHECK_FAILS(changed.load(), "stores no lm_head.weight: it is a save of the model without its head");
}

BOOST_AUTO_TEST_CASE(a_head_of_another_shape) {
  const std::vector<float> values(64);
  Changed changed([&](std::vector<StoredTensor>& tensors) {
    tensors.push_back({head, DType::f32, {1, 64}, std::as_bytes(std::span(values))});
  });
  CHECK_FAILS(changed.load(), "wrong: lm_head.weight is [1, 64], wanted [320, 64]");
}

BOOST_AUTO_TEST_CASE(wrong_folders) {
  Cpu cpu(1);
  const TemporaryFolder folder;
  CHECK_FAILS(Model::from_pretrained(folder.path(), cpu), "holds no config.json; give a checkpoint folder");
  CHECK_FAILS(Model::from_pretrained(original / "config.json", cpu),
              "is not a folder but a file of one; give the folder");
  CHECK_FAILS(Model::from_pretrained("Qwen/Qwen3-VL-2B-Instruct", cpu), "hf download Qwen/Qwen3-VL-2B-Instruct");
}

// A quantised checkpoint: no warning, another packed cache if its settings change, and plain weights when it is saved.
BOOST_AUTO_TEST_CASE(quantised_weights) {
  const fs::path quantised = original.parent_path() / "dense_small_w4a16";
  const TemporaryFolder folder;
  Cpu cpu(2);
  const auto load = [&](const fs::path& from) {
    return Model::from_pretrained(
        from, cpu, {.packed_cache = folder / "packed", .warn = [](const std::string& text) { BOOST_ERROR(text); }});
  };
  fs::copy(quantised, folder / "copy");
  Model model = load(folder / "copy");
  const std::vector<std::byte> weights = memory(model);
  BOOST_TEST((weights != loaded_original()));
  Model cached = load(folder / "copy");
  BOOST_TEST((memory(cached) == weights));
  nlohmann::json config = read_json_file(quantised / "config.json");
  config["quantization_config"]["config_groups"]["group_0"]["weights"]["group_size"] = 64;
  folder.write("copy/config.json", config.dump());
  CHECK_FAILS(load(folder / "copy"), "weight_scale is F32 [");
  config["quantization_config"]["quant_method"] = "hqq";
  folder.write("copy/config.json", config.dump());
  CHECK_FAILS(load(folder / "copy"), "quantization_config.quant_method is 'hqq', which is not read");

  model.save_pretrained(folder / "saved");
  const nlohmann::json saved = read_json_file(folder / "saved/config.json");
  BOOST_TEST(saved.dump().find("quant") == std::string::npos);
  Model again = load(folder / "saved");
  BOOST_TEST((memory(again) == weights));
}

// A head and an embedding are compared by their values, whatever forms they are stored in; other types than floats are
// never taken for them.
BOOST_AUTO_TEST_CASE(a_tied_pair_in_two_forms) {
  const std::vector<float> values = {1, 2, 3, 4, 5, 6}, others = {1, 2, 3, 4, 5, 7};
  const std::vector<std::int8_t> integers = {1, 2, 3, 4, 5, 6};
  const auto plain = [](const char* name, DType dtype, std::span<const std::byte> bytes) {
    return StoredTensor{.name = name, .dtype = dtype, .shape = {2, 3}, .bytes = bytes};
  };
  const auto floats = [&](const char* name, const std::vector<float>& from) {
    return plain(name, DType::f32, std::as_bytes(std::span(from)));
  };
  const auto encoded = [&](const std::vector<float>& from) {
    StoredTensor tensor = plain("head", DType::f32, {});
    tensor.encoded = rows_of(floats("head", from));
    return tensor;
  };
  const auto parts = [](StoredTensor head, StoredTensor embedding) {
    Checkpoint checkpoint("a test");
    checkpoint.put(std::move(head));
    checkpoint.put(std::move(embedding));
    return CheckpointSource(checkpoint).tie("head", "embedding");
  };
  BOOST_TEST(!parts(encoded(values), floats("embedding", values)));
  BOOST_TEST(!parts(floats("head", values), floats("embedding", values)));
  BOOST_TEST(parts(encoded(values), floats("embedding", others)));
  BOOST_TEST(parts(floats("head", others), floats("embedding", values)));
  BOOST_TEST(parts(encoded(values), plain("embedding", DType::i8, std::as_bytes(std::span(integers)))));
}

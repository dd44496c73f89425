// What save_pretrained writes is what from_pretrained reads: weights bit for bit, config, generation config.
// save_pretrained.py compares with transformers.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE save_pretrained
#include "qwen3vl/loading/save_pretrained.hpp"

#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "qwen3vl/loading/pretrained.hpp"
#include "qwen3vl/variants/golden-dense_small_model.hpp"
#include "qwen3vl/variants/golden-dense_wide_model.hpp"
#include "qwen3vl/variants/golden-moe_small_model.hpp"
#include "support/check_fails.hpp"
#include "support/model_memory.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
using qwen3vl::test::memory;
using qwen3vl::test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

template <class V, class P>
using Model = ForConditionalGeneration<V, Cpu, P>;
using Dense = Model<variants::golden_dense_small, F32>;
using Wide = Model<variants::golden_dense_wide, Bf16>;
using Moe = Model<variants::golden_moe_small, F32>;

const fs::path models = fs::path(QWEN3VL_TEST_DATA) / "golden" / "models";

void no_warning(const std::string& text) { BOOST_ERROR("warning: " << text); }

template <class M>
M load(const fs::path& folder, Cpu& cpu) {
  return M::from_pretrained(folder, cpu, {.warn = no_warning});
}

/// Saves, loads and compares; returns the names of the weight files.
template <class M>
std::vector<std::string> round_trip(const char* name, const fs::path& folder, const SaveOptions& options = {}) {
  Cpu cpu(2);
  M model = load<M>(models / name, cpu);
  model.save_pretrained(folder, options);
  M again = load<M>(folder, cpu);
  BOOST_TEST((memory(again) == memory(model)), name);

  // The stored tensors are the original's, in name, shape and value (experts in the other layout).
  const Checkpoint before = Checkpoint::open(models / name), after = Checkpoint::open(folder);
  BOOST_TEST(before.names() == after.names(), boost::test_tools::per_element());
  for (const std::string& tensor : before.names()) {
    const StoredTensor &a = *before.find(tensor), &b = *after.find(tensor);
    BOOST_TEST((a.dtype == b.dtype), tensor);
    if (tensor.find(".experts.") != std::string::npos) continue;
    BOOST_TEST(a.shape == b.shape, boost::test_tools::per_element());
    BOOST_TEST(std::ranges::equal(a.bytes, b.bytes), tensor);
  }
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().filename().string().find("safetensors") != std::string::npos)
      files.push_back(entry.path().filename().string());
  std::ranges::sort(files);
  return files;
}

}  // namespace

BOOST_AUTO_TEST_CASE(one_file_and_shards) {
  const TemporaryFolder folder;
  BOOST_TEST(round_trip<Dense>("dense_small", folder / "dense") == std::vector<std::string>{"model.safetensors"},
             boost::test_tools::per_element());
  BOOST_TEST(round_trip<Moe>("moe_small", folder / "moe") == std::vector<std::string>{"model.safetensors"},
             boost::test_tools::per_element());
  // A save over an earlier one leaves nothing of it that would be read.
  for (const std::uint64_t size : {600'000, 300'000, 50'000'000}) {
    const std::vector<std::string> files = round_trip<Wide>("dense_wide", folder / "wide", {.max_shard_size = size});
    if (size == 50'000'000) {
      BOOST_TEST(files == std::vector<std::string>{"model.safetensors"}, boost::test_tools::per_element());
      continue;
    }
    BOOST_TEST(files.size() == (size == 600'000 ? 3u : 6u));
    BOOST_TEST(files[0] == concat("model-00001-of-0000", files.size() - 1, ".safetensors"));
    BOOST_TEST(files.back() == "model.safetensors.index.json");
    for (const std::string& file : files) {
      if (!file.ends_with(".safetensors")) continue;
      const SafetensorsFile shard = SafetensorsFile::open(folder / "wide" / file);
      std::uint64_t bytes = 0;
      for (const StoredTensor& tensor : shard.tensors()) bytes += tensor.bytes.size();
      BOOST_TEST(bytes <= size);
      BOOST_TEST(shard.metadata().at("format") == "pt");
    }
    const nlohmann::json index = read_json_file(folder / "wide" / files.back());
    BOOST_TEST(index["metadata"]["total_size"] == Checkpoint::open(folder / "wide").total_bytes());
    BOOST_TEST(index["weight_map"].size() == Checkpoint::open(folder / "wide").names().size());
  }
  // A tensor larger than the limit has a file of its own.
  const auto files = round_trip<Moe>("moe_small", folder / "moe", {.max_shard_size = 50'000});
  BOOST_TEST(files.size() > 20u);
}

BOOST_AUTO_TEST_CASE(configs) {
  const TemporaryFolder folder;
  Cpu cpu(1);
  for (const char* const config : {"config.json", "config.rope_linear.json", "config.rope_dynamic.json",
                                   "config.rope_yarn.json", "config.rope_longrope.json", "config.rope_llama3.json"}) {
    const CheckpointConfig read = read_config(models / "dense_small" / config);
    const nlohmann::json written = config_to_json(read, "float32");
    const CheckpointConfig again = config_from_json(written, "written", no_warning);
    BOOST_TEST((again.model == read.model), config);
    BOOST_TEST(config_to_json(again, "float32") == written, config);
    BOOST_TEST(again.runtime.rope.rope_type == read.runtime.rope.rope_type, config);
    BOOST_TEST(rotary_frequencies(again.runtime.rope, 32, again.runtime.max_position_embeddings, 5000).inv_freq ==
                   rotary_frequencies(read.runtime.rope, 32, read.runtime.max_position_embeddings, 5000).inv_freq,
               boost::test_tools::per_element());
  }
  Moe model = load<Moe>(models / "moe_small", cpu);
  model.save_pretrained(folder.path());
  const nlohmann::json config = read_json_file(folder / "config.json");
  BOOST_TEST(config["dtype"] == "float32");
  BOOST_TEST(config["architectures"] == nlohmann::json({"Qwen3VLMoeForConditionalGeneration"}));
  BOOST_TEST(config["text_config"]["num_local_experts"] == 8);
  BOOST_TEST(config["text_config"]["rms_norm_eps"].dump() == "1e-06");
  BOOST_TEST((read_config(folder / "config.json").model == read_config(models / "moe_small" / "config.json").model));
  const nlohmann::json generation = read_json_file(folder / "generation_config.json");
  nlohmann::json original = read_json_file(models / "moe_small" / "generation_config.json");
  for (const char* const name : {"do_sample", "temperature", "top_p", "top_k", "eos_token_id", "pad_token_id"})
    BOOST_TEST(generation[name].dump() == original[name].dump(), name);

  // What override_config and set_generation_config changed is saved.
  Dense changed = Dense::from_pretrained(
      models / "dense_small", cpu, {.override_config = [](RuntimeConfig& runtime) {
        runtime.rope = {.rope_type = "linear", .rope_theta = 123.0, .factor = 4.0, .has_factor = true};
      }});
  changed.set_generation_config({.max_new_tokens = 7, .early_stopping = EarlyStopping::never, .seed = 3});
  changed.save_pretrained(folder.path());
  const Dense again = load<Dense>(folder.path(), cpu);
  BOOST_TEST(again.config().rope.rope_type == "linear");
  BOOST_TEST(again.config().rope.factor == 4.0);
  BOOST_TEST(*again.generation_config().max_new_tokens == 7);
  BOOST_TEST((again.generation_config().early_stopping == EarlyStopping::never));
}

// Both matrices of a model whose config is tied.
BOOST_AUTO_TEST_CASE(a_head_of_its_own) {
  const TemporaryFolder folder;
  Cpu cpu(1);
  Dense model(cpu, read_config(models / "dense_small" / "config.json").runtime);
  model.untie_head();
  CHECK_FAILS(model.save_pretrained(folder.path()),
              "cannot save model.visual.patch_embed.proj.weight: the model has no");
  const Checkpoint checkpoint = Checkpoint::open(models / "dense_small");
  struct WithHead : CheckpointSource {
    using CheckpointSource::CheckpointSource;
    std::optional<RawTensor> find(const Part& part) const {
      return CheckpointSource::find(part.name == "lm_head.weight" ? Part("model.language_model.embed_tokens.weight")
                                                                  : part);
    }
  };
  model.load(WithHead(checkpoint), "a test");
  model.save_pretrained(folder.path());
  BOOST_TEST(read_json_file(folder / "config.json")["tie_word_embeddings"] == false);
  Dense again = load<Dense>(folder.path(), cpu);
  BOOST_TEST(again.has_own_head());
  BOOST_TEST((memory(again) == memory(model)));
}

// Norms that bf16 cannot hold stay float32.
BOOST_AUTO_TEST_CASE(nothing_is_rounded) {
  const TemporaryFolder folder;
  Cpu cpu(1);
  Wide model = load<Wide>(models / "dense_wide", cpu);
  const std::string name = "model.language_model.norm.weight";
  std::vector<float> values(64, 1.00001f);
  model.parameters([&](auto& parameter, const Parts& parts) {
    if constexpr (requires { parameter.view().span(); })
      if (parts.front().name == name) std::ranges::copy(values, parameter.view().data());
  });
  model.save_pretrained(folder.path());
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  BOOST_TEST((checkpoint.find(name)->dtype == DType::f32));
  BOOST_TEST((checkpoint.find("model.language_model.layers.0.input_layernorm.weight")->dtype == DType::bf16));
  Wide again = load<Wide>(folder.path(), cpu);
  BOOST_TEST((memory(again) == memory(model)));
}

BOOST_AUTO_TEST_CASE(what_cannot_be_saved) {
  const TemporaryFolder folder;
  Cpu cpu(1);
  Dense model = load<Dense>(models / "dense_small", cpu);
  CHECK_FAILS(model.save_pretrained(folder.path(), {.max_shard_size = 0}), "max_shard_size is 0");
  CHECK_FAILS(model.save_pretrained(folder.write("file", "")), "it is not a folder and none can be made");
  const auto store = [&]<class W>(W) {
    const CpuMatrix<W, 32, 256, Packing::plain> matrix;
    Context<Cpu> ctx(cpu);
    detail::store_parameter(ctx, matrix, Parts{"some.weight"}, DType::f32, [](const auto&...) {});
  };
  CHECK_FAILS(store(q8{}),
              "some.weight is held as q8, rounded when it was loaded; save a model whose precision is F32");
  CHECK_FAILS(store(q4{}), "some.weight is held as q4");
}

// Run by save_pretrained.py: `save_pretrained_test --run_test=for_transformers -- FOLDER` saves all models there.
BOOST_AUTO_TEST_CASE(for_transformers, *boost::unit_test::disabled()) {
  const auto& suite = boost::unit_test::framework::master_test_suite();
  BOOST_REQUIRE_MESSAGE(suite.argc == 2, "give a folder behind --");
  const fs::path folder = suite.argv[1];
  round_trip<Dense>("dense_small", folder / "dense_small");
  round_trip<Wide>("dense_wide", folder / "dense_wide", {.max_shard_size = 300'000});
  round_trip<Moe>("moe_small", folder / "moe_small", {.max_shard_size = 500'000});
}

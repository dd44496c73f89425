// What save_pretrained writes is what from_pretrained reads: weights bit for bit, config, generation config.
// save_pretrained.py compares with transformers.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE save_pretrained
#include "qwen3vl/loading/save_pretrained.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "qwen3vl/base/random_stream.hpp"
#include "qwen3vl/loading/pretrained.hpp"
#include "qwen3vl/variants/golden-dense_small_model.hpp"
#include "qwen3vl/variants/golden-dense_wide_model.hpp"
#include "qwen3vl/variants/golden-moe_small_model.hpp"
#include "support/check_fails.hpp"
#include "support/model_memory.hpp"
#include "support/random_blocks.hpp"
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
}

// Weights that were rounded to blocks are saved as what products use: float32, which holds them exactly.
BOOST_AUTO_TEST_CASE(rounded_weights) {
  constexpr index_t rows = 40, columns = 328;
  Cpu cpu(1);
  Context<Cpu> ctx(cpu);
  const RandomStream random(1, "weights", 0.05f);
  std::vector<float> values(rows * columns);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = random(i);
  const auto check = [&]<class W>(W, float tolerance) {
    CpuMatrix<W, rows, columns, Packing::plain> matrix;
    matrix.allocate();
    const index_t shape[] = {rows, columns};
    matrix.load_rows(ctx, 0, {.dtype = DType::f32, .data = std::as_bytes(std::span(values)).data(), .shape = shape});
    std::vector<float> saved(values.size());
    detail::store_parameter(ctx, matrix, Parts{Part("w", rows, {rows, columns})}, DType::f32,
                            [&](const TensorInfo& info, const auto& write) {
                              BOOST_TEST((info.dtype == DType::f32));
                              write([&](std::size_t at, std::span<const std::byte> bytes) {
                                std::ranges::copy(bytes, std::as_writable_bytes(std::span(saved)).data() + at);
                              });
                            });
    std::vector<float> row(columns);
    for (index_t r = 0; r < rows; ++r) {
      matrix.read_row(r, row.data());
      BOOST_TEST(std::ranges::equal(row, std::span(saved).subspan(static_cast<std::size_t>(r * columns), columns)));
    }
    float worst = 0.0f;
    for (std::size_t i = 0; i < values.size(); ++i) worst = std::max(worst, std::abs(saved[i] - values[i]));
    BOOST_TEST(worst > 0.0f);
    BOOST_TEST(worst < tolerance);
  };
  check(q8{}, 0.002f);
  check(q4{}, 0.03f);
}

// Weights that are kept as a file has them are saved as the numbers that the file defines.
BOOST_AUTO_TEST_CASE(stored_weights_are_saved_as_their_numbers) {
  constexpr index_t rows = 40, columns = 64;
  const RandomBlocks blocks(rows, columns, {.form = BlockForm::nibbles, .group = 32});
  const index_t shape[] = {rows, columns};
  const RawTensor raw{.shape = shape, .encoded = &blocks};
  Cpu cpu(1);
  Context<Cpu> ctx(cpu);
  CpuMatrix<stored, rows, columns, Packing::plain> matrix;
  matrix.expect_rows(0, raw);
  matrix.allocate();
  matrix.load_rows(ctx, 0, raw);
  std::vector<float> wanted(static_cast<std::size_t>(rows * columns)), saved(wanted.size());
  blocks.read(0, rows, wanted.data());
  detail::store_parameter(ctx, matrix, Parts{Part("w", rows, {rows, columns})}, DType::f32,
                          [&](const TensorInfo& info, const auto& write) {
                            BOOST_TEST((info.dtype == DType::f32));
                            write([&](std::size_t at, std::span<const std::byte> bytes) {
                              std::ranges::copy(bytes, std::as_writable_bytes(std::span(saved)).data() + at);
                            });
                          });
  BOOST_TEST((saved == wanted));
}

namespace {

/// The largest difference from the expected logits, relative to the largest of those (tests/golden/README.md).
template <class M>
float worst_logit(M& model, const fs::path& adapters, const fs::path& expected_file) {
  const SafetensorsFile prompt = SafetensorsFile::open(adapters / "prompt.safetensors");
  const SafetensorsFile expected = SafetensorsFile::open(expected_file);
  ModelInputs inputs;
  std::vector<std::int64_t> ids(static_cast<std::size_t>(prompt.find("input_ids")->size())), grid(3);
  read_int64s(*prompt.find("input_ids"), ids);
  read_int64s(*prompt.find("image_grid_thw"), grid);
  inputs.input_ids = HostMatrix<TokenId>(1, static_cast<index_t>(ids.size()));
  std::ranges::transform(ids, inputs.input_ids.data(), [](std::int64_t id) { return static_cast<TokenId>(id); });
  inputs.pixel_values = to_tensor<float, dynamic, dynamic>(*prompt.find("pixel_values"));
  inputs.image_grid_thw = {{grid[0], grid[1], grid[2]}};
  const ModelOutput output = model.forward(inputs, {.logits_to_keep = 1});
  const auto logits = to_tensor<float, dynamic>(*expected.find("logits"));
  float worst = 0.0f, largest = 0.0f;
  for (index_t v = 0; v < logits.size(); ++v) {
    worst = std::max(worst, std::abs(logits(v) - output.logits(0, 0, v)));
    largest = std::max(largest, std::abs(logits(v)));
  }
  return worst / largest;
}

template <class M>
M with_adapters(const char* model, std::vector<AdapterFolder> adapters, Cpu& cpu) {
  std::vector<std::string> notes;
  M loaded = M::from_pretrained(
      models / model, cpu,
      {.adapters = adapters, .warn = {}, .note = [&](const std::string& text) { notes.push_back(text); }});
  BOOST_TEST(notes.size() == adapters.size());
  return loaded;
}

const fs::path golden_adapters = fs::path(QWEN3VL_TEST_DATA) / "golden" / "adapters";

}  // namespace

// Logits of the model with adapters are PEFT's, also of one that was saved with them.
BOOST_AUTO_TEST_CASE(adapters) {
  Cpu cpu(2);
  const auto check = [&]<class M>(const char* name) {
    const fs::path folder = golden_adapters / name;
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (!entry.is_directory()) continue;
      M model = with_adapters<M>(name, {{.folder = entry.path()}}, cpu);
      const fs::path expected = entry.path() / "expected.safetensors";
      BOOST_TEST(worst_logit(model, folder, expected) < 1e-4f, entry.path());
      M base = load<M>(models / name, cpu);
      BOOST_TEST(worst_logit(base, folder, expected) > 1e-2f, entry.path());
    }
    std::vector<AdapterFolder> several;
    const nlohmann::json list = read_json_file(golden_adapters / "several.json")[name];
    BOOST_TEST(list.size() > 1u);
    for (const auto& adapter : list)
      several.push_back({.folder = folder / adapter[0].get<std::string>(), .scale = adapter[1].get<float>()});
    M model = with_adapters<M>(name, several, cpu);
    BOOST_TEST(worst_logit(model, folder, folder / "several.safetensors") < 1e-4f, name);
    const TemporaryFolder saved;
    model.save_pretrained(saved.path());
    M again = load<M>(saved.path(), cpu);
    BOOST_TEST((memory(again) == memory(model)));
  };
  check.operator()<Dense>("dense_small");
  check.operator()<Moe>("moe_small");
}

BOOST_AUTO_TEST_CASE(packed_with_adapters) {
  const TemporaryFolder cache;
  Cpu cpu(1);
  const auto loaded = [&](std::vector<AdapterFolder> adapters, const fs::path& packed) {
    Dense model = Dense::from_pretrained(models / "dense_small", cpu,
                                         {.adapters = std::move(adapters), .packed_cache = packed, .warn = no_warning});
    return memory(model);
  };
  const fs::path lora = golden_adapters / "dense_small" / "lora";
  std::vector<std::vector<std::byte>> found;
  for (const std::vector<AdapterFolder>& adapters : {std::vector<AdapterFolder>{},
                                                     {{.folder = lora}},
                                                     {{.folder = lora, .scale = 0.5f}},
                                                     {{.folder = lora}, {.folder = lora}}}) {
    found.push_back(loaded(adapters, {}));
    BOOST_TEST((loaded(adapters, cache.path()) == found.back()));
    BOOST_TEST((loaded(adapters, cache.path()) == found.back()));
    for (std::size_t i = 0; i + 1 < found.size(); ++i) BOOST_TEST((found[i] != found.back()));
  }
  BOOST_TEST(std::distance(fs::directory_iterator(cache.path()), {}) == 4);
}

BOOST_AUTO_TEST_CASE(adapters_by_name_and_scale) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "a=2");
  const std::string whole = (folder / "a=2").string();
  BOOST_TEST(adapter_of(whole).folder == whole);
  BOOST_TEST(adapter_of(whole + "=-0.5").folder == whole);
  BOOST_TEST(adapter_of(whole + "=-0.5").scale == -0.5f);
  BOOST_TEST(adapter_of("b").scale == 1.0f);
  for (const char* const wrong : {"b=", "b=x", "b=1x", "b=inf", "b=nan", "b=1e99"})
    CHECK_FAILS(adapter_of(wrong), "the scale of the adapter b=");
}

// Run by save_pretrained.py: `save_pretrained_test --run_test=for_transformers -- FOLDER` saves all models there.
BOOST_AUTO_TEST_CASE(for_transformers, *boost::unit_test::disabled()) {
  const auto& suite = boost::unit_test::framework::master_test_suite();
  BOOST_REQUIRE_MESSAGE(suite.argc == 2, "give a folder behind --");
  const fs::path folder = suite.argv[1];
  round_trip<Dense>("dense_small", folder / "dense_small");
  round_trip<Wide>("dense_wide", folder / "dense_wide", {.max_shard_size = 300'000});
  round_trip<Moe>("moe_small", folder / "moe_small", {.max_shard_size = 500'000});
  Cpu cpu(1);
  with_adapters<Dense>("dense_small", {{.folder = golden_adapters / "dense_small" / "saved"}}, cpu)
      .save_pretrained(folder / "adapters" / "dense_small" / "saved");
  with_adapters<Moe>("moe_small", {{.folder = golden_adapters / "moe_small" / "experts"}}, cpu)
      .save_pretrained(folder / "adapters" / "moe_small" / "experts");
}

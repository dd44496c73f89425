// Checkpoints in GGUF files: what they stand for equals the folder that they were converted from, and what does not
// fit together is an error that says so. Their weights are compared by running them (tests/parity).
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE processing_gguf
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "qwen3vl/config/config_json.hpp"
#include "qwen3vl/config/generation_config_json.hpp"
#include "qwen3vl/io/checkpoint/checkpoint_files.hpp"
#include "qwen3vl/processing/processor.hpp"
#include "support/check_fails.hpp"
#include "support/gguf_writer.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
namespace fs = std::filesystem;

namespace {

const fs::path golden = QWEN3VL_TEST_DATA "/golden", files = golden / "gguf";
const fs::path dense = files / "dense_small-Q4_K_M-00001-of-00002.gguf", moe = files / "moe_small-F16.gguf",
               ollama = files / "sha256-moe_small", shapes = QWEN3VL_EXAMPLE_ASSETS "/tiny-shapes";

CheckpointConfig config_of(const CheckpointFiles& checkpoint) {
  return config_from_json(checkpoint.needed_json("config.json"), checkpoint.place_of("config.json"));
}

// moe_small with changed metadata; its tensors are all plain.
struct Changed {
  test::TemporaryFolder folder;
  test::GgufWriter text{GgufFile::open(moe)}, tower{GgufFile::open(files / "mmproj-moe_small-F16.gguf")};
  GgufFile text_file = GgufFile::open(moe), tower_file = GgufFile::open(files / "mmproj-moe_small-F16.gguf");

  template <class Change>
  explicit Changed(const Change& change) {
    change(*this);
  }

  fs::path path() const {
    test::GgufWriter whole_text = text, whole_tower = tower;
    for (const StoredTensor& tensor : text_file.tensors()) whole_text.add(tensor);
    for (const StoredTensor& tensor : tower_file.tensors()) whole_tower.add(tensor);
    whole_tower.write(folder / "mmproj-model-f16.gguf");
    return whole_text.write(folder / "model.gguf");
  }
};

}  // namespace

BOOST_AUTO_TEST_CASE(configs_equal_those_of_the_folders) {
  for (const auto& [file, model] :
       {std::pair(dense, "dense_small"), std::pair(moe, "moe_small"), std::pair(ollama, "moe_small")}) {
    BOOST_TEST_CONTEXT(file) {
      const CheckpointConfig found = config_of(file), wanted = read_config(golden / "models" / model / "config.json");
      BOOST_TEST((found.model == wanted.model));
      BOOST_TEST(found.runtime.rope.rope_theta == wanted.runtime.rope.rope_theta);
      BOOST_TEST(found.runtime.rope.rope_type == wanted.runtime.rope.rope_type);
      BOOST_TEST(found.runtime.rms_norm_eps == wanted.runtime.rms_norm_eps);
      BOOST_TEST(found.runtime.max_position_embeddings == wanted.runtime.max_position_embeddings);
      BOOST_TEST(found.runtime.tokens.image_token_id == wanted.runtime.tokens.image_token_id);
      BOOST_TEST(found.runtime.tokens.video_token_id == wanted.runtime.tokens.video_token_id);
      BOOST_TEST(found.runtime.tokens.vision_start_token_id == wanted.runtime.tokens.vision_start_token_id);
      BOOST_TEST(found.runtime.tokens.vision_end_token_id == wanted.runtime.tokens.vision_end_token_id);
      BOOST_TEST((found.runtime.eos_token_id == wanted.runtime.eos_token_id));
    }
  }
}

BOOST_AUTO_TEST_CASE(generation_settings) {
  const CheckpointFiles checkpoint(dense);
  const GenerationConfig found =
      generation_config_from_json(checkpoint.needed_json("generation_config.json"), "the file");
  const GenerationConfig wanted = read_generation_config(golden / "models" / "dense_small");
  BOOST_TEST(found.do_sample == wanted.do_sample);
  BOOST_TEST(found.temperature == wanted.temperature);
  BOOST_TEST(found.top_k == wanted.top_k);
  BOOST_TEST(found.top_p == wanted.top_p);
  BOOST_TEST((found.eos_token_id == std::vector<TokenId>{301, 300}));  // as released: the ends of a message and a text
  const CheckpointFiles other(ollama);
  BOOST_TEST((generation_config_from_json(other.needed_json("generation_config.json"), "the file").eos_token_id ==
              std::vector<TokenId>{257, 256}));
}

BOOST_AUTO_TEST_CASE(tokenizer_equals_that_of_the_folder) {
  const GgufFile file = GgufFile::open(files / "tiny-shapes-vocab.gguf");
  const Tokenizer found(tokenizer_of_gguf(file), TokenizerSettings()), wanted = Tokenizer::from_pretrained(shapes);
  BOOST_TEST(found.vocab_size() == wanted.vocab_size());
  for (TokenId id = 0; id < 704; ++id) {
    BOOST_REQUIRE(found.id_to_token(id) == wanted.id_to_token(id));
    BOOST_REQUIRE(found.contains(id) == wanted.contains(id));
    BOOST_TEST(found.is_special(id) == wanted.is_special(id), "token " << id);
    if (found.contains(id)) BOOST_REQUIRE(found.token_bytes(id) == wanted.token_bytes(id));
  }
  for (std::size_t i = 0; i < wanted.added_tokens().size(); ++i) {
    const AddedToken &a = found.added_tokens()[i], &b = wanted.added_tokens()[i];
    BOOST_TEST((a.content == b.content && a.id == b.id && a.lstrip == b.lstrip && a.rstrip == b.rstrip &&
                a.normalized == b.normalized && a.single_word == b.single_word));
  }
  for (const char* const text : {"A large green star on the right.",
                                 "<|im_start|>user\n12345 e\u0301\u00e9 <think>x</think>  \n\n", "don'T", "\xff"})
    BOOST_TEST((found.encode(text) == wanted.encode(text)), text);
}

BOOST_AUTO_TEST_CASE(processors) {
  const Processor processor = Processor::from_pretrained(dense);
  BOOST_TEST(processor.pad_token_id() == 300);
  BOOST_TEST(processor.tokenizer().eos_token_id().value() == 301);
  BOOST_TEST(processor.image_processor().options().shortest_edge == 65536);
  BOOST_TEST(processor.image_processor().options().longest_edge == 16777216);
  BOOST_TEST(processor.video_processor().options().longest_edge == 25165824);
  BOOST_TEST(processor.render_chat_template({user("hi")}) == "<|im_start|>hi<|im_end|>");
  // Ollama's files have the folder's budget; this one has no template.
  const Processor other = Processor::from_pretrained(ollama);
  const ImageProcessor wanted = ImageProcessor::from_pretrained(golden / "models" / "moe_small");
  BOOST_TEST(other.image_processor().options().shortest_edge == wanted.options().shortest_edge);
  BOOST_TEST(other.image_processor().options().longest_edge == wanted.options().longest_edge);
  BOOST_TEST(other.image_processor().options().patch_size == 8);
  BOOST_TEST(other.tokenizer().vocab_size() == 262u);  // without Ollama's [PAD0] and so on
  BOOST_TEST(other.chat_template().source() == ChatTemplate::instruct().source());
}

BOOST_AUTO_TEST_CASE(a_saved_processor_is_a_folder_again) {
  const test::TemporaryFolder folder;
  const Processor before = Processor::from_pretrained(dense);
  before.save_pretrained(folder.path());
  const Processor after = Processor::from_pretrained(folder.path());
  BOOST_TEST(after.tokenizer().vocab_size() == before.tokenizer().vocab_size());
  BOOST_TEST((after.tokenizer().encode("a bad cab <|im_end|>") == before.tokenizer().encode("a bad cab <|im_end|>")));
  BOOST_TEST(after.chat_template().source() == before.chat_template().source());
  BOOST_TEST(after.image_processor().options().longest_edge == 16777216);
}

BOOST_AUTO_TEST_CASE(statistics_of_clip_are_not_believed) {
  Changed changed([](Changed& c) {
    c.tower.set("clip.vision.image_mean", std::vector<float>{0.48145466f, 0.4578275f, 0.40821073f});
    c.tower.set("clip.vision.image_std", std::vector<float>{0.26862954f, 0.26130258f, 0.27577711f});
  });
  std::vector<std::string> warnings;
  const Processor processor = Processor::from_pretrained(changed.path(), std::nullopt,
                                                         [&](const std::string& text) { warnings.push_back(text); });
  BOOST_TEST((processor.image_processor().options().image_mean == std::vector<double>{0.5, 0.5, 0.5}));
  BOOST_TEST((processor.image_processor().options().image_std == std::vector<double>{0.5, 0.5, 0.5}));
  BOOST_REQUIRE(warnings.size() == 1u);
  BOOST_TEST(warnings[0].find("are those of CLIP") != std::string::npos, warnings[0]);
  // Any other numbers are the model's own.
  changed.tower.set("clip.vision.image_mean", std::vector<float>{0.1f, 0.2f, 0.3f});
  BOOST_TEST((Processor::from_pretrained(changed.path()).image_processor().options().image_mean ==
              std::vector<double>{0.1, 0.2, 0.3}));
}

BOOST_AUTO_TEST_CASE(the_vision_tower_beside_a_model) {
  const test::TemporaryFolder folder;
  const auto copy = [&](const fs::path& from, const char* to) { fs::copy_file(from, folder / to); };
  copy(moe, "Model-8B-Q4_K_M.gguf");
  CHECK_FAILS(CheckpointFiles(folder.path()), "no mmproj-*.gguf with its vision tower lies beside it; download that");
  copy(files / "mmproj-moe_small-F16.gguf", "mmproj.gguf");
  BOOST_TEST(CheckpointFiles(folder.path()).gguf()->tower->name() ==
             (folder / "mmproj.gguf").string());  // the only one
  copy(files / "mmproj-moe_small-F16.gguf", "mmproj-Model-8B-Q8_0.gguf");
  copy(files / "mmproj-moe_small-F16.gguf", "mmproj-Model-8B-F16.gguf");
  copy(files / "mmproj-moe_small-F16.gguf", "mmproj-Model-4B-BF16.gguf");
  const fs::path model = folder / "Model-8B-Q4_K_M.gguf";
  BOOST_TEST(CheckpointFiles(model).gguf()->tower->name() == (folder / "mmproj-Model-8B-F16.gguf").string());
  BOOST_TEST(CheckpointFiles(model, folder / "mmproj.gguf").gguf()->tower->name() == (folder / "mmproj.gguf").string());
  copy(files / "mmproj-moe_small-F16.gguf", "Model-8B-mmproj-f16.gguf");
  CHECK_FAILS(CheckpointFiles{model}, "several vision towers lie beside");
  copy(moe, "Model-8B-Q8_0.gguf");
  CHECK_FAILS(CheckpointFiles(folder.path()),
              "holds several models: Model-8B-Q4_K_M.gguf, Model-8B-Q8_0.gguf; give one");
  CHECK_FAILS(CheckpointFiles(folder / "mmproj.gguf"), "mmproj.gguf is the vision tower of a model (mmproj); give");
  CHECK_FAILS(CheckpointFiles(moe, model), "is not a vision tower (mmproj): its general.architecture is 'qwen3vlmoe'");
  CHECK_FAILS(CheckpointFiles(ollama, folder / "mmproj.gguf"), "holds its vision tower itself; leave out");
  CHECK_FAILS(CheckpointFiles(shapes, folder / "mmproj.gguf"), "which is no GGUF file and has its own");
  CHECK_FAILS(config_of(CheckpointFiles(moe, files / "mmproj-dense_small-F16.gguf")),
              "is the vision tower of another model than");
  CHECK_FAILS(CheckpointFiles(files / "dense_small-Q4_K_M-00002-of-00002.gguf"), "give the first");
}

BOOST_AUTO_TEST_CASE(metadata_that_does_not_fit) {
  const auto fails = [](auto&& change, const std::string& wanted) {
    const Changed changed(change);
    const fs::path path = changed.path();
    CHECK_FAILS((config_of(path), Processor::from_pretrained(path), CheckpointFiles(path).weights()), wanted);
  };
  fails([](Changed& c) { c.text.set("general.architecture", "llama"); }, "of the architecture 'llama'; qwen3vl runs");
  fails([](Changed& c) { c.text.remove("general.architecture"); }, "has no general.architecture");
  fails([](Changed& c) { c.tower.set("clip.projector_type", "qwen2vl_merger"); },
        "is the vision tower of another model");
  fails([](Changed& c) { c.text.set("tokenizer.ggml.pre", "llama-bpe"); }, "only Qwen's, 'qwen2', is supported");
  fails([](Changed& c) { c.text.set("tokenizer.ggml.model", "llama"); }, "only Qwen's, 'gpt2', is supported");
  fails(
      [](Changed& c) {
        c.text.set("tokenizer.ggml.token_type", std::vector<std::int32_t>{1, 1});
      },
      "has 272 tokens, but tokenizer.ggml.token_type has 2 values");
  fails([](Changed& c) { c.text.set("tokenizer.ggml.token_type", std::vector<std::int32_t>(272, 6)); },
        "is of type 6, which a byte-level BPE does not have");
  fails([](Changed& c) { c.text.set("tokenizer.ggml.merges", std::vector<std::string>{"ab"}); },
        "tokenizer.ggml.merges[0] is \"ab\", not two tokens");
  fails([](Changed& c) { c.text.set("tokenizer.ggml.eos_token_id", 272u); }, "tokenizer.ggml.eos_token_id is 272");
  fails([](Changed& c) { c.text.set("qwen3vlmoe.block_count", 4000000000u); }, "qwen3vlmoe.block_count is 4000000000");
  fails([](Changed& c) { c.text.set("qwen3vlmoe.embedding_length", "48"); }, "qwen3vlmoe.embedding_length is STRING");
  fails([](Changed& c) { c.text.set("qwen3vlmoe.rope.scaling.type", "longrope"); }, "wanted none, linear or yarn");
  fails(
      [](Changed& c) {
        c.tower.set("clip.vision.is_deepstack_layers", std::vector<bool>{true, true, false});
      },
      "it has 2 DeepStack mergers, qwen3vlmoe.n_deepstack_layers is 3");
  fails([](Changed& c) { c.text.set("qwen3vlmoe.attention.head_count", 0u); }, "num_attention_heads");
  fails([](Changed& c) { c.tower.set("clip.vision.image_mean", std::vector<float>{}); }, "image_mean");
}

BOOST_AUTO_TEST_CASE(weights_have_the_names_and_shapes_of_the_folder) {
  for (const auto& [file, model] :
       {std::pair(dense, "dense_small"), std::pair(moe, "moe_small"), std::pair(ollama, "moe_small")}) {
    BOOST_TEST_CONTEXT(file) {
      const Checkpoint found = CheckpointFiles(file).weights(), wanted = Checkpoint::open(golden / "models" / model);
      BOOST_TEST((found.names() == wanted.names()));
      for (const std::string& name : wanted.names()) {
        const StoredTensor *const a = found.find(name), *const b = wanted.find(name);
        if (a == nullptr) continue;
        std::vector<index_t> shape = b->shape;
        if (name.find(".experts.") != std::string::npos) std::swap(shape[1], shape[2]);  // the Hub's layout
        BOOST_TEST((a->shape == shape), name);
      }
    }
  }
}

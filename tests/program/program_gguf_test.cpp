// The program on GGUF files: the tiny checkpoint as llama.cpp's converter writes it in BF16, so that nothing is
// rounded, answers as from its folder.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE program_gguf
#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

#include "qwen3vl/io/weights/checkpoint.hpp"
#include "support/gguf_writer.hpp"
#include "support/program_run.hpp"

using namespace qwen3vl::test;
using qwen3vl::GgufFile;

namespace {

const fs::path vocabulary = QWEN3VL_TEST_DATA "/golden/gguf/tiny-shapes-vocab.gguf";
// What its files do not say: the folder's pixel budgets and the length of answers.
const std::string of_folder = " --min-pixels 9216 --max-pixels 25600 --max-new-tokens 96 ";

// The text model in model.gguf, its tower in `tower`.
struct Converted {
  TemporaryFolder folder;
  Checkpoint model{dense.program, folder / "model.gguf"};

  explicit Converted(const std::string& tower) {
    const std::vector<int> deepstack{1, 2};
    const qwen3vl::Checkpoint original = qwen3vl::Checkpoint::open(dense.folder);
    GgufWriter text{GgufFile::open(vocabulary)}, vision;
    vision.set("general.architecture", "clip");
    vision.set("clip.projector_type", "qwen3vl_merger");
    vision.set("clip.vision.block_count", 4u);
    vision.set("clip.vision.embedding_length", 96u);
    vision.set("clip.vision.feed_forward_length", 384u);
    vision.set("clip.vision.attention.head_count", 3u);
    vision.set("clip.vision.patch_size", 16u);
    vision.set("clip.vision.spatial_merge_size", 2u);
    vision.set("clip.vision.is_deepstack_layers", std::vector<bool>{false, true, true, false});
    vision.set("clip.vision.image_mean", std::vector<float>{0.5f, 0.5f, 0.5f});
    vision.set("clip.vision.image_std", std::vector<float>{0.5f, 0.5f, 0.5f});
    std::vector<std::string> storage;
    add_tensors(text, original, false, storage, deepstack);
    add_tensors(vision, original, true, storage, deepstack);
    text.write(folder / "model.gguf");
    vision.write(folder / tower);
  }
};

}  // namespace

BOOST_AUTO_TEST_CASE(expected_token_ids) {
  const Converted converted("mmproj-model-BF16.gguf");
  std::size_t images = 0;
  for (const json& one : expected_cases(dense)) {
    const std::string messages = one.at("messages").dump();
    if (messages.find("\"video\"") != std::string::npos || images == 12) continue;
    images += messages.find("\"image\"") != std::string::npos;
    const std::string thinking = one.value("enable_thinking", false) ? "--thinking" : "";
    const std::vector<json> answers =
        json_lines(run(converted.model, "--messages - --json" + of_folder + thinking, messages));
    BOOST_REQUIRE(answers.size() == 1u);
    check_answer(answers.front(), one);
  }
  BOOST_TEST(images == 12u);
}

BOOST_AUTO_TEST_CASE(the_tower_is_given_or_found) {
  const Converted converted("tower.gguf");
  const std::string question = of_folder + "--prompt 'Describe this image.'" + image("01.png");
  check_error(run(converted.model, question), "no mmproj-*.gguf with its vision tower lies beside it");
  const std::string given = " --mmproj '" + (converted.folder / "tower.gguf").string() + "'";
  const Result answer = run(converted.model, question + given);
  BOOST_TEST(answer.out == "A large green star on the right and a small purple heart at the bottom.\n", answer.err);
  fs::rename(converted.folder / "tower.gguf", converted.folder / "mmproj.gguf");
  BOOST_TEST(run(converted.model, question).out == answer.out);
  check_error(run(converted.model, question + " --limit GgufLimits::max_tensors=3"), "(GgufLimits::max_tensors)");
  check_error(run(converted.model, question + " --limit GgufLimits::max_keys=3"), "(GgufLimits::max_keys)");
  // The folder that holds both; a blob's name says nothing.
  BOOST_TEST(run(Checkpoint{dense.program, converted.folder.path()}, question).out == answer.out);
  fs::rename(converted.folder / "model.gguf", converted.folder / "sha256-0123456789abcdef");
  BOOST_TEST(run(Checkpoint{dense.program, converted.folder / "sha256-0123456789abcdef"}, question).out == answer.out);
  check_error(run(Checkpoint{dense.program, converted.folder / "mmproj.gguf"}, question),
              "is the vision tower of a model");
  check_error(run(given + " --prompt x"), "which is no GGUF file and has its own");
}

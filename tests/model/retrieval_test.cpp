// ForEmbedding and ForReranker against the code published with Qwen3-VL-Embedding (tests/golden/make_embedding.py),
// what their checkpoints may lack, and their inputs as JSON.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE retrieval
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "qwen3vl/io/weights/write_safetensors.hpp"
#include "qwen3vl/loading/pretrained_retrieval.hpp"
#include "qwen3vl/processing/retrieval/retrieval_json.hpp"
#include "qwen3vl/variants/tiny_shapes_model.hpp"
#include "support/check_fails.hpp"
#include "support/reranker_tokenizer.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
using nlohmann::json;
using qwen3vl::test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

using Embedder = ForEmbedding<variants::TinyShapes, Cpu, Bf16>;
using Reranker = ForReranker<variants::TinyShapes, Cpu, Bf16>;

const fs::path assets = fs::path(QWEN3VL_EXAMPLE_ASSETS) / "tiny-shapes";
const ProcessorOptions of_cases{.media_directory = assets / "expected", .warn = {}};

/// tiny-shapes with "yes" and "no".
struct RerankerFolder : TemporaryFolder {
  RerankerFolder() {
    for (const auto& entry : fs::directory_iterator(assets))
      if (entry.is_regular_file()) fs::copy(entry.path(), path() / entry.path().filename());
    test::add_yes_and_no(path());
  }
};
const fs::path& reranker_folder() {
  static const RerankerFolder folder;
  return folder.path();
}

json golden(const std::string& name) {
  return json::parse(test::read_file(concat(QWEN3VL_TEST_DATA "/golden/cases/retrieval/", name, ".json")));
}

std::vector<std::vector<TokenId>> rows_of(const Prompts& prompts) {
  std::vector<std::vector<TokenId>> rows;
  for (index_t b = 0; b < prompts.batch_size(); ++b) {
    const auto row = prompts.row(b);
    rows.emplace_back(row.begin(), row.end());
  }
  return rows;
}

/// max |a - b| / max |b|, of one row.
double difference(std::span<const float> a, const json& b) {
  BOOST_REQUIRE(a.size() == b.size());
  double largest = 0.0, scale = 1e-30;
  for (std::size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(a[i]) - b[i].get<double>()));
    scale = std::max(scale, std::abs(b[i].get<double>()));
  }
  return largest / scale;
}

ProcessorOptions options_of(const json& one) {
  ProcessorOptions options = of_cases;
  if (one.contains("max_length")) options.max_length = one["max_length"].get<index_t>();
  return options;
}

EmbeddingInput input_of(const json& item) { return embedding_row_from_json(item.dump()).input; }

}  // namespace

BOOST_AUTO_TEST_CASE(embeddings_as_published) {
  const EmbeddingProcessor processor(Processor::from_pretrained(reranker_folder()));
  Cpu cpu(2);
  auto model = Embedder::from_pretrained(assets, cpu);
  const json cases = golden("embedding").at("cases");
  for (const json& one : cases) {
    BOOST_TEST_CONTEXT(one["name"].get<std::string>()) {
      std::vector<EmbeddingInput> inputs;
      for (const json& item : one["inputs"]) inputs.push_back(input_of(item));
      const Prompts prompts = processor.prompts(inputs, options_of(one));
      BOOST_TEST(json(rows_of(prompts)) == one["ids"]);
      const auto check_grids = [&](const char* name, const std::vector<GridThw>& grids) {
        json made = json::array();
        for (const GridThw& grid : grids) made.push_back({grid.t, grid.h, grid.w});
        BOOST_TEST(made == one.value(name, json::array()), name);
      };
      check_grids("image_grid_thw", prompts.media.image_grid_thw);
      check_grids("video_grid_thw", prompts.media.video_grid_thw);

      const HostMatrix<float> pooled = model(prompts, {.normalize = false});
      for (index_t b = 0; b < pooled.rows(); ++b) {
        const auto i = static_cast<std::size_t>(b);
        BOOST_TEST(difference(pooled[b].span(), one["pooled"][i]) < 1e-4);
        if (pooled.rows() == 1) continue;
        // Company changes nothing.
        const HostMatrix<float> alone =
            model(processor.prompts({&inputs[i], 1}, options_of(one)), {.normalize = false});
        BOOST_TEST(std::ranges::equal(alone[0].span(), pooled[b].span()));
      }
      if (!prompts.media.video_grid_thw.empty()) continue;  // which take time
      const HostMatrix<float> of_8 = model(prompts, {.dimensions = 8}), whole = model(prompts);
      for (index_t b = 0; b < pooled.rows(); ++b) {
        BOOST_TEST(difference(of_8[b].span(), one["embeddings_8"][static_cast<std::size_t>(b)]) < 1e-4);
        double squares = 0.0;
        for (const float value : pooled[b].span()) squares += static_cast<double>(value) * static_cast<double>(value);
        for (index_t d = 0; d < whole.extent(1); ++d) {
          const double wanted = static_cast<double>(pooled(b, d)) / std::sqrt(squares);
          BOOST_TEST(std::abs(static_cast<double>(whole(b, d)) - wanted) < 1e-6);
        }
      }
    }
  }
  BOOST_TEST(cases.size() == 14u);
}

BOOST_AUTO_TEST_CASE(scores_as_published) {
  const RerankerProcessor processor(Processor::from_pretrained(reranker_folder()));
  Cpu cpu(2);
  auto model = Reranker::from_pretrained(reranker_folder(), cpu, processor.tokens());
  const json cases = golden("reranker").at("cases");
  for (const json& one : cases) {
    BOOST_TEST_CONTEXT(one["name"].get<std::string>()) {
      const RerankerInput input = reranker_row_from_json(one["row"].dump()).input;
      const Prompts prompts = processor.prompts(input, options_of(one));
      BOOST_TEST(json(rows_of(prompts)) == one["ids"]);
      BOOST_TEST(difference(model(prompts), one["scores"]) < 1e-5);
    }
  }
  BOOST_TEST(cases.size() == 6u);
}

BOOST_AUTO_TEST_CASE(long_lists_of_frames_as_published) {
  const json rows = golden("embedding").at("thinned");
  for (const json& row : rows) {
    std::vector<std::string> frames;
    for (int i = 0; i < row[0].get<int>(); ++i) frames.push_back(std::to_string(i));
    json kept = json::array();
    for (const std::string& frame : detail::retrieval::thinned(frames, row[1].get<std::int64_t>()))
      kept.push_back(std::stoi(frame));
    BOOST_TEST(kept == row[2], row.dump());
  }
  BOOST_TEST(rows.size() == 9u);
}

// Of Qwen3-VL-Embedding-8B, whose config unties a head that is not there; and of other checkpoints.
BOOST_AUTO_TEST_CASE(heads_that_are_missing_tied_or_stored) {
  const EmbeddingProcessor processor(Processor::from_pretrained(assets));
  const EmbeddingInput star{{.text = {"star"}}};
  const Prompts prompts = processor.prompts({&star, 1});
  Cpu cpu(2);
  const RerankerTokens tokens{.yes = 77, .no = 78};
  const float score = Reranker::from_pretrained(assets, cpu, tokens)(prompts).at(0);
  const HostMatrix<float> wanted = Embedder::from_pretrained(assets, cpu)(prompts);

  const Checkpoint checkpoint = Checkpoint::open(assets);
  std::vector<StoredTensor> tensors;
  for (const std::string& name : checkpoint.names()) tensors.push_back(*checkpoint.find(name));
  const auto folder_of = [&](const TemporaryFolder& folder, bool tied, const std::vector<StoredTensor>& stored) {
    write_safetensors(folder / "model.safetensors", stored);
    json config = json::parse(test::read_file(assets / "config.json"));
    config["tie_word_embeddings"] = tied;
    folder.write("config.json", config.dump());
    return folder.path();
  };
  const TemporaryFolder folders[3];
  const fs::path no_head = folder_of(folders[0], false, tensors);
  BOOST_TEST(std::ranges::equal(Embedder::from_pretrained(no_head, cpu)(prompts).span(), wanted.span()));
  CHECK_FAILS(Reranker::from_pretrained(no_head, cpu, tokens), "stores no lm_head.weight, of which a score needs");

  // A head of its own: its rows are read, in whatever type they are.
  const StoredTensor& embedding = *checkpoint.find("model.language_model.embed_tokens.weight");
  std::vector<float> head(static_cast<std::size_t>(embedding.shape[0] * embedding.shape[1]));
  read_floats(embedding, head);
  for (float& value : head) value *= -1.0f;
  tensors.push_back({"lm_head.weight", DType::f32, embedding.shape, std::as_bytes(std::span(head))});
  const fs::path own_head = folder_of(folders[1], false, tensors);
  BOOST_TEST(std::ranges::equal(Embedder::from_pretrained(own_head, cpu)(prompts).span(), wanted.span()));
  BOOST_TEST(std::abs(Reranker::from_pretrained(own_head, cpu, tokens)(prompts).at(0) - (1.0f - score)) < 1e-6f);
  // One that a config ties, though its values differ, is no tied one, as in transformers.
  std::vector<std::string> warnings;
  const fs::path not_tied = folder_of(folders[2], true, tensors);
  auto reranker = Reranker::from_pretrained(not_tied, cpu, tokens,
                                            {.warn = [&](const std::string& text) { warnings.push_back(text); }});
  BOOST_TEST(std::abs(reranker(prompts).at(0) - (1.0f - score)) < 1e-6f);
  BOOST_TEST(warnings.size() == 1u);

  CHECK_FAILS(Reranker::from_pretrained(assets, cpu, {.yes = 704, .no = 0}), "has 704 rows, none for the token 704");
  auto without = ForConditionalGeneration<variants::TinyShapes, Cpu, Bf16>::without_head(assets, cpu);
  ModelInputs inputs;
  inputs.input_ids = HostMatrix<TokenId>(1, 1);
  CHECK_FAILS(without.forward(inputs), "loaded without its head");
}

BOOST_AUTO_TEST_CASE(what_cannot_be_computed) {
  Cpu cpu(2);
  auto model = Embedder::from_pretrained(assets, cpu);
  BOOST_TEST(model(Prompts{}).rows() == 0);
  Prompts empty;
  empty.rows.append(0);
  CHECK_FAILS(model(empty), "prompt 0 has no tokens");
  CHECK_FAILS(model(Prompts{}, {.dimensions = 193}), "dimensions is 193; this model has embeddings of 192");
  CHECK_FAILS(RerankerProcessor(Processor::from_pretrained(assets)).tokens(), "has no token \"yes\"");
  CHECK_FAILS(EmbeddingProcessor(Processor::from_pretrained(assets), {.max_frames = 0}), "max_frames is 0");
  const EmbeddingProcessor processor(Processor::from_pretrained(assets));
  const std::vector<EmbeddingInput> inputs = {input_of({{"text", "a"}}),
                                              input_of({{"text", "b"}, {"image", {"images/09.png", "absent.png"}}})};
  CHECK_FAILS(processor.prompts(inputs, of_cases), "inputs[1].image: cannot open");
  CHECK_FAILS(processor.prompts({&inputs[0], 1}, of_cases, {.add_generation_prompt = true},
                                std::vector<Image>(1, Image{.height = 1, .width = 1, .channels = 3, .pixels = {}})),
              "1 images and 0 videos were handed over for which no input asks");
  ProcessorOptions options = of_cases;
  options.max_length = 10;
  const EmbeddingInput with_image = input_of({{"image", "images/09.png"}});
  CHECK_FAILS(processor.prompts({&with_image, 1}, options), "cutting it to max_length 10 would cut an image");
  std::vector<std::string> warnings;
  options.warn = [&](const std::string& text) { warnings.push_back(text); };
  BOOST_TEST(processor.prompts(std::span(inputs).first(1), options).tokens() == 10);
  BOOST_REQUIRE(warnings.size() == 1u);
  BOOST_TEST(warnings[0].find("text: the prompt has 10 tokens (max_length)") == 0u, warnings[0]);
}

// Images that are handed over go to the parts that name none, across inputs.
BOOST_AUTO_TEST_CASE(images_from_memory) {
  const EmbeddingProcessor processor(Processor::from_pretrained(assets));
  const std::vector<Image> images = {load_image(assets / "expected/images/09.png"),
                                     load_image(assets / "expected/images/06.png")};
  const EmbeddingInput named = input_of({{"image", "images/03.png"}});
  const EmbeddingInput unnamed{{.text = {"small"}, .image = {image()}}};
  const std::vector<EmbeddingInput> inputs = {unnamed, named, unnamed};
  const Prompts prompts = processor.prompts(inputs, of_cases, {.add_generation_prompt = true}, images);
  const std::vector<GridThw> wanted = {{1, 6, 6}, {1, 12, 16}, {1, 16, 12}};
  BOOST_TEST((prompts.media.image_grid_thw == wanted));
  BOOST_TEST(prompts.image_sources.at(2).row == 2);
  const EmbeddingInput same = input_of({{"text", "small"}, {"image", "images/06.png"}});
  const Prompts from_file = processor.prompts({&same, 1}, of_cases);
  BOOST_TEST(std::ranges::equal(from_file.ids, prompts.row(2)));
  const auto last = prompts.media.pixel_values.slice(prompts.media.pixel_values.rows() - 192, 192).span();
  BOOST_TEST(std::ranges::equal(from_file.media.pixel_values.span(), last));
}

BOOST_AUTO_TEST_CASE(rows_as_json) {
  const EmbeddingRow row = embedding_row_from_json(
      R"({"text": ["a", "b"], "image": "x.png", "video": [["1.png"], "v.mp4"], "instruction": "i", "fps": 2.5,
          "max_frames": 8, "id": {"n": 1}})");
  BOOST_TEST((row.input.text == std::vector<std::string>{"a", "b"}));
  BOOST_TEST(row.input.image.at(0).source == "x.png");
  BOOST_TEST((row.input.video.at(0).frames == std::vector<std::string>{"1.png"}));
  BOOST_TEST(row.input.video.at(1).source == "v.mp4");
  BOOST_TEST((row.input.instruction == "i" && row.input.fps == 2.5 && row.input.max_frames == 8));
  BOOST_TEST(row.id == json({{"n", 1}}));
  BOOST_TEST(embedding_row_from_json("\"a\"").input.text.at(0) == "a");
  // A list that begins with an image is one video, any other several.
  BOOST_TEST(embedding_row_from_json(R"({"video": ["a.PNG", "b"]})").input.video.size() == 1u);
  BOOST_TEST(embedding_row_from_json(R"({"video": ["a.mp4", "b.png"]})").input.video.size() == 2u);
  BOOST_TEST(embedding_row_from_json(R"({"video": [], "image": null})").input.video.empty());
  const auto fails = [](const char* text, const char* what) { CHECK_FAILS(embedding_row_from_json(text), what); };
  fails("[]", "request is [], wanted an object");
  fails("{", "row is not valid JSON");
  fails(R"({"texts": "a"})", "means nothing here: texts");
  fails(R"({"text": 7})", "text is 7, wanted a string or a list of strings");
  fails(R"({"text": ["a", null]})", "text[1] is null, wanted a string");
  fails(R"({"image": ""})", "image: names no file");
  fails(R"({"image": {"url": "a"}})", "image is {\"url\":\"a\"}, wanted a string");
  fails(R"({"video": [["a.png", 1]]})", "video[0][1] is 1, wanted a string");
  fails(R"({"video": [[]]})", "video[0]: a video of no frames");
  fails(R"({"video": [3]})", "video[0] is 3, wanted a path or a list of images");
  fails(R"({"fps": -1})", "fps is -1, wanted a number from 0");
  fails(R"({"max_frames": "8"})", "max_frames is \"8\", wanted a number from 0");
  fails(R"({"instruction": ["a"]})", "instruction is [\"a\"], wanted a string");
  BOOST_TEST(embedding_row_from_json(R"({"texts": "a"})", {.ignore_unknown = true}).input.text.empty());

  const RerankerRow pairs =
      reranker_row_from_json(R"({"query": "q", "documents": ["a", {"image": "b.png"}, {}], "id": 3})");
  BOOST_TEST((pairs.input.query.text.at(0) == "q" && pairs.input.documents.at(1).image.at(0).source == "b.png"));
  BOOST_TEST((pairs.input.documents.size() == 3u && pairs.id == 3));
  const auto bad = [](const char* text, const char* what) { CHECK_FAILS(reranker_row_from_json(text), what); };
  bad(R"({"documents": []})", "row: has no \"query\"");
  bad(R"({"query": {}, "documents": []})", "query: has no text, image or video");
  bad(R"({"query": "a"})", "row: has no list of \"documents\"");
  bad(R"({"query": "a", "documents": "b"})", "row: has no list of \"documents\"");
  bad(R"({"query": "a", "documents": [{"text": "b", "instruction": "c"}]})",
      "documents[0]: means nothing here: instruction");
  bad(R"({"query": "a", "documents": ["b", 2]})", "documents[1] is 2, wanted an object");
}

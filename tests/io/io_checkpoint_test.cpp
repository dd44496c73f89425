// Checkpoint folders: one file or shards with an index, whole or damaged.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE io_checkpoint
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "qwen3vl/base/checkpoint_folder.hpp"
#include "qwen3vl/io/weights/checkpoint.hpp"
#include "qwen3vl/io/weights/write_safetensors.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
using test::fails_with;

namespace {

const std::string models = QWEN3VL_TEST_DATA "/golden/models/";

// A shard with tensors of two floats each, filled with `value`.
void write_shard(const test::TemporaryFolder& folder, const char* file, const std::vector<std::string>& names,
                 float value = 1.0f) {
  const std::vector<float> values{value, value};
  std::vector<StoredTensor> tensors;
  for (const std::string& name : names) tensors.push_back({name, DType::f32, {2}, std::as_bytes(std::span(values))});
  write_safetensors(folder / file, tensors);
}

void write_index(const test::TemporaryFolder& folder, const std::string& weight_map) {
  folder.write("model.safetensors.index.json", R"({"metadata":{"total_size":1},"weight_map":)" + weight_map + "}");
}

bool refused(const test::TemporaryFolder& folder, std::string_view what) {
  return fails_with([&] { Checkpoint::open(folder.path()); }, what);
}

}  // namespace

BOOST_AUTO_TEST_CASE(one_file) {
  const Checkpoint checkpoint = Checkpoint::open(models + "dense_small");
  BOOST_TEST(checkpoint.name() == models + "dense_small");
  BOOST_TEST(checkpoint.find("model.language_model.embed_tokens.weight") != nullptr);
  BOOST_TEST(checkpoint.find("lm_head.weight") == nullptr);  // tied
  std::uint64_t bytes = 0;
  for (const std::string& name : checkpoint.names()) bytes += checkpoint.find(name)->bytes.size();
  BOOST_TEST(checkpoint.total_bytes() == bytes);
}

BOOST_AUTO_TEST_CASE(shards_of_the_reference) {
  const Checkpoint checkpoint = Checkpoint::open(models + "dense_wide");
  const nlohmann::json index = read_json_file(models + "dense_wide/model.safetensors.index.json");
  const nlohmann::json& weight_map = index["weight_map"];
  BOOST_TEST(weight_map.size() > 10u);
  BOOST_TEST(checkpoint.names().size() == weight_map.size());
  for (const auto& [name, file] : weight_map.items()) {
    const StoredTensor* const tensor = checkpoint.find(name);
    BOOST_REQUIRE_MESSAGE(tensor != nullptr, name);
    // The same bytes as in the shard opened alone.
    const SafetensorsFile shard = SafetensorsFile::open(models + "dense_wide/" + file.get<std::string>());
    BOOST_TEST(std::ranges::equal(tensor->bytes, shard.find(name)->bytes), name);
  }
  BOOST_TEST(checkpoint.total_bytes() == index["metadata"]["total_size"].get<std::uint64_t>());
}

BOOST_AUTO_TEST_CASE(every_golden_checkpoint_opens) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(models)) {
    BOOST_TEST(Checkpoint::open(entry.path()).total_bytes() > 0u, entry.path());
    ++count;
  }
  BOOST_TEST(count >= 5);
  BOOST_TEST(Checkpoint::open(QWEN3VL_EXAMPLE_ASSETS "/tiny-shapes").total_bytes() > 0u);
}

BOOST_AUTO_TEST_CASE(moving_keeps_tensors) {
  std::vector<Checkpoint> moved;
  const StoredTensor* before = nullptr;
  {
    Checkpoint checkpoint = Checkpoint::open(models + "dense_wide");
    before = checkpoint.find("lm_head.weight");
    moved.push_back(std::move(checkpoint));
  }
  moved.push_back(Checkpoint::open(models + "moe_small"));  // the vector moves its elements
  BOOST_TEST(moved.front().find("lm_head.weight") == before);
  std::vector<float> values(before->bytes.size() / size_of(before->dtype));
  read_floats(*before, values);
  moved.front().release("lm_head.weight");
  moved.front().release("no such tensor");
  std::vector<float> again(values.size());
  read_floats(*before, again);
  BOOST_TEST(values == again);
}

BOOST_AUTO_TEST_CASE(the_single_file_comes_first) {
  // As in transformers, which looks for the index only if there is no model.safetensors.
  const test::TemporaryFolder folder;
  write_shard(folder, "model.safetensors", {"whole"});
  write_index(folder, R"({"part":"missing.safetensors"})");
  BOOST_TEST(Checkpoint::open(folder.path()).names().size() == 1u);
}

BOOST_AUTO_TEST_CASE(linked_files) {
  // The Hub's cache is a folder of links to files elsewhere.
  const test::TemporaryFolder blobs, folder;
  write_shard(blobs, "3f2a", {"a", "b"}, 3.0f);
  std::filesystem::create_symlink(blobs / "3f2a", folder / "model-1.safetensors");
  write_index(folder, R"({"a":"model-1.safetensors","b":"model-1.safetensors"})");
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  std::vector<float> values(2);
  read_floats(*checkpoint.find("b"), values);
  BOOST_TEST(values[1] == 3.0f);
}

BOOST_AUTO_TEST_CASE(nothing_there) {
  const test::TemporaryFolder folder;
  BOOST_TEST(refused(folder, "neither model.safetensors nor model.safetensors.index.json"));
  BOOST_TEST(fails_with([&] { Checkpoint::open(folder / "none"); }, "none is not a folder"));
  const auto file = folder.write("file", "");
  BOOST_TEST(fails_with([&] { Checkpoint::open(file); }, "is not a folder"));
  folder.write("pytorch_model.bin", "");
  BOOST_TEST(refused(folder, "its pytorch_model.bin is a Python pickle"));
  folder.write("adapter_model.safetensors", "");
  BOOST_TEST(refused(folder, "it holds an adapter (LoRA)"));
  std::filesystem::create_directory(folder / "model.safetensors");
  BOOST_TEST(refused(folder, "model.safetensors is not a regular file"));
}

BOOST_AUTO_TEST_CASE(missing_shards) {
  const test::TemporaryFolder folder;
  write_shard(folder, "1.safetensors", {"a"});
  write_index(folder, R"({"a":"1.safetensors","b":"2.safetensors","c":"3.safetensors"})");
  BOOST_TEST(refused(folder, "is incomplete: missing files: 2.safetensors, 3.safetensors; download them again"));
  write_index(folder, R"({"a":"1.safetensors","b":"2.safetensors","c":"3.safetensors","d":"4","e":"5","f":"6"})");
  BOOST_TEST(refused(folder, "missing files: 2.safetensors, 3.safetensors, 4 and 2 more;"));
}

// What transformers loads in silence: the shards count, not the index, and the later of two shards.
BOOST_AUTO_TEST_CASE(an_index_that_does_not_fit_its_shards) {
  const test::TemporaryFolder folder;
  write_shard(folder, "1.safetensors", {"a", "both"}, 1.0f);
  write_shard(folder, "2.safetensors", {"b", "both", "unlisted"}, 2.0f);
  write_index(folder,
              R"({"a":"2.safetensors","b":"2.safetensors","both":"1.safetensors","lm_head.weight":"2.safetensors",
                          "c":"1.safetensors"})");
  std::vector<std::string> warnings;
  const Checkpoint checkpoint =
      Checkpoint::open(folder.path(), {}, [&](const std::string& text) { warnings.push_back(text); });
  BOOST_REQUIRE(warnings.size() == 2u);
  BOOST_TEST(warnings[0].ends_with("has tensors in two files: both (used: that of 2.safetensors)"), warnings[0]);
  BOOST_TEST(warnings[1].ends_with("model.safetensors.index.json lists tensors that are in no file: c, lm_head.weight"),
             warnings[1]);
  BOOST_TEST(checkpoint.names().size() == 4u);
  std::vector<float> values(2);
  read_floats(*checkpoint.find("both"), values);
  BOOST_TEST(values[0] == 2.0f);
  BOOST_CHECK_NO_THROW(Checkpoint::open(folder.path(), {}, {}));  // in silence
}

// Writing into an open file is noticed. If its name is removed or reused, the open file stays intact.
BOOST_AUTO_TEST_CASE(files_that_change) {
  const test::TemporaryFolder folder;
  write_shard(folder, "model.safetensors", {"a"});
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  BOOST_CHECK_NO_THROW(checkpoint.require_unchanged());
  write_shard(folder, "other", {"b"});
  std::filesystem::rename(folder / "other", folder / "model.safetensors");
  BOOST_CHECK_NO_THROW(checkpoint.require_unchanged());
  const Checkpoint second = Checkpoint::open(folder.path());
  std::filesystem::last_write_time(folder / "model.safetensors",
                                   std::filesystem::file_time_type::clock::now() + std::chrono::seconds(2));
  BOOST_TEST(fails_with([&] { second.require_unchanged(); }, "changed while it was loaded"));
  const Checkpoint third = Checkpoint::open(folder.path());
  std::filesystem::remove(folder / "model.safetensors");
  BOOST_CHECK_NO_THROW(third.require_unchanged());
}

BOOST_AUTO_TEST_CASE(names_that_lead_out_of_the_folder) {
  const test::TemporaryFolder outside;
  write_shard(outside, "secret.safetensors", {"a"});
  const test::TemporaryFolder folder;
  std::filesystem::create_directory(folder / "sub");
  write_shard(folder, "inside.safetensors", {"a"});
  const std::string out = "../" + outside.path().filename().string() + "/secret.safetensors";
  for (const std::string& name :
       {out, (outside / "secret.safetensors").string(), std::string("sub/../inside.safetensors"),
        std::string("./inside.safetensors"), std::string(".."), std::string("."), std::string(), std::string("sub/"),
        std::string("..\\secret.safetensors"), std::string("inside.safetensors\n")}) {
    write_index(folder, nlohmann::json{{"a", name}}.dump());
    BOOST_TEST(refused(folder, "not a plain file name"), name);
  }
  write_index(folder, R"({"a":"inside.safetensors\u0000"})");
  BOOST_TEST(refused(folder, "not a plain file name"));
  write_index(folder, R"({"a":"sub"})");
  BOOST_TEST(refused(folder, "sub is not a regular file"));
}

BOOST_AUTO_TEST_CASE(broken_indexes) {
  const test::TemporaryFolder folder;
  write_shard(folder, "1.safetensors", {"a"});
  struct {
    const char* text;
    const char* error;
  } const cases[] = {{"", "not valid JSON"},
                     {"{", "not valid JSON"},
                     {"[]", "has no weight_map"},
                     {"null", "has no weight_map"},
                     {"{}", "has no weight_map"},
                     {R"({"weight_map":null})", "has no weight_map"},
                     {R"({"weight_map":["a"]})", "has no weight_map"},
                     {R"({"weight_map":{"a":1}})", "entry of a is not a file name"},
                     {R"({"weight_map":{"a":["1.safetensors"]}})", "entry of a is not a file name"},
                     {R"({"weight_map":{"a":"1.safetensors","a":"2.safetensors"}})", "'a' twice"},
                     {R"({"weight_map":{"a":[[[[[[[[[[1]]]]]]]]]]}})", "nests deeper"},
                     {"{\"weight_map\":{\"a\xff\":\"1.safetensors\"}}", "not valid JSON"}};
  for (const auto& c : cases) {
    folder.write("model.safetensors.index.json", c.text);
    BOOST_TEST(refused(folder, c.error), c.text);
  }
  write_index(folder, R"({"a":"1.safetensors"})");
  BOOST_TEST(Checkpoint::open(folder.path()).names().size() == 1u);
}

BOOST_AUTO_TEST_CASE(a_broken_shard) {
  const test::TemporaryFolder folder;
  write_shard(folder, "1.safetensors", {"a"});
  folder.write("2.safetensors", "short");
  write_index(folder, R"({"a":"1.safetensors","b":"2.safetensors"})");
  BOOST_TEST(refused(folder, "2.safetensors is not a valid safetensors file"));
}

BOOST_AUTO_TEST_CASE(what_users_give_instead_of_a_checkpoint_folder) {
  const test::TemporaryFolder folder;
  const auto fails = [](const std::filesystem::path& path, const std::string& what) {
    return fails_with([&] { require_checkpoint_folder(path); }, what);
  };
  const test::Environment cache_folder("HF_HUB_CACHE", (folder / "no cache").string());
  BOOST_TEST(fails("Qwen/Qwen3-VL-2B-Instruct",
                   "is neither a folder nor in the Hub's cache (" + (folder / "no cache").string() +
                       "); if it is a name on the Hugging Face Hub, download it with `hf download "
                       "Qwen/Qwen3-VL-2B-Instruct`"));
  BOOST_TEST(fails("Qwen/Qwen3-VL-2B-Instruct@v2", "download Qwen/Qwen3-VL-2B-Instruct --revision v2`"));
  BOOST_TEST(fails("https://huggingface.co/Qwen/Qwen3-VL-2B-Instruct", "is an address; nothing is downloaded"));
  BOOST_TEST(fails(folder / "none", "none is not a folder: there is nothing of that name"));
  BOOST_TEST(fails("", " is not a folder"));
  BOOST_TEST(fails(folder.write("model.gguf", ""), "model.gguf is no GGUF file, in spite of its name"));
  BOOST_TEST(fails(folder.write("file", ""), "file is not a folder but a file; give"));
  const std::filesystem::path snapshot = folder / "hub/models--Qwen--Qwen3-VL-2B-Instruct/snapshots/0123abcd";
  std::filesystem::create_directories(snapshot);
  std::ofstream(snapshot / "config.json") << "{}";
  for (const std::filesystem::path& cache :
       {folder.path(), folder / "hub", snapshot.parent_path(), snapshot.parent_path().parent_path()})
    BOOST_TEST(fails(cache, snapshot.string()), cache);
  folder.write("adapter_config.json", "{}");
  std::filesystem::remove_all(folder / "hub");
  BOOST_TEST(fails(folder.path(), "holds an adapter (LoRA)"));
  std::filesystem::create_directory(folder / "inner");
  std::ofstream(folder / "inner" / "config.json") << "{}";
  BOOST_TEST(
      fails(folder / "inner" / "config.json", "but a file of one; give the folder, " + (folder / "inner").string()));
  std::filesystem::remove(folder / "adapter_config.json");
  BOOST_TEST(fails(folder.path(), "holds no config.json, but " + (folder / "inner").string() + " does"));
  BOOST_CHECK_NO_THROW(require_checkpoint_folder(folder / "inner"));
}

// Where huggingface_hub and transformers keep what they download, and what they take of it.
BOOST_AUTO_TEST_CASE(checkpoints_in_the_hubs_cache) {
  namespace fs = std::filesystem;
  const test::TemporaryFolder folder;
  const fs::path repository = folder / "hub/models--Qwen--Qwen3-VL-2B-Instruct";
  const auto snapshot = [&](const std::string& commit) { return repository / "snapshots" / commit; };
  const auto refer = [&](const std::string& revision, const std::string& commit) {
    fs::create_directories((repository / "refs" / revision).parent_path());
    std::ofstream(repository / "refs" / revision) << commit;
  };
  fs::create_directories(snapshot("aaaa"));
  const std::string name = "Qwen/Qwen3-VL-2B-Instruct";
  const test::Environment none("HF_HUB_CACHE", ""), older("HUGGINGFACE_HUB_CACHE", "");
  {
    const test::Environment home("HF_HOME", folder.path().string());
    BOOST_TEST(find_checkpoint(name) == snapshot("aaaa"));  // the only one
    fs::create_directories(snapshot("bbbb"));
    BOOST_TEST(find_checkpoint(name) == fs::path(name));  // either
    refer("main", "bbbb\n");
    refer("refs/pr/1", "aaaa");
    BOOST_TEST(find_checkpoint(name) == snapshot("bbbb"));
    BOOST_TEST(find_checkpoint(name + "@refs/pr/1") == snapshot("aaaa"));
    BOOST_TEST(find_checkpoint(name + "@aaaa") == snapshot("aaaa"));
    BOOST_TEST(find_checkpoint(repository) == snapshot("bbbb"));
    BOOST_TEST(find_checkpoint(repository / "") == snapshot("bbbb"));
    BOOST_TEST(find_checkpoint(snapshot("aaaa")) == snapshot("aaaa"));
    // References and revisions that lead elsewhere.
    fs::create_directories(folder / "hub/outside");
    refer("main", "../../outside");
    BOOST_TEST(find_checkpoint(name) == fs::path(name));
    refer("main", std::string(10000, 'a'));
    BOOST_TEST(find_checkpoint(name) == fs::path(name));
    BOOST_TEST(find_checkpoint(name + "@..") == fs::path(name + "@.."));
    BOOST_TEST(find_checkpoint(name + "@../refs/main") == fs::path(name + "@../refs/main"));
    BOOST_TEST(fails_with([&] { require_checkpoint_folder(find_checkpoint(name)); },
                          "is in the Hub's cache, but not its revision 'main'"));
    refer("main", "bbbb");
  }
  const test::Environment no_home("HF_HOME", "");
  {
    const test::Environment caches("XDG_CACHE_HOME", (folder / "cache").string());
    fs::create_directories(folder / "cache/huggingface");
    fs::create_directory_symlink(folder / "hub", folder / "cache/huggingface/hub");
    BOOST_TEST(find_checkpoint(name) ==
               folder / "cache/huggingface/hub/models--Qwen--Qwen3-VL-2B-Instruct" / "snapshots/bbbb");
    const test::Environment first("HF_HUB_CACHE", (folder / "hub").string());
    BOOST_TEST(find_checkpoint(name) == snapshot("bbbb"));
  }
  const test::Environment no_caches("XDG_CACHE_HOME", ""), home("HOME", (folder / "home").string());
  fs::create_directories(folder / "home/.cache");
  fs::create_directory_symlink(folder / "cache/huggingface", folder / "home/.cache/huggingface");
  BOOST_TEST(find_checkpoint(name).parent_path().filename() == "snapshots");
  const test::Environment tilde("HF_HUB_CACHE", "~/.cache/huggingface/hub");
  BOOST_TEST(find_checkpoint(name).parent_path().filename() == "snapshots");
}

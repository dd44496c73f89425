// Packed weights kept between starts: a model loaded from them equals one loaded from the checkpoint, and any change is
// noticed.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE packed_cache
#include "qwen3vl/loading/packed_cache.hpp"

#include <boost/test/unit_test.hpp>
#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/loading/pretrained.hpp"
#include "qwen3vl/variants/golden-shape-moe_small.hpp"
#include "support/model_memory.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
using qwen3vl::test::memory;
using qwen3vl::test::read_file;
using qwen3vl::test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

template <class P>
using Model = ForConditionalGeneration<variants::golden_shape, Cpu, P>;

/// A copy of the checkpoint and an empty folder for packed weights.
struct Folders {
  TemporaryFolder top;
  fs::path checkpoint = top / "model", cache = top / "cache" / "packed";
  Cpu cpu{2};
  std::string warning;

  Folders() { fs::copy(fs::path(QWEN3VL_TEST_DATA) / "golden" / "models" / "moe_small", checkpoint); }

  template <class P>
  std::vector<std::byte> load() {
    auto model = Model<P>::from_pretrained(
        checkpoint, cpu, {.packed_cache = cache, .warn = [&](const std::string& text) { warning = text; }});
    return memory(model);
  }
  std::vector<fs::path> files() const {
    std::vector<fs::path> all;
    if (fs::exists(cache))
      for (const auto& entry : fs::directory_iterator(cache)) all.push_back(entry.path());
    return all;
  }
};

template <class P>
std::vector<std::byte> loaded_without(const Folders& folders) {
  Cpu cpu(1);
  auto model = Model<P>::from_pretrained(folders.checkpoint, cpu);
  return memory(model);
}

/// Changes one byte near the end of a file, or, keeping its time, one of every hundred of its last half: what a copy of
/// another fine-tune would do.
void change(const fs::path& file, bool keep_time) {
  const auto time = fs::last_write_time(file);
  std::string text = read_file(file);
  for (std::size_t i = 3; i < (keep_time ? text.size() / 2 : 4); i += 100)
    text[text.size() - i] = static_cast<char>(text[text.size() - i] ^ 0x21);
  std::ofstream(file, std::ios::binary) << text;
  fs::last_write_time(file, keep_time ? time : time + std::chrono::seconds(1));
}

}  // namespace

BOOST_AUTO_TEST_CASE_TEMPLATE(second_start_reads_what_the_first_wrote, P,
                              decltype(std::tuple<Stored, Bf16, Q8, Q4>{})) {
  Folders folders;
  const std::vector<std::byte> wanted = loaded_without<P>(folders);
  BOOST_TEST((folders.load<P>() == wanted));
  BOOST_REQUIRE(folders.files().size() == 1u);
  const fs::path file = folders.files().front();
  BOOST_TEST((folders.load<P>() == wanted));
  // The file is read and not written again: a change in it is seen.
  change(file, false);
  BOOST_TEST((folders.load<P>() != wanted));
  BOOST_TEST(folders.warning == "");
  // A damaged file is written again.
  fs::resize_file(file, fs::file_size(file) - 1);
  BOOST_TEST((folders.load<P>() == wanted));
  BOOST_TEST((folders.load<P>() == wanted));
}

BOOST_AUTO_TEST_CASE(precisions_do_not_mix) {
  Folders folders;
  folders.load<F32>();
  BOOST_TEST((folders.load<Bf16>() == loaded_without<Bf16>(folders)));
  BOOST_TEST((folders.load<F32>() == loaded_without<F32>(folders)));
  BOOST_TEST(folders.files().size() == 2u);
}

BOOST_AUTO_TEST_CASE(changed_checkpoints_are_noticed) {
  Folders folders;
  folders.load<Bf16>();
  for (const bool keep_time : {false, true}) {
    change(folders.checkpoint / "model.safetensors", keep_time);
    BOOST_TEST((folders.load<Bf16>() == loaded_without<Bf16>(folders)));
    BOOST_TEST(folders.files().size() == 1u);
  }
}

BOOST_AUTO_TEST_CASE(what_cannot_be_written_is_a_warning) {
  Folders folders;
  fs::create_directories(folders.cache.parent_path());
  std::ofstream(folders.cache) << "a file where the folder should be";
  BOOST_TEST((folders.load<Bf16>() == loaded_without<Bf16>(folders)));
  BOOST_TEST(folders.warning.find("cannot write") == 0u, folders.warning);
}

// Packed weights kept between starts: a model loaded from them equals one loaded from the checkpoint, and any change is
// noticed.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE packed_cache
#include "qwen3vl/loading/packed_cache.hpp"

#include <boost/test/unit_test.hpp>
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/loading/pretrained.hpp"
#include "qwen3vl/model/memory_plan.hpp"
#include "qwen3vl/variants/golden-shape-moe_small.hpp"
#include "support/check_fails.hpp"
#include "support/model_memory.hpp"
#include "support/random_blocks.hpp"
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

/// A checkpoint with other weights: its matrices are blocks, each tensor in another form, as in files that mix types.
/// `turn` chooses which.
class MixedSource {
 public:
  static constexpr bool keeps_tensors = true;
  MixedSource(const Checkpoint& checkpoint, std::size_t turn) : base_(checkpoint), turn_(turn) {}

  std::optional<RawTensor> find(const Part& part) {
    std::optional<RawTensor> raw = base_.find(part);
    if (!raw || raw->shape.size() < 2) return raw;
    Tensor& tensor = tensors_[part.name];
    if (!tensor.rows) {
      tensor.shape.assign(raw->shape.begin(), raw->shape.end());
      index_t rows = tensor.shape[0];
      if (tensor.shape.size() == 3) {  // experts: the Hub's axes as those of transformers 5
        std::swap(tensor.shape[1], tensor.shape[2]);
        rows *= tensor.shape[1];
      }
      const index_t columns = raw->rows() * raw->row_size() / rows;
      const BlockLayout layouts[] = {{BlockForm::bytes, 32, DType::f16},
                                     {BlockForm::nibbles, 32, DType::f16, 8},
                                     {BlockForm::q4_k},
                                     {BlockForm::nibbles, 64, DType::bf16},
                                     {BlockForm::e4m3, 128},
                                     {BlockForm::q6_k},
                                     {BlockForm::bytes, 1000000}};
      const BlockLayout layout = layouts[(turn_ + tensors_.size()) % std::size(layouts)];
      tensor.rows = std::make_unique<RandomBlocks>(rows, columns, layout, static_cast<unsigned>(tensors_.size()));
    }
    return RawTensor{.dtype = DType::f32, .shape = tensor.shape, .encoded = tensor.rows.get()};
  }
  void release(const Part&) {}
  std::vector<std::string> names() const { return base_.names(); }

  /// Row n of a tensor as it is defined; as bf16, too, where no kernel knows its form.
  bool is_row(const std::string& name, index_t n, const std::vector<float>& row) const {
    const RandomBlocks& rows = *tensors_.at(name).rows;
    std::vector<float> wanted(row.size());
    rows.read(n, 1, wanted.data());
    if (row == wanted) return true;
    const BlockForm form = rows.blocks().form;
    if (form != BlockForm::q4_k && form != BlockForm::q6_k) return false;  // those are of 256 columns
    for (float& value : wanted) value = static_cast<float>(static_cast<bf16>(value));
    return rows.columns() % 256 != 0 && row == wanted;
  }

 private:
  struct Tensor {
    std::vector<index_t> shape;
    std::unique_ptr<RandomBlocks> rows;
  };
  CheckpointSource base_;
  std::size_t turn_;
  std::map<std::string, Tensor> tensors_;
};

}  // namespace

/// Every row of every matrix is what its tensor defines, whatever forms the tensors of one matrix have, and when a
/// model is loaded again in others.
BOOST_AUTO_TEST_CASE(stored_weights_are_those_of_the_file) {
  const fs::path folder = fs::path(QWEN3VL_TEST_DATA) / "golden" / "models" / "moe_small";
  const Checkpoint checkpoint = Checkpoint::open(folder);
  Cpu cpu(2);
  Model<Stored> model(cpu);
  for (std::size_t turn = 0; turn < 7; ++turn) {
    MixedSource source(checkpoint, turn);
    model.load(source, "a mix of blocks");
    std::size_t rows_seen = 0;
    model.parameters([&](auto& parameter, Parts parts) {
      const ParameterShape shape = parameter_shape(parameter);
      detail::complete(parts, shape);
      std::vector<float> row(static_cast<std::size_t>(shape.columns));
      if constexpr (requires { parameter.sections(); }) {
        index_t first = 0;
        for (const Part& part : parts) {
          for (index_t n = 0; n < part.rows; ++n, ++rows_seen) {
            parameter.read_row(first + n, row.data());
            BOOST_REQUIRE_MESSAGE(source.is_row(part.name, n, row), part.name << ", row " << n << ", turn " << turn);
          }
          first += part.rows;
        }
      } else if constexpr (requires { typename std::remove_cvref_t<decltype(parameter)>::Matrix; }) {  // experts
        for (index_t e = 0; e < shape.experts; ++e)
          for (index_t n = 0; n < shape.rows; ++n, ++rows_seen) {
            parameter[e].read_row(n, row.data());
            BOOST_REQUIRE_MESSAGE(source.is_row(parts.front().name, e * shape.rows + n, row),
                                  parts.front().name << " " << e << ", row " << n << ", turn " << turn);
          }
      }
    });
    BOOST_TEST(rows_seen > 1000u);
    const std::string types = weight_types(model, source);
    BOOST_TEST(types.find(" of random kept as ") != std::string::npos, types);
    BOOST_TEST(types.find(" as nibbles with f16 scales") != std::string::npos, types);
  }
  // A plan knows the size of what is loaded, and says so of what is not.
  std::size_t bytes = 0;
  model.parameters([&](auto& parameter, const Parts&) { bytes += parameter.bytes(); });
  BOOST_TEST(plan_memory(model, {.prompt_tokens = 5, .max_new_tokens = 2}).weights == bytes);
  Model<Stored> empty(cpu);
  CHECK_FAILS(plan_memory(empty, {.prompt_tokens = 5, .max_new_tokens = 2}),
              "are as large as the checkpoint stores them");
}

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

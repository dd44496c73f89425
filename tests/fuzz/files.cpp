/// Targets: weights, their index, packed weights, and the configs of a checkpoint.
#include <array>
#include <cmath>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "qwen3vl/config/compare.hpp"
#include "qwen3vl/config/config_json.hpp"
#include "qwen3vl/config/generation_config_json.hpp"
#include "qwen3vl/config/released.hpp"
#include "qwen3vl/io/checkpoint/checkpoint_files.hpp"
#include "qwen3vl/io/weights/checkpoint.hpp"
#include "qwen3vl/io/weights/gguf.hpp"
#include "qwen3vl/io/weights/npy.hpp"
#include "qwen3vl/io/weights/packed_file.hpp"
#include "qwen3vl/io/weights/quantized/quantization.hpp"
#include "qwen3vl/io/weights/safetensors.hpp"
#include "qwen3vl/loading/adapters/peft_adapter.hpp"
#include "qwen3vl/processing/tokenizer/gguf_tokenizer.hpp"
#include "qwen3vl/text/rotary_embedding.hpp"
#include "target.hpp"

namespace fuzz {
namespace {

using namespace qwen3vl;

std::string with_length(std::string_view header) {
  const std::uint64_t size = header.size();
  std::string file(sizeof size, '\0');
  std::memcpy(file.data(), &size, sizeof size);
  return file.append(header);
}

/// The first byte: 255 for a whole file; otherwise the number of data bytes that follow the header.
void safetensors(Bytes bytes) {
  static const MemoryFile file;
  Input input(bytes);
  const std::uint8_t data = input.byte();
  const Bytes rest = input.rest();
  file.set(data == 255 ? rest : as_bytes(with_length(as_text(rest)) + std::string(data, '\x3f')));
  allow_errors([&] {
    const auto opened = SafetensorsFile::open(file.path(), {.max_header_bytes = 4096, .max_rank = 8});
    std::size_t total = 0;
    for (const StoredTensor& tensor : opened.tensors()) {
      require(opened.find(tensor.name) == &tensor, "a tensor is found by its name");
      std::size_t count = 1;
      for (const index_t extent : tensor.shape) count *= static_cast<std::size_t>(extent);
      require(count * size_of(tensor.dtype) == tensor.bytes.size(), "bytes, shape and dtype agree");
      total += tensor.bytes.size();
      std::vector<float> floats(count);
      std::vector<std::int64_t> integers(count);
      allow_errors([&] { read_floats(tensor, floats); });
      allow_errors([&] { read_int64s(tensor, integers); });
    }
    require(total < opened.file_bytes().size(), "tensors are inside the file");
  });
}

void gguf(Bytes bytes) {
  static const MemoryFile file;
  file.set(bytes);
  allow_errors([&] {
    const auto opened = GgufFile::open(file.path(), {.max_keys = 64, .max_tensors = 64});
    const GgufMetadata& metadata = opened.metadata();
    for (const auto& entry : metadata.values()) {
      const std::string_view key = entry.first;
      const GgufValue& value = entry.second;
      require(metadata.find(key) == &value, "a value is found by its key");
      allow_errors([&] { metadata.string(key); });
      allow_errors([&] { metadata.boolean(key); });
      allow_errors([&] { metadata.integer(key, -1000, 1000); });
      allow_errors([&] { metadata.number(key); });
      allow_errors([&] { require(metadata.strings(key).size() == value.count, "an array has its count of strings"); });
      allow_errors([&] { require(metadata.integers(key).size() == value.count, "and of integers"); });
      allow_errors([&] { require(metadata.numbers(key).size() == value.count, "and of numbers"); });
      allow_errors([&] { require(metadata.booleans(key).size() == value.count, "and of BOOL"); });
    }
    for (const StoredTensor& tensor : opened.tensors()) {
      require(opened.find(tensor.name) == &tensor, "a tensor is found by its name");
      const auto size = static_cast<std::size_t>(tensor.size());
      require(size <= 2 * bytes.size() || tensor.encoded, "plain tensors are inside the file");
      require(size <= 4 * bytes.size(), "no type has more than four values in a byte");
      std::vector<float> floats(size);
      std::vector<std::int64_t> integers(size);
      allow_errors([&] { read_floats(tensor, floats); });
      if (!tensor.encoded) {
        allow_errors([&] { read_int64s(tensor, integers); });
      } else if (tensor.encoded->blocks().form != BlockForm::none) {
        std::vector<std::int8_t> q(size), steps(size);
        std::vector<std::uint8_t> offsets(size);
        std::vector<float> scales(size), minimums(size);
        for (index_t row = 0; row < tensor.encoded->rows(); ++row)
          tensor.encoded->read_blocks(row, {q.data(), scales.data(), minimums.data(), steps.data(), offsets.data()});
      }
    }
  });
}

/// A whole model in one file, as Ollama writes it: what it stands for is read, and all rows of its weights.
void gguf_model(Bytes bytes) {
  static const MemoryFile file;
  file.set(bytes);
  allow_errors([&] {
    const CheckpointFiles checkpoint(file.path(), {}, [](const std::string&) {});
    if (checkpoint.gguf() == nullptr) return;  // it does not begin as one
    allow_errors([&] {
      const CheckpointConfig read = config_from_json(checkpoint.needed_json("config.json"), "a file", {});
      require(validate(read.model) == nullptr, "an accepted config is valid");
    });
    allow_errors([&] { generation_config_from_json(checkpoint.needed_json("generation_config.json"), "a file"); });
    for (const char* const name :
         {"preprocessor_config.json", "video_preprocessor_config.json", "tokenizer_config.json"})
      allow_errors([&] { require(checkpoint.needed_json(name).is_object(), "a document is an object"); });
    allow_errors([&] {
      const TokenizerFile tokens = tokenizer_of_gguf(checkpoint.gguf()->text);
      require(tokens.vocab.size() <= bytes.size() / 8, "tokens are inside the file");
    });
    allow_errors([&] {
      const Checkpoint weights = checkpoint.weights();
      for (const std::string& name : weights.names()) {
        const StoredTensor& tensor = *weights.find(name);
        require(tensor.size() <= static_cast<index_t>(8 * bytes.size()), "weights are inside the file");
        std::vector<float> values(static_cast<std::size_t>(tensor.size()));
        allow_errors([&] { read_floats(tensor, values); });
      }
    });
  });
}

/// The header's text, preceded by its length; the first byte is the number of data bytes that follow, 255 if the input
/// holds all of them.
void npy(Bytes bytes) {
  static const MemoryFile file;
  Input input(bytes);
  const std::uint8_t data = input.byte();
  std::string contents(as_text(input.rest()));
  if (data != 255) {
    const std::string magic{"\x93NUMPY\x01\0", 8};
    contents = magic + static_cast<char>(contents.size() & 0xff) + static_cast<char>(contents.size() >> 8) + contents +
               std::string(data, '\x3f');
  }
  file.set(as_bytes(contents));
  allow_errors([&] {
    const NpyFile opened = NpyFile::open(file.path(), {.max_header_bytes = 1024, .max_rank = 8});
    const StoredTensor& tensor = opened.tensor();
    std::size_t count = 1;
    for (const index_t extent : tensor.shape) count *= static_cast<std::size_t>(extent);
    require(count * size_of(tensor.dtype) == tensor.bytes.size(), "bytes, shape and dtype agree");
    std::vector<float> floats(count);
    allow_errors([&] { read_floats(tensor, floats); });
  });
}

void checkpoint_index(Bytes bytes) {
  static const MemoryFile index;
  static const Folder folder;
  static const bool ready = [] {
    folder.link("model.safetensors.index.json", index);
    for (const char* const name : {"a", "b"}) {
      std::ofstream shard(folder.path() / (std::string(name) + ".safetensors"), std::ios::binary);
      shard << with_length(concat(R"({")", name, R"(.0":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})")) << "1234";
    }
    return true;
  }();
  require(ready, "the shards are written");
  index.set(bytes);
  allow_errors([&] {
    const Checkpoint checkpoint = Checkpoint::open(folder.path(), {.max_header_bytes = 4096});
    require(checkpoint.names().size() * 4 == checkpoint.total_bytes(), "a checkpoint has the tensors of its shards");
    require(!checkpoint.fingerprint().empty() || checkpoint.names().empty(), "files have a fingerprint");
  });
}

/// Flags, sizes of two pieces, then the bytes after the header.
void packed_file(Bytes bytes) {
  static const MemoryFile file;
  constexpr std::string_view identity = "qwen3vl weights of a test\nlayout 1\n";
  Input input(bytes);
  const std::uint8_t flags = input.byte();
  std::vector<std::byte> first(input.number(2) % 5000), second(input.byte());
  std::string contents;
  if ((flags & 1) != 0) {
    contents = as_text(input.rest());  // all of it, the header too
  } else {
    const std::uint64_t length = (flags & 2) != 0 ? input.number(4) : identity.size();
    contents = "qwen3vl packed 1";
    contents.append(reinterpret_cast<const char*>(&length), sizeof length).append(8, '\0');
    contents += (flags & 4) != 0 ? as_text(input.bytes(identity.size())) : identity;
    if ((flags & 8) == 0) contents.resize(4096);
    contents += as_text(input.rest());
    if ((flags & 16) == 0) contents.resize(4096 + first.size() + second.size(), 'x');
    const std::uint64_t size = (flags & 32) != 0 ? first.size() : contents.size();
    std::memcpy(contents.data() + 24, &size, sizeof size);
  }
  file.set(as_bytes(contents));
  const auto opened = PackedFile::open(file.path(), identity);
  if (!opened) return;
  const std::array<std::span<std::byte>, 2> pieces = {first, second};
  if (!opened->read(pieces, 1)) return;
  require(contents.size() == 4096 + first.size() + second.size(), "a file that was read has the size of its pieces");
  const Bytes stored = as_bytes(contents).subspan(4096);
  require(
      std::ranges::equal(stored.first(first.size()), first) && std::ranges::equal(stored.subspan(first.size()), second),
      "pieces are the bytes of the file");
  require(contents.substr(32, identity.size()) == identity, "a file of another identity is not read");
}

void config(Bytes bytes) {
  allow_errors([&] {
    const CheckpointConfig config = config_from_json(parse_json(as_text(bytes), "config.json"), "config.json");
    require(validate(config.model) == nullptr, "a config that was read is valid");
    compare(Qwen3VL_2B::config, config.model);
    if (config.model.text.head_dim > 1024) return;
    const RotaryFrequencies frequencies = rotary_frequencies(config.runtime.rope, config.model.text.head_dim,
                                                             config.runtime.max_position_embeddings, 100);
    require(frequencies.inv_freq.size() == static_cast<std::size_t>(config.model.text.head_dim / 2),
            "there is a frequency for each pair");
  });
}

/// A config.json that also has `tensors`: names, and of each a type, a shape, and what its bytes are (a text, or one
/// number for all of them; without it they differ).
void quantization(Bytes bytes) {
  allow_errors([&] {
    const nlohmann::json json = parse_json(as_text(bytes), "config.json", {.max_depth = 20});
    const auto config = quantization_from_json(json, "config.json");
    const JsonFields tensors = JsonFields(json, "config.json").section("tensors");
    if (!config) return;
    std::vector<std::unique_ptr<std::byte[]>> data;  // of its size, so that a sanitizer sees what is read behind it
    Checkpoint checkpoint("fuzz");
    for (const auto& [name, entry] : tensors.object().items()) {
      if (!entry.is_array() || entry.size() < 2 || !entry[0].is_string() || !entry[1].is_array()) continue;
      StoredTensor tensor{.name = name, .shape = {}, .bytes = {}};
      for (int i = 0; i <= static_cast<int>(DType::f8_e5m2); ++i)
        if (name_of(static_cast<DType>(i)) == entry[0].get_ref<const std::string&>())
          tensor.dtype = static_cast<DType>(i);
      index_t size = static_cast<index_t>(size_of(tensor.dtype)), without_zeros = size;
      for (const nlohmann::json& extent : entry[1]) {
        if (tensor.shape.size() == 4 || !extent.is_number_unsigned()) return;
        tensor.shape.push_back(extent.get<index_t>());
        if (tensor.shape.back() < 0 ||
            __builtin_mul_overflow(without_zeros, std::max(tensor.shape.back(), index_t{1}), &without_zeros))
          return;  // what SafetensorsFile refuses
        size *= tensor.shape.back();
      }
      if (size > 1 << 15) return;
      data.push_back(std::make_unique<std::byte[]>(static_cast<std::size_t>(size)));
      for (index_t i = 0; i < size; ++i) {
        std::size_t value = static_cast<std::size_t>(i) * 37 + name.size();
        if (entry.size() > 2 && entry[2].is_number_unsigned()) value = entry[2].get<std::size_t>();
        if (entry.size() > 2 && entry[2].is_string()) {
          const auto& text = entry[2].get_ref<const std::string&>();
          value = static_cast<std::size_t>(i) < text.size()
                      ? static_cast<unsigned char>(text[static_cast<std::size_t>(i)])
                      : ' ';
        }
        data.back()[static_cast<std::size_t>(i)] = static_cast<std::byte>(value & 0xff);
      }
      tensor.bytes = {data.back().get(), static_cast<std::size_t>(size)};
      checkpoint.put(std::move(tensor));
    }
    decode_quantized(checkpoint, *config);
    for (const std::string& name : checkpoint.names()) {
      const StoredTensor& tensor = *checkpoint.find(name);
      if (!tensor.encoded) continue;
      const EncodedRows& rows = *tensor.encoded;
      require(rows.rows() * rows.columns() == tensor.size(), "rows are those of the shape");
      if (tensor.size() > 1 << 18) continue;
      std::vector<float> values(static_cast<std::size_t>(tensor.size()));
      rows.read(0, rows.rows(), values.data());
      const index_t last = rows.rows() - 1;
      rows.read(last, 1, values.data());
      const BlockLayout layout = rows.blocks();
      if (layout.form == BlockForm::none) continue;
      require(layout.group % 32 == 0 || layout.group == rows.columns(), "groups are of a size for kernels");
      const auto groups = static_cast<std::size_t>((rows.columns() + layout.group - 1) / layout.group);
      std::vector<std::int8_t> q(static_cast<std::size_t>(rows.columns()));
      std::vector<float> scales(groups);
      std::vector<std::uint8_t> offsets(groups);
      rows.read_blocks(last, {.q = q.data(), .scales = scales.data(), .offsets = offsets.data()});
      if (layout.form != BlockForm::nibbles) continue;
      require(std::ranges::all_of(q, [](int n) { return n >= 0 && n <= 15; }) &&
                  std::ranges::all_of(offsets, [](int n) { return n <= 15; }),
              "nibbles are nibbles");
    }
  });
}

void generation_config(Bytes bytes) {
  allow_errors([&] {
    const GenerationConfig config =
        generation_config_from_json(parse_json(as_text(bytes), "generation_config.json"), "generation_config.json");
    config.validate();
  });
}

/// The first byte: how many bytes are the config, in hundreds; the next one, the data bytes behind the header of the
/// tensors that follow.
void adapter(Bytes bytes) {
  static const MemoryFile config, tensors, base_file;
  static const Folder folder, base;
  static const bool ready = [] {
    folder.link("adapter_config.json", config);
    folder.link("adapter_model.safetensors", tensors);
    base.link("model.safetensors", base_file);
    std::string data, header = "{";
    const auto add = [&](std::string_view name, std::initializer_list<int> shape) {
      int size = 4;
      std::string sizes;
      for (const int extent : shape) {
        size *= extent;
        sizes += concat(sizes.empty() ? "" : ",", extent);
      }
      header += concat(header.size() > 1 ? "," : "", "\"", name, R"(":{"dtype":"F32","shape":[)", sizes,
                       R"(],"data_offsets":[)", data.size(), ",", data.size() + static_cast<std::size_t>(size), "]}");
      data.append(static_cast<std::size_t>(size), '\x3f');
    };
    const std::string layer = "model.language_model.layers.0.";
    add("model.language_model.embed_tokens.weight", {5, 2});
    add(layer + "self_attn.q_proj.weight", {3, 2});
    add(layer + "input_layernorm.weight", {2});
    add(layer + "mlp.experts.gate_up_proj", {2, 2, 4});
    add(layer + "mlp.experts.down_proj", {2, 2, 2});
    add("model.visual.patch_embed.proj.weight", {3, 1, 2, 1, 1});
    add("model.visual.patch_embed.proj.bias", {3});
    base_file.set(as_bytes(with_length(header + "}") + data));
    return true;
  }();
  require(ready, "the base is written");
  Input input(bytes);
  const std::size_t config_size = input.byte() * std::size_t{100};
  const std::uint8_t data = input.byte();
  config.set(input.bytes(config_size));
  tensors.set(as_bytes(with_length(as_text(input.rest())) + std::string(data * std::size_t{4}, '\x3e')));
  allow_errors([&] {
    Checkpoint checkpoint = Checkpoint::open(base.path());
    const std::vector<std::string> names = checkpoint.names();
    bool tied = true;
    const auto merged = PeftAdapter::open(folder.path(), {.max_header_bytes = 4096, .max_rank = 8})
                            .merge_into(checkpoint, 0.5f, tied, {});
    std::size_t changed = 0;
    for (const std::string& name : checkpoint.names()) {
      const StoredTensor& tensor = *checkpoint.find(name);
      std::vector<float> values(static_cast<std::size_t>(tensor.size()));
      read_floats(tensor, values);
      if (!tensor.encoded) continue;
      ++changed;
      require(tensor.encoded->rows() * tensor.encoded->columns() == tensor.size(), "rows have the tensor's size");
    }
    require(changed <= 2 * (merged.updated + merged.replaced), "what is changed is counted");
    require(checkpoint.names().size() <= names.size() + 1, "no tensors but a head appear");
  });
}

constexpr Target targets[] = {{"adapter", 4096, adapter},
                              {"safetensors", 2048, safetensors},
                              {"gguf", 4096, gguf},
                              {"gguf_model", 8192, gguf_model},
                              {"npy", 1200, npy},
                              {"checkpoint_index", 2048, checkpoint_index},
                              {"packed_file", 8192, packed_file},
                              {"config", 4096, config},
                              {"generation_config", 1024, generation_config},
                              {"quantization", 4096, quantization}};

}  // namespace

std::span<const Target> file_targets() { return targets; }

}  // namespace fuzz

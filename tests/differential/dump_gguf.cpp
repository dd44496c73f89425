/// What the library reads in a GGUF file, for compare_gguf.py: dump_gguf FILE
///
/// One line of JSON, {"metadata": {key: value, ...}, "tensors": [{"name":, "type":, "shape": [...]}, ...]}, then the
/// values of all tensors of floating types as float32, one tensor after the other.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "qwen3vl/io/weights/gguf.hpp"

namespace {

using namespace qwen3vl;
using Json = nlohmann::ordered_json;

Json value_of(const GgufMetadata& metadata, const std::string_view key, const GgufValue& value) {
  const bool is_array = value.type == GgufValueType::array;
  switch (is_array ? value.element : value.type) {
    case GgufValueType::string:
      return is_array ? Json(metadata.strings(key)) : Json(metadata.string(key));
    case GgufValueType::boolean:
      return is_array ? Json(metadata.booleans(key)) : Json(metadata.boolean(key));
    case GgufValueType::float32:
    case GgufValueType::float64:
      return is_array ? Json(metadata.numbers(key)) : Json(metadata.number(key));
    case GgufValueType::array:
      return "arrays";
    default:
      return is_array ? Json(metadata.integers(key)) : Json(metadata.integer(key));
  }
}

void dump(const char* path) {
  const GgufFile file = GgufFile::open(path);
  Json json;
  for (const auto& [key, value] : file.metadata().values())
    json["metadata"][std::string(key)] = value_of(file.metadata(), key, value);
  for (const StoredTensor& tensor : file.tensors())
    json["tensors"].push_back({{"name", tensor.name},
                               {"type", tensor.encoded ? tensor.encoded->type_name() : name_of(tensor.dtype)},
                               {"shape", tensor.shape}});
  std::cout << json.dump() << '\n';
  std::vector<float> values;
  for (const StoredTensor& tensor : file.tensors()) {
    if (!tensor.encoded && !is_floating_weight(tensor.dtype)) continue;
    values.resize(static_cast<std::size_t>(tensor.size()));
    read_floats(tensor, values);
    std::cout.write(reinterpret_cast<const char*>(values.data()),
                    static_cast<std::streamsize>(values.size() * sizeof(float)));
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 2) fail("usage: dump_gguf FILE");
    dump(argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "dump_gguf: %s\n", error.what());
    return 1;
  }
}

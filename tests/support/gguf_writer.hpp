/// Writes GGUF files for tests: anew, or copies of others with changes.
#pragma once

#include <cctype>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/io/checkpoint/gguf_names.hpp"
#include "qwen3vl/io/weights/checkpoint.hpp"
#include "qwen3vl/io/weights/gguf.hpp"

namespace qwen3vl::test {

class GgufWriter {
 public:
  GgufWriter() = default;
  /// The metadata of another file, without its tensors.
  explicit GgufWriter(const GgufFile& file) {
    for (const auto& [key, value] : file.metadata().values()) {
      std::string bytes = number(static_cast<std::uint32_t>(value.type));
      if (value.type == GgufValueType::array)
        bytes += number(static_cast<std::uint32_t>(value.element)) + number(value.count);
      if (value.type == GgufValueType::string) bytes += number(static_cast<std::uint64_t>(value.bytes.size()));
      bytes.append(reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size());
      keys_[std::string(key)] = bytes;
    }
  }

  void remove(const std::string& key) { keys_.erase(key); }
  void set(const std::string& key, std::string_view value) {
    keys_[key] = number(static_cast<std::uint32_t>(GgufValueType::string)) + text(value);
  }
  void set(const std::string& key, std::uint32_t value) {
    keys_[key] = number(static_cast<std::uint32_t>(GgufValueType::uint32)) + number(value);
  }
  void set(const std::string& key, const std::vector<float>& values) { set_array(key, GgufValueType::float32, values); }
  void set(const std::string& key, const std::vector<std::int32_t>& values) {
    set_array(key, GgufValueType::int32, values);
  }
  void set(const std::string& key, const std::vector<bool>& values) {
    set_array(key, GgufValueType::boolean, std::vector<std::uint8_t>(values.begin(), values.end()));
  }
  void set(const std::string& key, const std::vector<std::string>& values) {
    std::string bytes = number(static_cast<std::uint32_t>(GgufValueType::array)) +
                        number(static_cast<std::uint32_t>(GgufValueType::string)) +
                        number(static_cast<std::uint64_t>(values.size()));
    for (const std::string& value : values) bytes += text(value);
    keys_[key] = bytes;
  }

  /// A plain tensor of type F32, F16 or BF16.
  void add(const StoredTensor& tensor) {
    const std::uint32_t type = tensor.dtype == DType::f32 ? 0 : tensor.dtype == DType::f16 ? 1 : 30;
    std::string entry = text(tensor.name) + number(static_cast<std::uint32_t>(tensor.shape.size()));
    for (std::size_t i = tensor.shape.size(); i-- > 0;) entry += number(static_cast<std::uint64_t>(tensor.shape[i]));
    entries_ += entry + number(type) + number(static_cast<std::uint64_t>(data_.size()));
    data_.append(reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size());
    data_.resize((data_.size() + 31) / 32 * 32);
    ++tensors_;
  }

  std::filesystem::path write(const std::filesystem::path& path) const {
    std::string file =
        "GGUF" + number(std::uint32_t{3}) + number(tensors_) + number(static_cast<std::uint64_t>(keys_.size()));
    for (const auto& [key, value] : keys_) file += text(key) + value;
    file += entries_;
    file.resize((file.size() + 31) / 32 * 32);
    std::ofstream(path, std::ios::binary) << file << data_;
    return path;
  }

 private:
  template <class T>
  static std::string number(T value) {
    std::string bytes(sizeof value, '\0');
    std::memcpy(bytes.data(), &value, sizeof value);
    return bytes;
  }
  static std::string text(std::string_view value) {
    return number(static_cast<std::uint64_t>(value.size())) + std::string(value);
  }
  template <class T>
  void set_array(const std::string& key, GgufValueType element, const std::vector<T>& values) {
    std::string bytes = number(static_cast<std::uint32_t>(GgufValueType::array)) +
                        number(static_cast<std::uint32_t>(element)) + number(static_cast<std::uint64_t>(values.size()));
    for (const T value : values) bytes += number(value);
    keys_[key] = bytes;
  }

  std::map<std::string, std::string> keys_;
  std::string entries_, data_;
  std::uint64_t tensors_ = 0;
};

/// The checkpoint folder's tensors under llama.cpp's names and in its shapes: of the text model, or of the tower with
/// the keys that describe it. Nothing is rounded.
inline void add_tensors(GgufWriter& to, const qwen3vl::Checkpoint& checkpoint, bool tower,
                        std::vector<std::string>& storage, const std::vector<int>& deepstack) {
  storage.reserve(2);  // of the patch embedding's two halves
  for (const std::string& name : checkpoint.names()) {
    StoredTensor tensor = *checkpoint.find(name);
    if (tower != name.starts_with("model.visual.")) continue;
    const std::string ending = name.substr(name.rfind('.'));
    std::string base = name.substr(0, name.rfind('.'));
    std::string number;
    for (std::size_t i = 0; i < base.size() && number.empty(); ++i)
      if (base[i] == '.' && std::isdigit(static_cast<unsigned char>(base[i + 1])) != 0) {
        const std::size_t end = base.find('.', i + 1);
        number = base.substr(i + 1, end - i - 1);
        base.replace(i + 1, end - i - 1, "*");
      }
    for (const auto& known : detail::gguf_names)
      if (known.ours == base) {
        std::string stored(known.stored);
        if (stored.starts_with("v.deepstack."))
          number = std::to_string(deepstack[static_cast<std::size_t>(std::stoi(number))]);
        if (const std::size_t star = stored.find('*'); star != std::string::npos) stored.replace(star, 1, number);
        tensor.name = stored + ending;
        break;  // the first is llama.cpp's
      }
    if (tensor.name != "v.patch_embd.weight") {
      to.add(tensor);
      continue;
    }
    const std::size_t frame = static_cast<std::size_t>(tensor.shape[3] * tensor.shape[4]) * size_of(tensor.dtype);
    tensor.shape.erase(tensor.shape.begin() + 2);
    for (std::size_t f = 0; f < 2; ++f) {
      std::string& half = storage.emplace_back();
      for (std::size_t at = f * frame; at < tensor.bytes.size(); at += 2 * frame)
        half.append(reinterpret_cast<const char*>(tensor.bytes.data() + at), frame);
      StoredTensor one = tensor;
      one.name = f == 0 ? "v.patch_embd.weight" : "v.patch_embd.weight.1";
      one.bytes = std::as_bytes(std::span(half));
      to.add(one);
    }
  }
}

}  // namespace qwen3vl::test

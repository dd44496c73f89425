/// Weights of a checkpoint, of the whole model or of one part.
#pragma once

#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/io/weights/checkpoint.hpp"
#include "qwen3vl/layers/parameters.hpp"
#include "qwen3vl/loading/stored_names.hpp"
#include "qwen3vl/tensor/raw_tensor.hpp"

namespace qwen3vl {

/// The WeightSource of a checkpoint. Pages of loaded tensors are released, so that a tensor is in memory once. Tensors
/// are found by the model's names, whatever form of them the file has (stored_names.hpp). With a prefix, only tensors
/// whose names begin with it are visible, without the prefix, to load a part of a model:
///   load_parameters(ctx, vision_model, CheckpointSource(checkpoint, "model.visual."), "the vision tower");
class CheckpointSource {
 public:
  static constexpr bool keeps_tensors = true;  // they are mapped

  /// `checkpoint` must outlive the source.
  explicit CheckpointSource(const Checkpoint& checkpoint, std::string prefix = {})
      : checkpoint_(checkpoint), prefix_(std::move(prefix)) {
    std::vector<std::string> renamed;
    for (const std::string& name : checkpoint.names())
      if (detail::canonical_name(name) == name) {
        tensors_.emplace(name, name);
      } else {
        renamed.push_back(name);
      }
    for (const std::string& name : renamed)  // a tensor that is stored twice stays under its own name, unused
      if (!tensors_.emplace(detail::canonical_name(name), name).second) tensors_.emplace(name, name);
    std::erase_if(tensors_, [](const auto& tensor) {  // older files have this buffer in every layer
      return tensor.first.find("rotary_emb.inv_freq") != std::string::npos;
    });
  }

  std::optional<RawTensor> find(const Part& part) const {
    const StoredTensor* const tensor = stored(prefix_ + part.name);
    if (tensor == nullptr) return std::nullopt;
    return RawTensor{.dtype = tensor->dtype,
                     .data = tensor->bytes.data(),
                     .shape = tensor->shape,
                     .file = tensor->file,
                     .encoded = tensor->encoded.get()};
  }
  void release(const Part& part) const {
    if (const StoredTensor* const tensor = stored(prefix_ + part.name)) checkpoint_.release(tensor->name);
  }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& [name, file_name] : tensors_)
      if (name.starts_with(prefix_)) names.push_back(name.substr(prefix_.size()));
    return names;
  }

  /// For two tensors that the config ties: if only `target` is stored, it is used for `source`, too. Whether both are
  /// stored, with different values, so that transformers would not tie them. Compares only then, from the start.
  bool tie(const std::string& target, const std::string& source) {
    const StoredTensor *const head = stored(target), *const embedding = stored(source);
    if (head == nullptr) return false;
    if (embedding != nullptr) return !same_values(*head, *embedding);
    tensors_.emplace(source, head->name);
    return false;
  }

 private:
  const StoredTensor* stored(std::string_view name) const {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : checkpoint_.find(found->second);
  }

  static bool same_values(const StoredTensor& a, const StoredTensor& b) {
    if (a.shape != b.shape) return false;
    // Equal bytes are equal values but for NaN, which is nobody's weight.
    if (!a.encoded && !b.encoded && a.dtype == b.dtype &&
        std::memcmp(a.bytes.data(), b.bytes.data(), a.bytes.size()) == 0)
      return true;
    const auto has_floats = [](const StoredTensor& one) { return one.encoded || is_floating_weight(one.dtype); };
    if (!has_floats(a) || !has_floats(b) || a.shape.size() != 2) return false;
    std::vector<float> a_row(static_cast<std::size_t>(a.shape[1])), b_row(a_row.size());
    for (index_t row = 0; row < a.shape[0]; ++row) {
      read_rows(a, a.shape[1], row, 1, a_row.data());
      read_rows(b, a.shape[1], row, 1, b_row.data());
      if (a_row != b_row) return false;
    }
    return true;
  }

  const Checkpoint& checkpoint_;
  std::string prefix_;
  std::map<std::string, std::string, std::less<>> tensors_;  // the model's name, the stored name
};

}  // namespace qwen3vl

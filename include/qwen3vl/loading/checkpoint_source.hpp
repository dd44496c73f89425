/// Weights of a checkpoint, of the whole model or of one part.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/io/weights/checkpoint.hpp"
#include "qwen3vl/layers/parameters.hpp"
#include "qwen3vl/tensor/raw_tensor.hpp"

namespace qwen3vl {

/// The WeightSource of a checkpoint. Pages of loaded tensors are released, so that a tensor is in memory once. With a
/// prefix, only tensors whose names begin with it are visible, without the prefix, to load a part of a model:
///   load_parameters(ctx, vision_model, CheckpointSource(checkpoint, "model.visual."), "the vision tower");
class CheckpointSource {
 public:
  static constexpr bool keeps_tensors = true;  // they are mapped

  /// `checkpoint` must outlive the source.
  explicit CheckpointSource(const Checkpoint& checkpoint, std::string prefix = {})
      : checkpoint_(checkpoint), prefix_(std::move(prefix)) {}

  std::optional<RawTensor> find(const Part& part) const {
    const StoredTensor* const tensor = checkpoint_.find(prefix_ + part.name);
    if (tensor == nullptr) return std::nullopt;
    return RawTensor{
        .dtype = tensor->dtype, .data = tensor->bytes.data(), .shape = tensor->shape, .file = tensor->file};
  }
  void release(const Part& part) const { checkpoint_.release(prefix_ + part.name); }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const std::string& name : checkpoint_.names())
      if (name.starts_with(prefix_)) names.push_back(name.substr(prefix_.size()));
    return names;
  }

 private:
  const Checkpoint& checkpoint_;
  std::string prefix_;
};

}  // namespace qwen3vl

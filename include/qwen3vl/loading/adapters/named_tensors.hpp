/// A checkpoint's tensors by the names of the model.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "qwen3vl/io/weights/checkpoint.hpp"
#include "qwen3vl/loading/stored_names.hpp"

namespace qwen3vl::detail {

/// Finds and replaces them, whatever form of the names the file has. The checkpoint must outlive it.
class NamedTensors {
 public:
  explicit NamedTensors(Checkpoint& checkpoint) : checkpoint_(checkpoint) {
    for (const std::string& name : checkpoint.names())
      if (canonical_name(name) == name) names_.emplace(name, name);
    for (const std::string& name : checkpoint.names()) names_.emplace(canonical_name(name), name);
  }
  const StoredTensor* find(const std::string& name) const {
    const auto found = names_.find(name);
    return found == names_.end() ? nullptr : checkpoint_.find(found->second);
  }
  void put(const std::string& name, StoredTensor tensor) {
    tensor.name = names_.emplace(name, name).first->second;
    checkpoint_.put(std::move(tensor));
  }
  void erase(const std::string& name) {
    const auto found = names_.find(name);
    if (found == names_.end()) return;
    checkpoint_.erase(found->second);
    names_.erase(found);
  }
  const std::map<std::string, std::string>& names() const { return names_; }

 private:
  Checkpoint& checkpoint_;
  std::map<std::string, std::string> names_;  // and what the checkpoint calls them
};

}  // namespace qwen3vl::detail

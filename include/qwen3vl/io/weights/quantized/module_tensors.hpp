/// The tensors that a quantisation format stores for one weight, found and checked.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/io/weights/checkpoint.hpp"
#include "qwen3vl/tensor/encoded_rows.hpp"

namespace qwen3vl {

/// A module ("model.layers.0.mlp.up_proj") and its tensors by the rest of their names ("weight_packed").
class ModuleTensors {
 public:
  ModuleTensors(Checkpoint& checkpoint, std::string name) : checkpoint_(checkpoint), name_(std::move(name)) {}

  const std::string& name() const { return name_; }
  std::string name_of_tensor(std::string_view rest) const { return concat(name_, ".", rest); }

  /// The tensor, or nullptr.
  const StoredTensor* find(std::string_view rest) const { return checkpoint_.find(name_of_tensor(rest)); }
  /// The tensor, of one of these types and with 1 to `rank` sizes of 1 to 2^31. Throws Error.
  const StoredTensor& need(std::string_view rest, std::initializer_list<DType> types, std::size_t rank = 2) const {
    const StoredTensor* const tensor = find(rest);
    if (tensor == nullptr) fail(place(), " has no ", rest);
    if (tensor->encoded || std::ranges::find(types, tensor->dtype) == types.end()) {
      std::string wanted;
      for (const DType type : types) wanted += concat(wanted.empty() ? "" : " or ", qwen3vl::name_of(type));
      wrong(rest, wanted);
    }
    if (tensor->shape.size() > rank ||
        !std::ranges::all_of(tensor->shape, [](index_t extent) { return extent >= 1 && extent <= index_t{1} << 31; }))
      wrong(rest, concat("at most ", rank, " sizes from 1 to 2147483648"));
    return *tensor;
  }
  /// That, with this shape.
  const StoredTensor& need_shape(std::string_view rest, std::initializer_list<DType> types,
                                 const std::vector<index_t>& shape) const {
    const StoredTensor& tensor = need(rest, types, shape.size());
    if (tensor.shape != shape) wrong(rest, detail::shape_text(shape));
    return tensor;
  }
  /// A matrix.
  const StoredTensor& need_matrix(std::string_view rest, std::initializer_list<DType> types) const {
    const StoredTensor& tensor = need(rest, types);
    if (tensor.shape.size() != 2) wrong(rest, "a matrix");
    return tensor;
  }
  /// One number.
  float number(std::string_view rest) const {
    const StoredTensor& tensor = need(rest, {DType::f32, DType::bf16, DType::f16});
    if (tensor.size() != 1) wrong(rest, "one number");
    float value = 0.0f;
    read_floats(tensor, std::span(&value, 1));
    return value;
  }

  /// Throws Error: the checkpoint, the tensor, its type and shape, and what is wanted.
  [[noreturn]] void wrong(std::string_view rest, std::string_view wanted) const {
    const StoredTensor& tensor = *find(rest);
    fail(checkpoint_.name(), ": ", detail::shown(tensor.name), " is ", qwen3vl::name_of(tensor.dtype), " ",
         detail::shape_text(tensor.shape), ", wanted ", wanted);
  }
  std::string place() const { return concat(checkpoint_.name(), ": the quantised ", detail::shown(name_)); }

  /// Makes NAME.weight these rows, and takes away the tensors that they are made of, and `unused` ones.
  void replace(std::shared_ptr<const EncodedRows> rows, std::initializer_list<std::string_view> used,
               std::span<const std::string_view> unused = {}) {
    for (const std::string_view rest : used) checkpoint_.erase(name_of_tensor(rest));
    for (const std::string_view rest : unused) checkpoint_.erase(name_of_tensor(rest));
    if (find("weight") != nullptr) fail(place(), " has a plain weight, too");
    StoredTensor tensor{.name = name_of_tensor("weight"), .shape = {rows->rows(), rows->columns()}, .bytes = {}};
    tensor.encoded = std::move(rows);
    checkpoint_.put(std::move(tensor));
  }

 private:
  Checkpoint& checkpoint_;
  std::string name_;
};

/// The modules that have one of these tensors.
inline std::vector<ModuleTensors> modules_with(Checkpoint& checkpoint, std::span<const std::string_view> tensors) {
  std::vector<ModuleTensors> modules;
  std::set<std::string> names;
  for (const std::string& name : checkpoint.names())
    for (const std::string_view rest : tensors)
      if (name.size() > rest.size() + 1 && name.ends_with(rest) && name[name.size() - rest.size() - 1] == '.')
        names.insert(name.substr(0, name.size() - rest.size() - 1));
  for (const std::string& name : names) modules.emplace_back(checkpoint, name);
  return modules;
}

/// Throws Error if tensors with such names are left: nobody uses them.
inline void require_none_left(const Checkpoint& checkpoint, std::span<const std::string_view> tensors) {
  std::vector<std::string> left;
  for (const std::string& name : checkpoint.names())
    for (const std::string_view rest : tensors)
      if (name.size() > rest.size() && name.ends_with(rest) && name[name.size() - rest.size() - 1] == '.') {
        left.push_back(detail::shown(name));
        break;
      }
  if (!left.empty())
    fail(checkpoint.name(),
         " has tensors of quantised weights whose weight is missing or not quantised: ", detail::listed(left));
}

}  // namespace qwen3vl

/// The group of each column, where a format has reordered them ("g_idx").
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "qwen3vl/io/weights/quantized/module_tensors.hpp"

namespace qwen3vl {

/// The module's tensor of an int32 from 0 to groups - 1 for each column; nullptr if it has none. Throws Error if it is
/// another.
inline const std::byte* group_of_column(const ModuleTensors& module, std::string_view rest, index_t columns,
                                        index_t groups) {
  if (module.find(rest) == nullptr) return nullptr;
  const StoredTensor& tensor = module.need_shape(rest, {DType::i32}, {columns});
  std::vector<std::int64_t> values(static_cast<std::size_t>(columns));
  read_int64s(tensor, values);
  if (std::ranges::any_of(values, [&](std::int64_t group) { return group < 0 || group >= groups; }))
    module.wrong(rest, concat("numbers of groups from 0 to ", groups - 1));
  return tensor.bytes.data();
}

}  // namespace qwen3vl

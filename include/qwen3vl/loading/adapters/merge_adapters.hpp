/// The adapters of PretrainedOptions.
#pragma once

#include <cmath>
#include <filesystem>
#include <string>

#include "qwen3vl/base/hub_cache.hpp"
#include "qwen3vl/loading/adapters/adapter_argument.hpp"
#include "qwen3vl/loading/adapters/peft_adapter.hpp"
#include "qwen3vl/loading/checkpoint_source.hpp"
#include "qwen3vl/model/forward_types.hpp"

namespace qwen3vl {

/// Merges them in order. `tied`: the config ties `head` to `embedding`. Whether an adapter parted the two.
inline bool merge_adapters(Checkpoint& checkpoint, const PretrainedOptions& options, bool tied, const std::string& head,
                           const std::string& embedding) {
  if (options.adapters.empty()) return false;
  tied = tied && !CheckpointSource(checkpoint).tie(head, embedding);  // as stored
  const bool before = tied;
  for (const AdapterFolder& adapter : options.adapters) {
    if (!std::isfinite(adapter.scale)) fail("the scale of ", adapter.folder.string(), " is not a number");
    const PeftAdapter::Merged merged = PeftAdapter::open(find_checkpoint(adapter.folder), options.limits)
                                           .merge_into(checkpoint, adapter.scale, tied, options.warn);
    if (options.note)
      options.note(concat("adapter ", adapter.folder.string(),
                          adapter.scale == 1.0f ? "" : concat(" x ", adapter.scale), ": ", merged.updated,
                          " tensors merged, ", merged.replaced, " replaced"));
  }
  return before && !tied;
}

}  // namespace qwen3vl

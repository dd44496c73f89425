/// The tensors of GGUF files under transformers' names and in its shapes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/io/checkpoint/gguf_names.hpp"
#include "qwen3vl/io/checkpoint/gguf_pair.hpp"
#include "qwen3vl/io/weights/checkpoint.hpp"
#include "qwen3vl/io/weights/concatenated_rows.hpp"
#include "qwen3vl/io/weights/plain_rows.hpp"

namespace qwen3vl {
namespace detail {

/// The weights of a 3D convolution, [rows, channels, frames, size], of which each frame's, [rows, channels, size], are
/// a tensor by themselves: llama.cpp has 2D convolutions only.
class FramesAsOne final : public EncodedRows {
 public:
  /// `frames`: plain tensors of one shape.
  FramesAsOne(const std::vector<const StoredTensor*>& frames, index_t size) : size_(size) {
    const std::vector<index_t>& shape = frames.front()->shape;
    for (const StoredTensor* const frame : frames) {
      StoredTensor row_by_row = *frame;
      row_by_row.shape = {shape[0], frame->size() / shape[0]};
      frames_.push_back(std::make_unique<PlainRows>(row_by_row));
    }
  }

  index_t rows() const override { return frames_[0]->rows(); }
  index_t columns() const override { return frames_[0]->columns() * static_cast<index_t>(frames_.size()); }
  void read(index_t first, index_t count, float* to) const override {
    const index_t columns = frames_[0]->columns(), frames = static_cast<index_t>(frames_.size());
    std::vector<float> row(static_cast<std::size_t>(columns));
    for (index_t r = 0; r < count; ++r)
      for (index_t f = 0; f < frames; ++f) {
        frames_[static_cast<std::size_t>(f)]->read(first + r, 1, row.data());
        for (index_t c = 0; c < columns / size_; ++c)
          std::copy_n(row.data() + c * size_, size_, to + (r * columns + c * size_) * frames + f * size_);
      }
  }
  BlockLayout blocks() const override { return frames_[0]->blocks(); }
  std::string_view type_name() const override { return frames_[0]->type_name(); }
  std::vector<std::span<const std::byte>> memory() const override {
    std::vector<std::span<const std::byte>> memory;
    for (const auto& frame : frames_) memory.push_back(frame->memory()[0]);
    return memory;
  }

 private:
  std::vector<std::unique_ptr<PlainRows>> frames_;
  index_t size_;
};

/// Fills a Checkpoint from the tensors of a pair.
class GgufWeights {
 public:
  GgufWeights(const GgufPair& pair, Checkpoint& checkpoint) : pair_(pair), checkpoint_(checkpoint) {
    for (const GgufFile* const file : {&pair.text, pair.tower ? &*pair.tower : nullptr})
      if (file != nullptr)
        for (const StoredTensor& tensor : file->tensors()) add(*file, tensor);
  }

 private:
  void add(const GgufFile& file, const StoredTensor& tensor) {
    const GgufNameParts parts(tensor.name);
    if (parts.pattern == "rope_freqs")
      fail(file.name(), " scales its rotary frequencies by a tensor, rope_freqs, which Qwen3-VL does not have");
    if (tensor.name == "v.patch_embd.weight.1") return;  // taken with the first
    for (const GgufJoinedName& joined : gguf_joined_names()) {
      if (std::ranges::find(joined.stored, parts.pattern) == joined.stored.end()) continue;
      if (parts.pattern == joined.stored.front()) join(file, joined, parts);
      return;
    }
    if (parts.pattern == "blk.*.attn_qkv") return split_qkv(file, tensor, parts);
    const auto* const known = std::ranges::find(gguf_names, std::string_view(parts.pattern), &GgufName::stored);
    StoredTensor ours = tensor;
    if (known != std::end(gguf_names)) ours.name = parts.as(known->ours);
    if (parts.pattern == "v.deepstack.*.norm" || parts.pattern == "v.deepstack.*.fc1" ||
        parts.pattern == "v.deepstack.*.fc2")
      ours.name = deepstack_name(file, parts, known->ours);
    if (ours.name == "model.visual.patch_embed.proj.weight") complete_patches(file, ours);
    put(file, std::move(ours));
  }

  void put(const GgufFile& file, StoredTensor tensor) {
    const std::string name = tensor.name;
    if (!checkpoint_.put(std::move(tensor))) fail(file.name(), " stores ", shown(name), " twice, by different names");
  }

  static const StoredTensor& needed(const GgufFile& file, const std::string& name) {
    const StoredTensor* const tensor = file.find(name);
    if (tensor == nullptr) fail(file.name(), " has no tensor ", name);
    return *tensor;
  }

  void join(const GgufFile& file, const GgufJoinedName& joined, const GgufNameParts& parts) {
    StoredTensor whole{.name = parts.as(joined.ours), .shape = {}, .bytes = {}};
    std::vector<const StoredTensor*> sources;
    for (const std::string_view pattern : joined.stored) {
      GgufNameParts source = parts;
      sources.push_back(&needed(file, source.as(pattern)));
    }
    const std::size_t rank = joined.of_experts ? 3 : parts.ending == ".bias" ? 1 : 2;
    const std::vector<index_t>& shape = sources.front()->shape;
    for (const StoredTensor* const source : sources)
      if (source->shape.size() != rank || (rank > 1 && source->shape.back() != shape.back()) ||
          (rank == 3 && source->shape != shape))
        fail(file.name(), ": ", shown(source->name), " is ", shape_text(source->shape), ", which does not fit ",
             shown(sources.front()->name), ", ", shape_text(shape));
    std::vector<std::shared_ptr<const EncodedRows>> rows;
    for (const StoredTensor* const source : sources) rows.push_back(rows_of(*source));
    std::vector<SomeRows> all;
    if (joined.of_experts) {
      for (index_t expert = 0; expert < shape[0]; ++expert)
        for (const auto& of : rows) all.push_back({of, expert * shape[1], shape[1]});
      whole.shape = {shape[0], shape[1] * static_cast<index_t>(sources.size()), shape[2]};
    } else {
      index_t size = 0;
      for (std::size_t i = 0; i < sources.size(); ++i) {
        all.push_back({rows[i], 0, rows[i]->rows()});
        size += sources[i]->shape[0];
      }
      whole.shape = shape;
      whole.shape[0] = size;
    }
    whole.encoded = std::make_shared<ConcatenatedRows>(std::move(all), whole.name);
    put(file, std::move(whole));
  }

  /// A converter's option puts the rows of q, k and v one after the other, which are not equally many.
  void split_qkv(const GgufFile& file, const StoredTensor& tensor, const GgufNameParts& parts) {
    const GgufMetadata& metadata = pair_.text.metadata();
    const auto number = [&](std::string_view key) {
      return metadata.integer<index_t>(concat(pair_.architecture(), ".attention.", key), 1, 1 << 20);
    };
    const index_t head = number("key_length"), q = number("head_count") * head, k = number("head_count_kv") * head;
    if (tensor.shape.empty() || tensor.shape[0] != q + 2 * k || tensor.shape.size() > 2)
      fail(file.name(), ": ", shown(tensor.name), " is ", shape_text(tensor.shape), ", wanted ", q + 2 * k, " rows");
    index_t first = 0;
    const bool is_bias = parts.ending == ".bias";
    for (const auto& [name, rows] : {std::pair("q_proj", q), std::pair("k_proj", k), std::pair("v_proj", k)}) {
      StoredTensor part = tensor;
      part.name = parts.as(concat("model.language_model.layers.*.self_attn.", name));
      part.shape[0] = rows;
      if (tensor.encoded) {
        if (is_bias) fail(file.name(), ": ", shown(tensor.name), " is of type ", tensor.encoded->type_name());
        part.encoded =
            std::make_shared<ConcatenatedRows>(std::vector<SomeRows>{{tensor.encoded, first, rows}}, part.name);
      } else {
        const auto row = static_cast<std::size_t>(is_bias ? 1 : tensor.shape[1]) * size_of(tensor.dtype);
        part.bytes = tensor.bytes.subspan(static_cast<std::size_t>(first) * row, static_cast<std::size_t>(rows) * row);
      }
      first += rows;
      put(file, std::move(part));
    }
  }

  /// llama.cpp's tower numbers these mergers by the block whose output they take, transformers one after the other.
  std::string deepstack_name(const GgufFile& file, GgufNameParts parts, std::string_view ours) const {
    const std::vector<bool> is_deepstack = file.metadata().booleans("clip.vision.is_deepstack_layers");
    const std::size_t block = parts.number.value_or(0);
    if (block >= is_deepstack.size() || !is_deepstack[block])
      fail(file.name(), " has a DeepStack merger of block ", block, ", which clip.vision.is_deepstack_layers denies");
    parts.number = static_cast<std::size_t>(
        std::count(is_deepstack.begin(), is_deepstack.begin() + static_cast<std::ptrdiff_t>(block), true));
    return parts.as(ours);
  }

  /// Makes the weights of the patch embedding [hidden, channels, frames, height, width].
  void complete_patches(const GgufFile& file, StoredTensor& weights) const {
    if (weights.encoded) fail(file.name(), ": the patch embedding is of type ", weights.encoded->type_name());
    if (weights.shape.size() != 4)
      fail(file.name(), ": the patch embedding is ", shape_text(weights.shape), ", wanted four dimensions");
    const StoredTensor* const second = file.find("v.patch_embd.weight.1");
    if (file.find("v.patch_embed.weight") != nullptr) {  // Ollama's: hidden and channels are one dimension
      const index_t hidden =
          pair_.vision().metadata().integer<index_t>(pair_.vision_key("embedding_length"), 1, 1 << 20);
      if (weights.shape[0] % hidden != 0)
        fail(file.name(), ": the patch embedding is ", shape_text(weights.shape), ", which is not for ",
             pair_.vision_key("embedding_length"), " = ", hidden);
      weights.shape.insert(weights.shape.begin(), hidden);
      weights.shape[1] /= hidden;
    } else if (second == nullptr) {
      weights.shape.insert(weights.shape.begin() + 2, 1);
    } else {
      StoredTensor first = weights;
      first.name = "v.patch_embd.weight";
      if (second->shape != first.shape || second->dtype != first.dtype || second->encoded)
        fail(file.name(), ": v.patch_embd.weight.1 is ", shape_text(second->shape), ", v.patch_embd.weight ",
             shape_text(first.shape));
      weights = {.name = weights.name, .shape = first.shape, .bytes = {}};
      weights.shape.insert(weights.shape.begin() + 2, 2);
      weights.encoded = std::make_shared<FramesAsOne>(std::vector<const StoredTensor*>{&first, second},
                                                      first.shape[2] * first.shape[3]);
    }
  }

  const GgufPair& pair_;
  Checkpoint& checkpoint_;
};

}  // namespace detail

/// The weights of a pair. Tensors that have no name in transformers keep theirs: loading reports them. Throws Error.
inline Checkpoint open_weights(GgufPair pair) {
  Checkpoint checkpoint(pair.name());
  detail::GgufWeights(pair, checkpoint);
  for (GgufFile* const file : {&pair.text, pair.tower ? &*pair.tower : nullptr})
    if (file != nullptr)
      for (GgufFile::Part& part : std::move(*file).take_parts()) checkpoint.keep(std::move(part.file), part.name);
  return checkpoint;
}

}  // namespace qwen3vl

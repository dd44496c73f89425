/// ForConditionalGeneration::save_pretrained: a model becomes a checkpoint folder that transformers loads.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "qwen3vl/config/write_config.hpp"
#include "qwen3vl/io/weights/write_safetensors.hpp"
#include "qwen3vl/model/for_conditional_generation.hpp"

namespace qwen3vl {
namespace detail {

/// The stored type of a model's matrices of type W, for the floats beside them (norms, biases, the position table).
template <class W>
inline constexpr DType saved_dtype = std::is_same_v<stored_weight_t<W>, bf16> ? DType::bf16 : DType::f32;

/// PyTorch's name.
constexpr std::string_view torch_name(DType dtype) { return dtype == DType::bf16 ? "bfloat16" : "float32"; }

/// Gives the tensors of a parameter to sink(info, write): write(f) passes their bytes, piece by piece, to
/// f(offset, bytes). `floats`: the type of parameters that the backend keeps as floats, if that loses nothing.
template <class B, class M, index_t... E, class Sink>
void store_parameter(Context<B>& ctx, const OwningTensor<float, M, E...>& tensor, const Parts& parts, DType floats,
                     Sink&& sink) {
  const std::vector<float> values = download_floats(ctx, tensor.view());
  std::size_t first = 0;
  for (const Part& part : parts) {
    TensorInfo info{part.name, DType::f32, part.shape};
    const auto own = std::span(values).subspan(first, info.bytes() / sizeof(float));
    first += own.size();
    const auto exact = [](float value) { return static_cast<float>(static_cast<bf16>(value)) == value; };
    if (floats == DType::bf16 && std::ranges::all_of(own, exact)) {
      info.dtype = DType::bf16;
      std::vector<bf16> rounded;
      for (const float value : own) rounded.push_back(static_cast<bf16>(value));
      sink(info, [&](const auto& write) { write(0, std::as_bytes(std::span(rounded))); });
    } else {
      sink(info, [&](const auto& write) { write(0, std::as_bytes(own)); });
    }
  }
}
template <class B, template <class, index_t, index_t, Packing> class Matrix, class W, index_t N, index_t K,
          Packing packing, class Sink>
void store_parameter(Context<B>& ctx, const Matrix<W, N, K, packing>& matrix, const Parts& parts, DType, Sink&& sink) {
  using Stored = stored_weight_t<W>;
  if constexpr (!requires(std::span<Stored> to) { matrix.store_rows(ctx, index_t{}, to); }) {
    fail(parts.front().name, " is held as ", W::name, ", which is not saved; save a model of another precision");
  } else {
    constexpr index_t rows_at_once = std::max<index_t>(1, (index_t{16} << 20) / K);
    index_t first = 0;
    for (const Part& part : parts) {
      sink(TensorInfo{part.name, saved_dtype<W>, part.shape}, [&](const auto& write) {
        std::vector<Stored> values;
        for (index_t row = 0; row < part.rows; row += rows_at_once) {
          values.resize(static_cast<std::size_t>(std::min(rows_at_once, part.rows - row) * K));
          matrix.store_rows(ctx, first + row, std::span(values));
          write(static_cast<std::size_t>(row * K) * sizeof(Stored), std::as_bytes(std::span(values)));
        }
      });
      first += part.rows;
    }
  }
}
/// As transformers 5 has them: [E, rows, columns].
template <class B, template <class, index_t, index_t, index_t, Packing> class Experts, class W, index_t E, index_t N,
          index_t K, Packing packing, class Sink>
void store_parameter(Context<B>& ctx, const Experts<W, E, N, K, packing>& experts, const Parts& parts, DType,
                     Sink&& sink) {
  using Stored = stored_weight_t<W>;
  const std::string& name = parts.front().name;
  if constexpr (!requires(std::span<Stored> to) { experts.store_expert(ctx, index_t{}, to); }) {
    fail(name, " is held as ", W::name, ", which is not saved; save a model of another precision");
  } else {
    sink(TensorInfo{name, saved_dtype<W>, {E, N, K}}, [&](const auto& write) {
      std::vector<Stored> values(static_cast<std::size_t>(N * K));
      for (index_t e = 0; e < E; ++e) {
        experts.store_expert(ctx, e, std::span(values));
        write(static_cast<std::size_t>(e * N * K) * sizeof(Stored), std::as_bytes(std::span(values)));
      }
    });
  }
}

/// Files of weights in `folder` of an earlier save that would be read instead of, or beside, the new ones.
inline void remove_old_weights(const std::filesystem::path& folder, const std::map<std::string, std::string>& kept) {
  const auto is_shard = [](std::string_view name) {  // model-00001-of-00002.safetensors
    constexpr std::string_view form = "model-#####-of-#####.safetensors";
    return name.size() == form.size() && std::ranges::equal(name, form, [](char c, char wanted) {
             return wanted == '#' ? c >= '0' && c <= '9' : c == wanted;
           });
  };
  std::vector<std::filesystem::path> old;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if ((is_shard(name) || name == "model.safetensors" || name == "model.safetensors.index.json") &&
        !kept.contains(name))
      old.push_back(entry.path());
  }
  for (const std::filesystem::path& path : old) std::filesystem::remove(path);
}

}  // namespace detail

/// Walks the parameter list that loading walks: once for names, types and sizes, once for the bytes.
template <Variant V, Backend B, class P>
template <std::same_as<SaveOptions> Options>
void ForConditionalGeneration<V, B, P>::save_pretrained(const std::filesystem::path& folder, const Options& options) {
  const nlohmann::json generation_config = generation_config_to_json(generation_config_);  // may be an error
  if (options.max_shard_size == 0) fail("max_shard_size is 0; give the bytes that a file may have");
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (!std::filesystem::is_directory(folder))
    fail("cannot save to ", folder.string(), ": it is not a folder and none can be made",
         error ? ": " + error.message() : std::string());

  constexpr DType dtype = detail::saved_dtype<typename P::Weight>;
  const auto for_each_tensor = [&](const auto& sink) {
    parameters([&](auto& parameter, Parts parts) {
      if (!parameter.allocated()) fail("cannot save ", parts.front().name, ": the model has no weights yet");
      detail::complete(parts, parameter_shape(parameter));
      detail::store_parameter(*ctx_, parameter, parts, dtype, sink);
    });
  };

  // Shards are filled in order, as transformers fills them; a tensor larger than the limit has one of its own.
  std::vector<std::vector<TensorInfo>> shards;
  std::map<std::string, std::size_t, std::less<>> shard_of;
  std::size_t open = 0;
  std::uint64_t used = 0, total = 0;
  for_each_tensor([&](const TensorInfo& info, const auto&) {
    const std::uint64_t size = info.bytes();
    total += size;
    std::size_t shard = open;
    if (size > options.max_shard_size) {
      shard = shards.size();
      shards.emplace_back();
    } else {
      if (used == 0 || used + size > options.max_shard_size) {
        open = shards.size();
        shards.emplace_back();
        used = 0;
      }
      shard = open;
      used += size;
    }
    shards[shard].push_back(info);
    shard_of.emplace(info.name, shard);
  });

  const auto padded = [](std::size_t number) {
    std::string digits = std::to_string(number);
    return std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits;
  };
  std::map<std::string, std::string> files;  // and the tensors' file
  std::vector<std::unique_ptr<SafetensorsWriter>> writers;
  std::vector<std::string> names;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    names.push_back(shards.size() == 1
                        ? "model.safetensors"
                        : concat("model-", padded(i + 1), "-of-", padded(shards.size()), ".safetensors"));
    files.emplace(names.back(), "");
    writers.push_back(std::make_unique<SafetensorsWriter>(folder / names.back(), shards[i],
                                                          std::map<std::string, std::string>{{"format", "pt"}}));
  }
  std::uint64_t done = 0;
  if (options.progress) options.progress(0, total);
  for_each_tensor([&](const TensorInfo& info, const auto& bytes) {
    SafetensorsWriter& writer = *writers[shard_of.at(info.name)];
    bytes([&](std::uint64_t offset, std::span<const std::byte> piece) {
      writer.write(info.name, offset, piece);
      done += piece.size();
      if (options.progress) options.progress(done, total);
    });
  });

  for (const auto& writer : writers) writer->commit();
  if (shards.size() > 1) {
    nlohmann::json weight_map = nlohmann::json::object();
    for (const auto& [name, shard] : shard_of) weight_map[name] = names[shard];
    write_json_file(folder / "model.safetensors.index.json",
                    {{"metadata", {{"total_parameters", count_parameters(*this)}, {"total_size", total}}},
                     {"weight_map", weight_map}});
    files.emplace("model.safetensors.index.json", "");
  }
  detail::remove_old_weights(folder, files);

  CheckpointConfig config{V::config, config_};
  config.model.tie_word_embeddings = !has_own_head_;
  write_json_file(folder / "config.json", config_to_json(config, detail::torch_name(dtype)));
  write_json_file(folder / "generation_config.json", generation_config);
}

}  // namespace qwen3vl

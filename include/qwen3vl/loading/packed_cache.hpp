/// Packed weights kept in a file between starts (PretrainedOptions::packed_cache).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "qwen3vl/io/weights/checkpoint.hpp"
#include "qwen3vl/io/weights/packed_file.hpp"
#include "qwen3vl/model/load.hpp"

namespace qwen3vl {

/// The file of a model's packed weights, and what they depend on.
template <class Model>
class PackedCache {
  using B = typename Model::BackendType;
  static_assert(B::is_host, "packed weights are kept of backends whose memory is the host's");

 public:
  /// `checkpoint_folder` is that of `checkpoint`. Parameters whose form depends on the checkpoint have been told of it
  /// (expect_parameters).
  PackedCache(const std::filesystem::path& folder, Model& model, const std::filesystem::path& checkpoint_folder,
              const Checkpoint& checkpoint)
      : model_(model) {
    std::string kind = concat(B::packed_layout(), "\n", Model::PrecisionType::name, "\n"), forms;
    model.parameters([&](auto& parameter, const Parts& parts) {
      const ParameterShape shape = parameter_shape(parameter);
      kind += concat(parts.front().name, " ", shape.experts, " ", shape.rows, " ", shape.columns, "\n");
      if constexpr (requires { parameter.forms(); }) forms += concat(parameter.forms(), "\n");
    });
    for (const std::string& note : checkpoint.notes()) kind += note + "\n";
    // One file per checkpoint folder, its adapters, and packed layout; a changed checkpoint replaces its file.
    const std::filesystem::path whole = std::filesystem::weakly_canonical(checkpoint_folder);
    const std::string name = (whole.has_filename() ? whole : whole.parent_path()).filename().string();
    constexpr char digits[] = "0123456789abcdef";
    std::string number;
    for (std::uint64_t hash = fnv(whole.string() + "\n" + kind); number.size() < 16; hash >>= 4)
      number += digits[hash & 15];
    path_ = folder / concat(name, "-", Model::PrecisionType::name, "-", number, ".packed");
    identity_ = kind + forms + checkpoint.fingerprint();
  }

  const std::filesystem::path& path() const { return path_; }

  /// Fills the model from the file. False if there is no matching one; the weights are then undefined.
  bool read(int threads, const LoadProgress& progress) {
    const auto file = PackedFile::open(path_, identity_);
    if (!file) return false;
    const std::vector<std::span<std::byte>> pieces = memory();
    std::size_t total = 0;
    for (const auto& piece : pieces) total += piece.size();
    return file->read(pieces, threads, [&](std::size_t done) {
      if (progress) progress(done, total);
    });
  }

  /// Writes the file of a loaded model, creating its folder if missing. Throws Error.
  void write() {
    std::error_code ignored;
    std::filesystem::create_directories(path_.parent_path(), ignored);
    PackedFile::write(path_, identity_, memory());
  }

 private:
  static std::uint64_t fnv(std::string_view text) {
    std::uint64_t hash = 0xcbf29ce484222325u;
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    return hash;
  }

  /// All weights, allocated.
  std::vector<std::span<std::byte>> memory() {
    std::vector<std::span<std::byte>> pieces;
    model_.parameters([&](auto& parameter, const Parts&) {
      detail::visit_memory(parameter, [&](std::span<std::byte> piece) { pieces.push_back(piece); });
    });
    return pieces;
  }

  Model& model_;
  std::filesystem::path path_;
  std::string identity_;
};

}  // namespace qwen3vl

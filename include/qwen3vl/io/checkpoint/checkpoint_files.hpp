/// The files of a checkpoint beside its weights, by the names that the Hub gives them: those of a folder, or what GGUF
/// files say instead.
#pragma once

#include <concepts>
#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "qwen3vl/base/checkpoint_folder.hpp"
#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/warning.hpp"
#include "qwen3vl/io/checkpoint/gguf_documents.hpp"
#include "qwen3vl/io/checkpoint/gguf_pair.hpp"
#include "qwen3vl/io/checkpoint/gguf_weights.hpp"
#include "qwen3vl/io/weights/checkpoint.hpp"
#include "qwen3vl/io/weights/quantized/quantization.hpp"
#include "qwen3vl/json/json_file.hpp"

namespace qwen3vl {

/// Copies share what has been read; one may be used by one thread at a time.
class CheckpointFiles {
 public:
  /// A folder of the Hub, a name in the Hub's cache (find_checkpoint), a GGUF file, or a folder with one model in GGUF
  /// files. `mmproj`: the file of a GGUF model's vision tower; empty: found beside it. `warn` is told of settings that
  /// are not taken as they are. Throws Error for GGUF files that cannot be read; what a folder lacks is an error where
  /// it is needed.
  explicit CheckpointFiles(const std::filesystem::path& checkpoint, const std::filesystem::path& mmproj = {},
                           const Warn& warn = print_warning, const GgufLimits& limits = {})
      : path_(find_checkpoint(checkpoint)), warn_(warn), limits_(limits), read_(std::make_shared<Documents>()) {
    if (const auto file = find_gguf(path_)) {
      path_ = *file;
      gguf_ = std::make_shared<const GgufPair>(GgufPair::open(path_, mmproj, limits_));
    } else if (!mmproj.empty()) {
      fail(mmproj.string(), " is given as the vision tower (mmproj) of ", path_.string(),
           ", which is no GGUF file and has its own");
    }
  }
  /// A path, or the text of one.
  template <std::convertible_to<std::filesystem::path> Path>
  CheckpointFiles(const Path& checkpoint)  // NOLINT(google-explicit-constructor)
      : CheckpointFiles(std::filesystem::path(checkpoint)) {}

  /// The same files, with warnings to `warn`.
  CheckpointFiles warning(Warn warn) const {
    CheckpointFiles files = *this;
    files.warn_ = std::move(warn);
    return files;
  }

  /// The folder, or the GGUF file of the text model.
  const std::filesystem::path& path() const { return path_; }
  /// Of a checkpoint in GGUF files, otherwise nullptr.
  const GgufPair* gguf() const { return gguf_.get(); }

  /// Where a file is, for messages.
  std::string place_of(const std::string& name) const { return gguf_ ? gguf_->name() : (path_ / name).string(); }
  /// A JSON file, read once; nullptr if there is none. Throws Error if it cannot be read.
  const nlohmann::json* json(const std::string& name) const {
    auto found = read_->find(name);
    if (found == read_->end()) found = read_->emplace(name, read(name)).first;
    return found->second ? &*found->second : nullptr;
  }

  /// The same of one that must be there.
  const nlohmann::json& needed_json(const std::string& name) const {
    const nlohmann::json* const found = json(name);
    if (found == nullptr) fail(path_.string(), gguf_ ? " is a GGUF file: it stands for no " : " holds no ", name);
    return *found;
  }

  /// The weights, under transformers' names; of a folder as its `config_file` says that they are quantised.
  Checkpoint weights(const SafetensorsLimits& limits = {}, const std::string& config_file = "config.json") const {
    // Opened again: the checkpoint takes the mappings.
    if (gguf_) return open_weights(GgufPair::open(path_, gguf_->tower ? gguf_->tower->name() : "", limits_));
    Checkpoint checkpoint = Checkpoint::open(path_, limits, warn_);
    const auto decode = [&](const std::string& name, const std::optional<QuantizationConfig>& config) {
      if (!config) return false;
      decode_quantized(checkpoint, *config);
      checkpoint.decoded_with(json(name)->dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
      return true;
    };
    const nlohmann::json* const config = json(config_file);
    if (config != nullptr && decode(config_file, quantization_from_json(*config, place_of(config_file))))
      return checkpoint;
    const std::string modelopt = "hf_quant_config.json";
    if (json(modelopt) != nullptr) decode(modelopt, quantization_of_modelopt(*json(modelopt), place_of(modelopt)));
    return checkpoint;
  }

 private:
  using Documents = std::map<std::string, std::optional<nlohmann::json>>;

  std::optional<nlohmann::json> read(const std::string& name) const {
    if (gguf_) {
      const detail::GgufDocuments documents(*gguf_);
      if (name == "config.json") return documents.config();
      if (name == "generation_config.json") return documents.generation_config();
      if (name == "preprocessor_config.json") return documents.image_settings(warn_);
      if (name == "video_preprocessor_config.json") return documents.video_settings();
      if (name == "tokenizer_config.json") return documents.tokenizer_config(warn_);
      return std::nullopt;
    }
    // Only a file that is not there counts as missing.
    std::error_code ignored;
    if (std::filesystem::status(path_ / name, ignored).type() == std::filesystem::file_type::not_found)
      return std::nullopt;
    return read_json_file(path_ / name);
  }

  std::filesystem::path path_;
  Warn warn_;
  GgufLimits limits_;
  std::shared_ptr<const GgufPair> gguf_;
  std::shared_ptr<Documents> read_;
};

}  // namespace qwen3vl

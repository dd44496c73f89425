/// A model in GGUF files: the text model with its vision tower, which llama.cpp keeps in a file of its own
/// (mmproj-*.gguf) and Ollama in the same one.
#pragma once

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/io/weights/gguf.hpp"

namespace qwen3vl {

/// Whether a file begins like GGUF, whatever its name: Ollama's are called sha256-....
inline bool is_gguf(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return false;
  std::array<char, 4> magic{};
  std::ifstream(path, std::ios::binary).read(magic.data(), magic.size());
  return std::string_view(magic.data(), magic.size()) == "GGUF";
}

namespace detail {

inline std::string lower_case(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

/// The words of a file's name, but for those that say what is in it or how it is stored: what two files of one model
/// have in common.
inline std::vector<std::string> model_words(const std::filesystem::path& path) {
  std::vector<std::string> words(1);
  for (const char c : lower_case(path.stem().string()))
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      words.back() += c;
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  std::erase_if(words, [](const std::string& word) {
    const bool is_precision = word == "f16" || word == "bf16" || word == "f32" || word == "fp16" ||
                              (word.size() == 2 && word[0] == 'q' && std::isdigit(word[1]) != 0);
    return word.empty() || word == "mmproj" || word == "gguf" || is_precision || word == "0";
  });
  return words;
}

/// How many bits an mmproj's name promises, best first: bf16 is what the weights were trained in.
inline std::size_t precision_rank(const std::filesystem::path& path) {
  const std::string name = lower_case(path.filename().string());
  std::size_t rank = 0;
  for (const char* const precision : {"bf16", "f16", "f32", "fp16", "q8"}) {
    if (name.find(precision) != std::string::npos) break;
    ++rank;
  }
  return rank;
}

/// The GGUF files of a folder, sorted, those with a vision tower alone by themselves; of a split file the first.
struct GgufFolder {
  std::vector<std::filesystem::path> models, towers;

  explicit GgufFolder(const std::filesystem::path& folder) {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
      const std::string name = lower_case(entry.path().filename().string());
      if (!name.ends_with(".gguf")) continue;
      const std::size_t of = name.size() >= 20 ? name.size() - 20 : std::string::npos;  // "-00002-of-00003.gguf"
      const bool is_part = of != std::string::npos && name[of] == '-' && name.substr(of + 6, 4) == "-of-";
      if (is_part && name.substr(of + 1, 5) != "00001") continue;
      (name.find("mmproj") != std::string::npos ? towers : models).push_back(entry.path());
    }
    std::ranges::sort(models);
    std::ranges::sort(towers);
  }

  static std::string listed(const std::vector<std::filesystem::path>& paths) {
    std::vector<std::string> names;
    for (const auto& path : paths) names.push_back(shown(path.filename().string()));
    return detail::listed(names);
  }
};

/// The vision tower that lies beside a model: the only one, or the one whose name has the most words of the model's and
/// no others, in the best precision. Nothing if there is none. Throws Error if several fit equally well.
inline std::optional<std::filesystem::path> tower_beside(const std::filesystem::path& model) {
  const GgufFolder folder(model.has_parent_path() ? model.parent_path() : std::filesystem::path("."));
  if (folder.towers.size() <= 1) return folder.towers.empty() ? std::nullopt : std::optional(folder.towers.front());
  const std::vector<std::string> wanted = model_words(model);
  std::vector<std::filesystem::path> best;
  std::pair<std::size_t, std::size_t> best_rank{};  // words that differ, then precision
  for (const std::filesystem::path& tower : folder.towers) {
    const std::vector<std::string> words = model_words(tower);
    const auto is_wanted = [&](const std::string& word) { return std::ranges::find(wanted, word) != wanted.end(); };
    if (!std::ranges::all_of(words, is_wanted)) continue;
    const std::pair rank{wanted.size() - std::min(wanted.size(), words.size()), precision_rank(tower)};
    if (best.empty() || rank < best_rank) best.clear();
    if (best.empty() || rank == best_rank) {
      best_rank = rank;
      best.push_back(tower);
    }
  }
  if (best.size() == 1) return best.front();
  fail("several vision towers lie beside ", model.string(), ": ",
       GgufFolder::listed(best.empty() ? folder.towers : best),
       "; say which with --mmproj (PretrainedOptions::mmproj)");
}

}  // namespace detail

/// The files of one model, opened and checked to belong together.
struct GgufPair {
  GgufFile text;
  std::optional<GgufFile> tower;  ///< nothing: the text model's file has it, too

  const GgufFile& vision() const { return tower ? *tower : text; }
  /// How messages call both.
  std::string name() const { return tower ? concat(text.name(), " with ", tower->name()) : text.name(); }
  /// "qwen3vl" or "qwen3vlmoe", with which the keys of the text model begin.
  std::string_view architecture() const { return text.metadata().string("general.architecture"); }
  /// A key of the vision tower, in the words of llama.cpp: clip.vision.NAME, or in Ollama's files qwen3vl.vision.NAME.
  std::string vision_key(std::string_view name) const {
    return tower ? concat("clip.vision.", name) : concat(architecture(), ".vision.", name);
  }

  /// `mmproj`: the file of the vision tower; empty: found beside `path`. Throws Error.
  static GgufPair open(const std::filesystem::path& path, const std::filesystem::path& mmproj = {},
                       const GgufLimits& limits = {}) {
    GgufPair pair{GgufFile::open(path, limits), {}};
    const std::string architecture(pair.architecture());
    if (architecture == "clip")
      fail(path.string(), " is the vision tower of a model (mmproj); give the file of its text model, and this one as ",
           "--mmproj (PretrainedOptions::mmproj) unless it lies beside that");
    if (architecture != "qwen3vl" && architecture != "qwen3vlmoe")
      fail(path.string(), " holds a model of the architecture '", detail::shown(architecture),
           "'; qwen3vl runs qwen3vl and qwen3vlmoe");
    const bool has_tower = pair.text.metadata().has(concat(architecture, ".vision.block_count"));
    if (has_tower && !mmproj.empty())
      fail(path.string(), " holds its vision tower itself; leave out ", mmproj.string());
    if (has_tower) return pair;
    const auto found = mmproj.empty() ? detail::tower_beside(path) : std::optional(mmproj);
    if (!found)
      fail(path.string(), " holds the text model only, and no mmproj-*.gguf with its vision tower lies beside it; ",
           "download that, too, or say where it is with --mmproj (PretrainedOptions::mmproj)");
    pair.tower.emplace(GgufFile::open(*found, limits));
    check_tower(*pair.tower);
    return pair;
  }

 private:
  static void check_tower(const GgufFile& tower) {
    const GgufMetadata& metadata = tower.metadata();
    if (metadata.string("general.architecture") != "clip")
      fail(tower.name(), " is not a vision tower (mmproj): its general.architecture is '",
           detail::shown(metadata.string("general.architecture")), "', wanted clip");
    const char* const key = metadata.has("clip.projector_type") ? "clip.projector_type" : "clip.vision.projector_type";
    if (metadata.string(key) != "qwen3vl_merger")
      fail(tower.name(), " is the vision tower of another model: its ", key, " is '",
           detail::shown(metadata.string(key)), "', wanted qwen3vl_merger");
  }
};

/// The GGUF file that a checkpoint's path stands for: itself, or the only model in a folder without a config.json.
/// Nothing if it is another checkpoint or none. Throws Error if a folder holds several.
inline std::optional<std::filesystem::path> find_gguf(const std::filesystem::path& checkpoint) {
  namespace fs = std::filesystem;
  if (is_gguf(checkpoint)) return checkpoint;
  std::error_code ignored;
  if (!fs::is_directory(checkpoint, ignored) || fs::exists(checkpoint / "config.json", ignored)) return std::nullopt;
  const detail::GgufFolder folder(checkpoint);
  if (folder.models.size() > 1)
    fail(checkpoint.string(), " holds several models: ", detail::GgufFolder::listed(folder.models),
         "; give one of them");
  if (folder.models.empty() && !folder.towers.empty())
    fail(checkpoint.string(), " holds only the vision tower of a model, ", detail::GgufFolder::listed(folder.towers),
         "; download the text model's GGUF file, too");
  return folder.models.empty() ? std::nullopt : std::optional(folder.models.front());
}

}  // namespace qwen3vl

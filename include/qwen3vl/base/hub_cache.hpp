/// The Hub's cache on this machine, where `hf download` and transformers keep what they load: it is read, never filled.
///   CACHE/models--Qwen--Qwen3-VL-2B-Instruct/refs/main          the commit of the revision
///   CACHE/models--Qwen--Qwen3-VL-2B-Instruct/snapshots/COMMIT/  the files, as links
#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "qwen3vl/base/error.hpp"

namespace qwen3vl {

/// A repository's name on the Hub, as the user gives it: "Qwen/Qwen3-VL-2B-Instruct", with "@revision" for another than
/// `main` (as `transformers chat` has it).
struct HubName {
  std::string repository, revision = "main";

  /// Whether `text` reads like one: one slash between two plain names.
  static bool is_one(std::string_view text) {
    text = text.substr(0, text.find('@'));
    const std::size_t slash = text.find('/');
    const auto plain = [](std::string_view name) {
      return !name.empty() && name.front() != '.' && std::all_of(name.begin(), name.end(), [](unsigned char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
               c == '.';
      });
    };
    return slash != std::string_view::npos && plain(text.substr(0, slash)) && plain(text.substr(slash + 1));
  }
  explicit HubName(std::string_view text) : repository(text.substr(0, text.find('@'))) {
    if (repository.size() < text.size()) revision = text.substr(repository.size() + 1);
  }

  /// The repository's folder in a cache.
  std::string folder() const {
    std::string name = "models--" + repository;
    name.replace(name.find('/'), 1, "--");
    return name;
  }
};

/// The folder of the cache, by huggingface_hub's rules: $HF_HUB_CACHE, else hub/ in $HF_HOME, in
/// $XDG_CACHE_HOME/huggingface or in ~/.cache/huggingface. Empty if none of these variables and no HOME is set.
inline std::filesystem::path hub_cache() {
  const auto variable = [](const char* name) -> std::filesystem::path {
    const char* const value = std::getenv(name);
    if (value == nullptr || *value == '\0') return {};
    std::filesystem::path path = value;
    const char* const home = std::getenv("HOME");
    if (home != nullptr && *path.begin() == "~") path = home / path.lexically_relative("~");
    return path;
  };
  for (const char* const name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"})
    if (auto path = variable(name); !path.empty()) return path;
  if (const auto home = variable("HF_HOME"); !home.empty()) return home / "hub";
  if (const auto caches = variable("XDG_CACHE_HOME"); !caches.empty()) return caches / "huggingface" / "hub";
  if (const auto home = variable("HOME"); !home.empty()) return home / ".cache" / "huggingface" / "hub";
  return {};
}

/// The snapshot of a revision (a branch, a tag or a commit) in a repository's folder of the cache; empty if there is
/// none. Where the default branch is asked for and not recorded, as in folders that were copied without `refs`, it is
/// the only snapshot.
inline std::filesystem::path snapshot_of(const std::filesystem::path& repository, const std::string& revision) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const auto plain = [](const std::string& name) {
    return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos;
  };
  const fs::path relative = revision;  // a branch's name may have slashes
  if (relative.empty() || relative.is_absolute() || relative.lexically_normal() != relative ||
      *relative.begin() == "..")
    return {};
  if (std::ifstream reference(repository / "refs" / relative); reference) {
    std::string commit(80, '\0');
    reference.read(commit.data(), static_cast<std::streamsize>(commit.size()));
    commit.resize(static_cast<std::size_t>(reference.gcount()));
    commit.resize(std::min(commit.size(), commit.find_first_of("\r\n ")));
    if (plain(commit) && fs::is_directory(repository / "snapshots" / commit, ignored))
      return repository / "snapshots" / commit;
  }
  if (plain(revision) && fs::is_directory(repository / "snapshots" / revision, ignored))
    return repository / "snapshots" / revision;
  std::vector<fs::path> all;
  for (const auto& entry : fs::directory_iterator(repository / "snapshots", ignored))
    if (entry.is_directory(ignored)) all.push_back(entry.path());
  return revision == "main" && all.size() == 1 ? all.front() : fs::path();
}

/// What `given` means as a checkpoint: itself if it exists; if it is a repository's folder in the Hub's cache
/// ("models--Qwen--...") the snapshot of its main revision; if it is a name on the Hub, its snapshot in the cache.
/// `given` where there is none of these: whoever opens it says what it is instead. Nothing is downloaded.
inline std::filesystem::path find_checkpoint(const std::filesystem::path& given) {
  std::error_code ignored;
  std::filesystem::path found;
  if (std::filesystem::exists(given, ignored)) {
    const bool has_name = given.has_filename();
    const std::string name = (has_name ? given : given.parent_path()).filename().string();
    if (name.starts_with("models--")) found = snapshot_of(given, "main");
  } else if (const std::string text = given.string(); HubName::is_one(text)) {
    const HubName name(text);
    if (const auto cache = hub_cache(); !cache.empty()) found = snapshot_of(cache / name.folder(), name.revision);
  }
  return found.empty() ? given : found;
}

}  // namespace qwen3vl

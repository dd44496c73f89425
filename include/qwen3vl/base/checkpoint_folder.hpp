/// What a user may give instead of a checkpoint, and what to say about it.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>
#include <system_error>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/hub_cache.hpp"

namespace qwen3vl {
namespace detail {

/// The first subfolder of `folder`, by name, that begins with `start` and holds `file`; empty if there is none.
inline std::filesystem::path subfolder_with(const std::filesystem::path& folder, std::string_view start,
                                            const std::filesystem::path& file) {
  std::filesystem::path first;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const std::filesystem::path& path = entry.path();
    if (path.filename().string().starts_with(start) && std::filesystem::exists(path / file, ignored) &&
        (first.empty() || path < first))
      first = path;
  }
  return first;
}

/// A folder of the Hub's cache: of one repository ("models--Qwen--..."), of all of them, or the cache itself.
inline std::filesystem::path in_hub_cache(const std::filesystem::path& folder) {
  for (const char* const snapshots : {"snapshots", "../snapshots"})
    if (const auto found = subfolder_with(folder / snapshots, "", "config.json"); !found.empty())
      return found.lexically_normal();
  for (const std::filesystem::path& all : {folder, folder / "hub"})
    if (const auto repository = subfolder_with(all, "models--", "snapshots"); !repository.empty())
      if (auto found = subfolder_with(repository / "snapshots", "", "config.json"); !found.empty()) return found;
  return {};
}

}  // namespace detail

/// Throws Error unless `folder` is a folder with `config_file`. The message says what it is instead, and what to give.
inline void require_checkpoint_folder(const std::filesystem::path& folder,
                                      const std::filesystem::path& config_file = "config.json") {
  namespace fs = std::filesystem;
  constexpr std::string_view wanted =
      "a checkpoint folder (config.json, tokenizer.json, model.safetensors, ...) or a GGUF file";
  const std::string name = folder.string();
  std::error_code ignored;
  const fs::file_status status = fs::status(folder, ignored);
  if (!fs::exists(status)) {
    if (HubName::is_one(name)) {
      const HubName hub(name);
      const fs::path cache = hub_cache();
      const std::string revision = hub.revision == "main" ? "" : " --revision " + hub.revision;
      if (!cache.empty() && fs::is_directory(cache / hub.folder(), ignored))
        fail(name, " is in the Hub's cache, but not its revision '", hub.revision,
             "': ", (cache / hub.folder()).string(),
             " has no such reference or snapshot; download it with `hf download ", hub.repository, revision, "`");
      fail(name, " is neither a folder nor in the Hub's cache", cache.empty() ? "" : " (" + cache.string() + ")",
           "; if it is a name on the Hugging Face Hub, download it with `hf download ", hub.repository, revision, "`");
    }
    if (name.find("://") != std::string::npos)
      fail(name, " is an address; nothing is downloaded: give ", wanted, " on this machine");
    fail(name, " is not a folder: there is nothing of that name; give ", wanted);
  }
  if (!fs::is_directory(status)) {
    if (folder.extension() == ".gguf")
      fail(name, " is no GGUF file, in spite of its name: it does not begin with GGUF; download it again");
    const fs::path parent = folder.has_parent_path() ? folder.parent_path() : fs::path(".");
    if (fs::exists(parent / config_file, ignored))
      fail(name, " is not a folder but a file of one; give the folder, ", parent.string());
    fail(name, " is not a folder but a file; give ", wanted);
  }
  if (fs::exists(folder / config_file, ignored)) return;
  if (const fs::path found = detail::in_hub_cache(folder); !found.empty())
    fail(name, " is a folder of the Hub's cache that holds checkpoints, not one of them; give one, such as ",
         found.string());
  if (fs::exists(folder / "adapter_config.json", ignored))
    fail(name, " holds an adapter (LoRA), not a whole model; give its base model (base_model_name_or_path in its ",
         "adapter_config.json), and this folder as an adapter: --model BASE --lora ", name);
  if (const fs::path found = detail::subfolder_with(folder, "", config_file); !found.empty())
    fail(name, " holds no ", config_file.string(), ", but ", found.string(), " does; give that");
  fail(name, " holds no ", config_file.string(), "; give ", wanted);
}

}  // namespace qwen3vl

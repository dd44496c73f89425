/// What a user may give instead of an adapter of PEFT, and what to say about it.
#pragma once

#include <filesystem>
#include <string>
#include <system_error>

#include "qwen3vl/base/error.hpp"

namespace qwen3vl::detail {

/// Throws Error unless the folder has the two files of an adapter.
inline void require_adapter_folder(const std::filesystem::path& folder) {
  namespace fs = std::filesystem;
  const std::string name = folder.string();
  std::error_code ignored;
  const auto has = [&](const char* file) { return fs::exists(folder / file, ignored); };
  constexpr const char* wanted = "give a folder of PEFT, with adapter_config.json and adapter_model.safetensors";
  constexpr const char* gguf = "an adapter in llama.cpp's GGUF format, which is not read; ";
  if (!fs::exists(folder, ignored)) fail("there is no adapter ", name, "; ", wanted);
  if (!fs::is_directory(folder, ignored)) {
    if (folder.extension() == ".gguf") fail(name, " is ", gguf, wanted);
    fail(name, " is not a folder; ", wanted);
  }
  if (has("adapter_config.json") && has("adapter_model.safetensors")) return;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (entry.path().extension() == ".gguf")
      fail(name, " holds ", entry.path().filename().string(), ", ", gguf, wanted);
  if (has("adapter_model.bin"))
    fail(name, " holds an adapter_model.bin, a Python pickle, which is not read: load it with PEFT and save it, which ",
         "writes safetensors");
  if (!has("adapter_config.json") && has("config.json"))
    fail(name, " is a whole model, not an adapter: give it as the checkpoint");
  fail(name, " holds no ", has("adapter_config.json") ? "adapter_model.safetensors" : "adapter_config.json", "; ",
       wanted);
}

}  // namespace qwen3vl::detail

/// The files of a checkpoint folder that a processor is read from, and copying them to another.
#pragma once

#include <filesystem>
#include <string>
#include <system_error>

#include "qwen3vl/base/error.hpp"

namespace qwen3vl {

/// Copies what AutoProcessor and AutoTokenizer of transformers read, and takes out of `to` what `from` does not have
/// and would be read there. Throws Error.
inline void copy_processor_files(const std::filesystem::path& from, const std::filesystem::path& to) {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::create_directories(to, error);
  if (!fs::is_directory(to))
    fail("cannot save to ", to.string(), ": it is not a folder and none can be made",
         error ? ": " + error.message() : std::string());
  if (fs::equivalent(from, to, error)) return;
  if (!fs::exists(from / "tokenizer.json", error))
    fail("cannot save the processor: ", from.string(), ", which it was read from, has no tokenizer.json any more");
  for (const char* const name :
       {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
        "merges.txt", "processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json",
        "chat_template.jinja", "chat_template.json", "additional_chat_templates"}) {
    fs::remove_all(to / name, error);
    if (!fs::exists(from / name, error)) continue;
    fs::copy(from / name, to / name, fs::copy_options::recursive, error);
    if (error) fail("cannot copy ", (from / name).string(), " to ", to.string(), ": ", error.message());
  }
}

}  // namespace qwen3vl

/// Saving the files of a checkpoint that a processor is read from.
#pragma once

#include <filesystem>
#include <string>
#include <system_error>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/io/checkpoint/checkpoint_files.hpp"
#include "qwen3vl/json/json_file.hpp"
#include "qwen3vl/processing/tokenizer/gguf_tokenizer.hpp"

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

/// The same; of GGUF files, the JSON files that they stand for are written.
inline void save_processor_files(const CheckpointFiles& files, const std::filesystem::path& to) {
  namespace fs = std::filesystem;
  if (files.gguf() == nullptr) return copy_processor_files(files.path(), to);
  std::error_code error;
  fs::create_directories(to, error);
  if (!fs::is_directory(to))
    fail("cannot save to ", to.string(), ": it is not a folder and none can be made",
         error ? ": " + error.message() : std::string());
  for (const char* const name : {"tokenizer_config.json", "preprocessor_config.json", "video_preprocessor_config.json"})
    write_json_file(to / name, *files.json(name));
  write_json_file(to / "tokenizer.json", tokenizer_of_gguf(files.gguf()->text).json());
}

}  // namespace qwen3vl

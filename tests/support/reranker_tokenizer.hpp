/// tiny-shapes as a reranker, as tests/golden/make_embedding.py makes it.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "support/test_files.hpp"

namespace qwen3vl::test {

/// Makes "yes" and "no" of the last two words of the vocabulary, " write" and " code", in a copy of the checkpoint.
inline void add_yes_and_no(const std::filesystem::path& folder) {
  nlohmann::json file = nlohmann::json::parse(read_file(folder / "tokenizer.json"));
  nlohmann::json &vocab = file["model"]["vocab"], &merges = file["model"]["merges"];
  const auto change = [&](const char* old_word, const nlohmann::json& old_merge, const char* word,
                          const nlohmann::json& merge) {
    vocab[word] = vocab.at(old_word);
    vocab.erase(old_word);
    *std::ranges::find(merges, old_merge) = merge;
  };
  change("\u0120write", {"\u0120w", "rite"}, "yes", {"y", "es"});
  change("\u0120code", {"\u0120co", "de"}, "no", {"n", "o"});
  std::ofstream(folder / "tokenizer.json") << file.dump();
}

}  // namespace qwen3vl::test

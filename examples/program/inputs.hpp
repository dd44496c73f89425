/// The question of the command line, and --inputs: what of it would go into the model.
#pragma once

#include <filesystem>
#include <vector>

#include "program/input/arguments.hpp"
#include "program/input/question.hpp"
#include "qwen3vl/io/image/image.hpp"

namespace program {

/// The question of --prompt or --messages, and where its media are.
struct Asked {
  Question question;
  std::filesystem::path folder;
  std::vector<Image> images;
};
Asked only_question(const Arguments& arguments, const Settings& settings);

/// Prints each conversation as its prompt, the ids, the grids of its images and videos, and what became of them.
void print_inputs(const Arguments& arguments);

}  // namespace program

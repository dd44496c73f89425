/// --embed and --rerank: inputs from a file, one per line, to embeddings and scores.
#pragma once

#include "program/input/arguments.hpp"
#include "program/model.hpp"

namespace program {

/// Does what `arguments` ask of the program `build`.
void run_retrieval(const Build& build, const Arguments& arguments);

}  // namespace program

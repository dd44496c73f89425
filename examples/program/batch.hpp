/// --batch: conversations from a file, one per line, to answers, one JSON object per line.
#pragma once

#include "program/answerer.hpp"
#include "program/input/arguments.hpp"

namespace program {

/// Answers the lines of a file in order, several at a time. A line that fails does not affect the others. After a
/// Ctrl-C, throws Cancelled once the earlier lines are answered.
void run_batch(Answerer& answerer, const Arguments& arguments);

}  // namespace program

/// --memory-plan: what a run would take, before anything is loaded.
#pragma once

#include "program/input/arguments.hpp"
#include "program/model.hpp"

namespace program {

/// Prints the plan for the lengths that `arguments` give; each prompt has all the images and videos.
void print_memory_plan(const Build& build, const Arguments& arguments);

}  // namespace program

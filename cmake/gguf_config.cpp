// Prints the config.json that a GGUF file stands for, with the reader that the programs use: gguf_config MODEL
// [MMPROJ]. Qwen3VLGguf.cmake builds and runs it when a variant is made of such a file.
#include <cstdio>
#include <exception>

#include "qwen3vl/io/checkpoint/checkpoint_files.hpp"

int main(int argc, char** argv) {
  try {
    const qwen3vl::CheckpointFiles files(argv[1], argc > 2 ? argv[2] : "");
    std::printf("%s\n", files.needed_json("config.json").dump(2).c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}

#!/bin/sh
# The reference backend on another processor: builds reference_answers for aarch64, runs it in an emulator, and expects
# the same answers as here. Installs what it needs (Debian, Ubuntu).
#   tests/model/aarch64.sh BUILD    BUILD: a configured build folder, for the header of the variant
set -eu
build=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
"$root/cmake/install-packages.sh" g++-aarch64-linux-gnu qemu-user libeigen3-dev nlohmann-json3-dev libstb-dev

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Headers that are the same for all processors, without the host's others beside them.
mkdir "$work/include"
ln -s /usr/include/nlohmann /usr/include/stb /usr/include/eigen3/Eigen "$work/include/"
aarch64-linux-gnu-g++ -std=c++20 -O1 -static -fopenmp -isystem "$work/include" -I "$root/include" \
  -I "$build/tests/model/qwen3vl_variants/reference-tiny-shapes" \
  -DQWEN3VL_VARIANT_HEADER='"qwen3vl/variants/reference-tiny-shapes.hpp"' \
  -DQWEN3VL_VARIANT_TYPE=qwen3vl::variants::reference_tiny_shapes \
  "$root/tests/model/reference_answers.cpp" -o "$work/reference_answers"
# A few of the cases: an emulated processor is some thirty times slower.
qemu-aarch64 "$work/reference_answers" "$root/examples/assets/tiny-shapes" 8

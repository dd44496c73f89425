#!/usr/bin/env bash
# Builds the program of a bundled checkpoint and lets it describe a bundled image.
# usage: examples/demo.sh [--moe] [IMAGE [QUESTION]]   --moe: the mixture of experts instead of the dense model
# BUILD_DIR=... chooses the build folder (default: build)
set -euo pipefail
cd "$(dirname "$0")/.."
build=${BUILD_DIR:-build}
cmake/install-packages.sh g++ cmake ninja-build libeigen3-dev libcli11-dev nlohmann-json3-dev libstb-dev libutf8proc-dev libpcre2-dev
model=tiny-shapes
if [ "${1:-}" = --moe ]; then
  model=tiny-shapes-moe
  shift
fi
checkpoint=examples/assets/$model
picture=${1:-examples/assets/tiny-shapes/expected/images/02.png}
question=${2:-Describe this image.}

[ -f "$build/build.ninja" ] || cmake -S . -B "$build" -G Ninja -DQWEN3VL_BUILD_TESTS=OFF >/dev/null
echo "Building $build/examples/qwen3vl-$model (about a minute the first time) ..."
cmake --build "$build" --target qwen3vl-$model >/dev/null
echo
echo "image:   $picture"
echo "prompt:  $question"
echo -n "answer:  "
exec "$build/examples/qwen3vl-$model" --model "$checkpoint" --image "$picture" --prompt "$question" --stats

#!/usr/bin/env bash
# Builds the program of the bundled checkpoint and lets it describe a bundled picture.
# usage: examples/demo.sh [PICTURE [QUESTION]]      BUILD_DIR=... chooses the build folder (default: build)
set -euo pipefail
cd "$(dirname "$0")/.."
build=${BUILD_DIR:-build}
cmake/install-packages.sh g++ cmake ninja-build libeigen3-dev libcli11-dev nlohmann-json3-dev libstb-dev libutf8proc-dev libpcre2-dev
checkpoint=examples/assets/tiny-shapes
picture=${1:-$checkpoint/expected/images/02.png}
question=${2:-Describe this image.}

[ -f "$build/build.ninja" ] || cmake -S . -B "$build" -G Ninja -DQWEN3VL_BUILD_TESTS=OFF >/dev/null
echo "Building $build/examples/qwen3vl-tiny-shapes (about a minute the first time) ..."
cmake --build "$build" --target qwen3vl-tiny-shapes >/dev/null
echo
echo "picture: $picture"
echo "prompt:  $question"
echo -n "answer:  "
exec "$build/examples/qwen3vl-tiny-shapes" --model "$checkpoint" --image "$picture" --prompt "$question" --stats

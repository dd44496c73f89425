#!/usr/bin/env bash
# Builds the program of a bundled checkpoint and lets it describe an image.
# usage: examples/demo.sh [--moe] [IMAGE [QUESTION]]   --moe: the mixture of experts instead of the dense model
# Without IMAGE it is a bundled one. BUILD_DIR=... chooses the build folder (default: build-demo).
set -euo pipefail
usage() { sed -n '2,4s/^# //p' "$0"; }
model=tiny-shapes
case ${1:-} in
  -h | --help)
    usage
    exit
    ;;
  --moe)
    model=tiny-shapes-moe
    shift
    ;;
  -*)
    { echo "there is no option $1" && usage; } >&2
    exit 2
    ;;
esac
image=${1:+$(realpath "$1")}  # relative to the caller's folder
question=${2:-Describe this image.}
cd "$(dirname "$(realpath "$0")")/.."
build=${BUILD_DIR:-build-demo}
checkpoint=examples/assets/$model
image=${image:-examples/assets/tiny-shapes/expected/images/02.png}
cmake/install-packages.sh g++ cmake ninja-build libeigen3-dev libcli11-dev nlohmann-json3-dev libstb-dev libutf8proc-dev libpcre2-dev

[ -f "$build/build.ninja" ] || cmake -S . -B "$build" -G Ninja -DQWEN3VL_BUILD_TESTS=OFF >/dev/null
echo "Building $build/examples/qwen3vl-$model (about a minute the first time) ..."
cmake --build "$build" --target qwen3vl-$model >/dev/null
echo
echo "image:   $image"
echo "prompt:  $question"
echo -n "answer:  "
exec "$build/examples/qwen3vl-$model" --model "$checkpoint" --image "$image" --prompt "$question" --stats

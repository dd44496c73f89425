#!/usr/bin/env bash
# Builds and passes all tests. Installs what it lacks (Debian, Ubuntu).
# usage: tests/run.sh [CTEST_OPTION...]
# BUILD_DIR chooses the build folder (default: build), JOBS the processes at once, WERROR=ON makes warnings errors.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${BUILD_DIR:-build}
jobs=${JOBS:-$(nproc)}
cmake/install-packages.sh g++ cmake ninja-build ccache libeigen3-dev libcli11-dev nlohmann-json3-dev libstb-dev libutf8proc-dev \
  libpcre2-dev libboost-test-dev libavformat-dev libavcodec-dev libavutil-dev libswscale-dev libturbojpeg0-dev libwebp-dev dpkg-dev file
cmake -S . -B "$build" -G Ninja -DQWEN3VL_CHECKPOINT= -DQWEN3VL_BUILD_TESTS=AUTO -DQWEN3VL_VARIANTS=AUTO -DQWEN3VL_C_API=AUTO \
  -DQWEN3VL_WERROR="${WERROR:-OFF}" >/dev/null
cmake --build "$build" -j "$jobs"
log=$build/tests.log
status=0
ctest --test-dir "$build" -j "$jobs" --output-on-failure "$@" >"$log" 2>&1 || status=$?
grep -E '(\*\*\*Failed|\*\*\*Timeout|\*\*\*Exception)' "$log" || true
if [ "$status" -ne 0 ]; then cat "$log"; fi
echo
echo "Skipped, because what they test is not supported yet or this machine cannot run it:"
sed -nE 's/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: ([^ ]+) .*\*\*\*Skipped.*/  \1/p' "$log" | sort
echo
echo "Instruction sets of the operation tests:"
sed -nE 's/.*Test +#[0-9]+: backend_cpu_([a-z0-9_]*)test .*(Passed|Skipped|Failed).*/  \1: \2/p' "$log" | sed 's/_:/:/' | sort
skipped=$(grep -cE '\*\*\*Skipped' "$log" || true)
failed=$(grep -cE 'Test +#[0-9]+: .*\*\*\*(Failed|Timeout|Exception|Not Run)' "$log" || true)
passed=$(grep -cE 'Test +#[0-9]+: .* Passed ' "$log" || true)
echo
echo "$passed passed, $failed failed, $skipped skipped"
exit "$status"

#!/usr/bin/env bash
# What a variant's program costs to compile: seconds for its model and, once for all variants, for the rest of the
# program; the compiler's peak memory, in whichever file it is largest; size of the stripped binary; as Markdown.
# usage: benchmarks/compile_cost.sh [VARIANT...]      (names as in QWEN3VL_VARIANTS; default: 2b)
# Exits with 1 where a variant is over the budget, whose seconds are those of the model. CMAKE_OPTIONS adds options, such as CMAKE_OPTIONS="-DCMAKE_CXX_COMPILER=clang++".
# Seconds are those of the compiler's own work (user and system), so that other work on the machine hardly counts.
set -euo pipefail
if [[ "${1:-}" == -* ]]; then
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2
  exit 2
fi
max_seconds=${MAX_SECONDS:-90} max_megabytes=${MAX_MEGABYTES:-2500} max_binary_megabytes=${MAX_BINARY_MEGABYTES:-4}
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
read -r -a options <<<"${CMAKE_OPTIONS:-}"

# Runs the compiler and notes what it took: CPU seconds, peak memory of the largest process in bytes, and the file.
cat >"$work/measure.py" <<'PYTHON'
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "a") as file:
    file.write(f"{used.ru_utime + used.ru_stime} {used.ru_maxrss * 1024} {sys.argv[-1]}\n")
sys.exit(code)
PYTHON

failed=0 first=1
for variant in "${@:-2b}"; do
  build=$work/build log=$work/log costs=$work/costs
  rm -rf "$build" "$costs"
  if ! {
    cmake -S "$source_dir" -B "$build" -DCMAKE_BUILD_TYPE=Release -DQWEN3VL_BUILD_TESTS=OFF -DQWEN3VL_BUILD_EXAMPLES=ON \
      "-DQWEN3VL_VARIANTS=$variant" "-DCMAKE_CXX_COMPILER_LAUNCHER=python3;$work/measure.py;$costs" "${options[@]}" &&
      cmake --build "$build"
  } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "compile_cost.sh: error: $variant does not compile; see above" >&2
    exit 1
  fi
  if [ $first = 1 ]; then
    first=0
    compiler=$(sed -n 's/^CMAKE_CXX_COMPILER:[A-Z]*=//p' "$build/CMakeCache.txt")
    echo "Compiled with $("$compiler" --version | head -n 1)."
    echo
    echo "| program | seconds for the model | for the rest, once | compiler's peak memory | stripped binary | within the budget |"
    echo "|---|---|---|---|---|---|"
  fi
  for program in "$build"/examples/qwen3vl-*; do
    if [ ! -f "$program" ] || [ ! -x "$program" ]; then continue; fi
    strip -o "$work/stripped" "$program"
    awk -v name="$(basename "$program")" -v bytes="$(stat -c %s "$work/stripped")" -v ms="$max_seconds" -v mm="$max_megabytes" \
      -v mb="$max_binary_megabytes" '
      { if ($3 ~ /\/qwen3vl(\.cpp|_cuda\.cu)$/) seconds += $1; else rest += $1; if ($2 > memory) memory = $2 }
      END {
        over = ""
        if (seconds > ms) over = over " seconds"
        if (memory > mm * 1e6) over = over " memory"
        if (bytes > mb * 1e6) over = over " size"
        printf "| %s | %.0f | %.0f | %.2f GB | %.2f MB | %s |\n", name, seconds, rest, memory * 1e-9, bytes * 1e-6, over == "" ? "yes" : "**no:" over "**"
        exit over != ""
      }' "$costs" || failed=1
  done
done
echo
echo "Budget: $max_seconds s, $(awk "BEGIN { print $max_megabytes / 1000 }") GB, $max_binary_megabytes MB."
exit $failed

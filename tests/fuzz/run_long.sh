#!/usr/bin/env bash
# Runs fuzz targets under libFuzzer, each in turn: tests/fuzz/run_long.sh [-s SECONDS | -r RUNS] [-d] [TARGET...]
#   -s   seconds for each target (default 3600)
#   -r   runs for each target
#   -d   the same runs every time: ignores the grown corpus and keeps nothing
# Needs clang. The grown corpus is kept in build-fuzz/corpus/TARGET for the next start; findings are in
# build-fuzz/found. Keep a finding as a file in tests/fuzz/regressions/TARGET and as a case of the ordinary tests.
set -euo pipefail
cd "$(dirname "$0")/../.."
limit=-max_total_time=3600 deterministic=
while getopts s:r:d option; do
  case $option in
    s) limit=-max_total_time=$OPTARG ;;
    r) limit=-runs=$OPTARG ;;
    d) deterministic=-seed=1 ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))

cmake --preset fuzz >/dev/null
cmake --build build-fuzz
mkdir -p build-fuzz/found
empty=$(mktemp -d)
trap 'rm -rf "$empty"' EXIT
export OMP_NUM_THREADS=1
failed=0
while read -r target seeds; do
  [ $# -eq 0 ] || [[ " $* " == *" $target "* ]] || continue
  corpus=build-fuzz/corpus/$target  # the first folder is the one that libFuzzer adds to
  [ -z "$deterministic" ] || corpus=$empty/$target
  mkdir -p "$corpus"
  folders=("$corpus")
  for folder in tests/fuzz/corpus/"$target" tests/fuzz/regressions/"$target" $seeds; do
    if [ -d "$folder" ]; then folders+=("$folder"); fi
  done
  log=build-fuzz/found/$target.log
  if build-fuzz/tests/fuzz/qwen3vl-fuzz "$target" $limit $deterministic -timeout=20 -rss_limit_mb=2048 \
      -print_final_stats=1 -artifact_prefix="build-fuzz/found/$target-" "${folders[@]}" >"$log" 2>&1; then
    awk -v target="$target" '/number_of_executed_units/ { runs = $2 } /average_exec_per_sec/ { rate = $2 }
      END { printf "%-20s %9d runs, %6d a second\n", target, runs, rate }' "$log"
  else
    failed=1
    echo "$target FOUND something; the end of $log:"
    tail -n 20 "$log"
  fi
done <build-fuzz/tests/fuzz/targets.txt
exit $failed

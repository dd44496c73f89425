#!/usr/bin/env bash
# Compiles the kernels of a variant for one architecture, prints what each needs, and fails if one spills registers.
# usage: check_cuda_kernels.sh NVCC ARCHITECTURE VARIANT INCLUDE_DIR...       (such as: nvcc 90 Qwen3VL_2B include)
set -euo pipefail
nvcc=$1 architecture=$2 variant=$3
shift 3
source=$(dirname "${BASH_SOURCE[0]}")/cuda_kernels.cu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$nvcc" -std=c++20 -O3 -arch="sm_$architecture" -Xptxas=-v -Xcompiler -fopenmp -diag-suppress 20012,20014 "${@/#/-I}" \
  -DQWEN3VL_CHECKED_VARIANT="$variant" -c "$source" -o "$folder/kernels.o" 2>"$folder/log" || { cat "$folder/log"; exit 1; }
# ptxas says for each kernel: its name, its stack and spills, its registers and shared memory.
awk '
  /Compiling entry function/ { match($0, /\x27[^\x27]+\x27/); name = substr($0, RSTART + 1, RLENGTH - 2) }
  /bytes spill stores/ { spills = $0; sub(/^ */, "", spills) }
  /Used [0-9]+ registers/ { sub(/.*: Used/, "used"); print name " " $0 "; " spills; if (spills !~ / 0 bytes spill stores, 0 bytes spill loads/) bad = 1 }
  END { exit bad }' "$folder/log" | c++filt > "$folder/table" || { sort -u "$folder/table" | grep -v " 0 bytes spill stores, 0 bytes spill loads"; echo "these kernels of $variant for sm_$architecture spill registers"; exit 1; }
sort -u "$folder/table"
[ -s "$folder/table" ] || { echo "no kernels were compiled"; exit 1; }
echo "$(wc -l <"$folder/table") kernels of $variant for sm_$architecture, none spills"

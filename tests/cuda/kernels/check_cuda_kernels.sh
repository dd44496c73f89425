#!/usr/bin/env bash
# Compiles the kernels of a variant for one architecture, prints what each needs and its occupancy, and fails if one spills registers or if
# fewer of its blocks fit a multiprocessor than it was made for.
# usage: check_cuda_kernels.sh NVCC ARCHITECTURE VARIANT[:Fp8|:Fp8Blocks|:SoftCap] INCLUDE_DIR...       (such as: nvcc 90 Qwen3VL_2B include)
set -euo pipefail
nvcc=$1 architecture=$2 variant=$3 precision=
case $variant in *:Fp8) precision=-DQWEN3VL_CHECKED_FP8 ;; *:Fp8Blocks) precision=-DQWEN3VL_CHECKED_FP8_BLOCKS ;; *:SoftCap) precision=-DQWEN3VL_CHECKED_SOFTCAP ;; esac
shift 3
here=$(dirname "${BASH_SOURCE[0]}")
source=$here/cuda_kernels.cu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$nvcc" -std=c++20 -O3 -arch="sm_$architecture" -Xptxas=-v -Xcompiler -fopenmp -diag-suppress 20012,20014 "${@/#/-I}" \
  -DQWEN3VL_CHECKED_VARIANT="${variant%%:*}" $precision -DQWEN3VL_NOTE_SHARED_MEMORY -keep -keep-dir "$folder" -c "$source" -o "$folder/kernels.o" 2>"$folder/log" || { cat "$folder/log"; exit 1; }
awk -v architecture="$architecture" -f "$here/cuda_occupancy.awk" "$folder/cuda_kernels.ptx" "$folder/log" >"$folder/mangled" && good=1 || good=0
c++filt <"$folder/mangled" | sort -u | tee "$folder/table"
[ -s "$folder/table" ] || { echo "no kernels were compiled"; exit 1; }
[ "$good" = 1 ] || { grep -E "SPILLS|TOO FEW" "$folder/table"; echo "these kernels of $variant for sm_$architecture spill registers, or too few of their blocks fit"; exit 1; }
echo "$(wc -l <"$folder/table") kernels of $variant for sm_$architecture, none spills"

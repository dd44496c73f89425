#!/usr/bin/env bash
# cuda_occupancy.awk on kernels whose occupancy is known (NVIDIA's calculator), one that spills and one that does not fit.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# kernel NAME THREADS REGISTERS SHARED [BLOCKS WANTED] [BYTES SPILLED]
kernel() {
  printf '.visible .entry %s(\n.param .u64 a\n)\n.maxntid %s, 1, 1\n%s\n{\n// shared_memory %s;\n}\n' "$1" "$2" "${5:+.minnctapersm $5}" "$4" >>"$folder/ptx"
  printf "ptxas info    : Compiling entry function '%s' for 'sm_80'\n    0 bytes stack frame, %s bytes spill stores, %s bytes spill loads\nptxas info    : Used %s registers, used 1 barriers\n" "$1" "${6:-0}" "${6:-0}" "$3" >>"$folder/log"
}
expect() { # ARCHITECTURE EXIT_CODE LINE...
  local architecture=$1 code=$2 got=0
  shift 2
  awk -v architecture="$architecture" -f "$here/cuda_occupancy.awk" "$folder/ptx" "$folder/log" >"$folder/out" || got=$?
  printf '%s\n' "$@" >"$folder/wanted"
  diff "$folder/wanted" "$folder/out" || { echo "sm_$architecture: not as expected"; exit 1; }
  [ "$got" = "$code" ] || { echo "exit code $got, wanted $code"; exit 1; }
  rm -f "$folder/ptx" "$folder/log"
}
kernel full 256 32 0
kernel registers 256 64 0 4
kernel shared 256 32 40960
kernel large 1024 61 34568
kernel small 32 16 0
expect 80 0 \
  "full needs 32 registers, 0 bytes of shared memory, 256 threads: 8 blocks, 100 % of the warps" \
  "registers needs 64 registers, 0 bytes of shared memory, 256 threads: 4 blocks, 50 % of the warps, limited by registers" \
  "shared needs 32 registers, 40960 bytes of shared memory, 256 threads: 4 blocks, 50 % of the warps, limited by shared memory" \
  "large needs 61 registers, 34568 bytes of shared memory, 1024 threads: 1 blocks, 50 % of the warps, limited by registers" \
  "small needs 16 registers, 0 bytes of shared memory, 32 threads: 32 blocks, 50 % of the warps, limited by the number of blocks"
kernel wide 128 100 80000 2
expect 90 0 "wide needs 100 registers, 80000 bytes of shared memory, 128 threads: 2 blocks, 12 % of the warps, limited by shared memory"
kernel wide 128 100 80000 2
expect 89 1 "wide needs 100 registers, 80000 bytes of shared memory, 128 threads: 1 blocks, 8 % of the warps, limited by shared memory; TOO FEW: 2 blocks are wanted"
kernel spilling 128 255 0 "" 8
expect 100 1 "spilling needs 255 registers, 0 bytes of shared memory, 128 threads: 2 blocks, 12 % of the warps, limited by registers; SPILLS: 8 bytes spill stores, 8 bytes spill loads"
kernel any 128 32 0
expect 75 1 "no limits of sm_75 are known here"

#!/usr/bin/env bash
# What only a GPU can tell, in ten minutes: builds, runs the operation tests and golden parity on the device, compute-sanitizer on small
# ones, then benchmarks: every layer with its share of the memory's bandwidth or of the tensor cores' peak, whole runs with random weights,
# and transformers beside them if torch is installed. Prints one Markdown table, with whatever failed in it.
#
# usage: benchmarks/gpu_check.sh [option of gpu_check.py...]        (--help lists them; --dry-run shows the steps and needs no GPU)
#
# Exit code 0: all was right. 1: something failed; see the table. 2: a wrong option. 3: no GPU.
set -euo pipefail
command -v python3 >/dev/null || { echo "gpu_check.sh: needs python3" >&2; exit 1; }
exec python3 "$(dirname "${BASH_SOURCE[0]}")/gpu_check.py" "$@"

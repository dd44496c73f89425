#!/usr/bin/env bash
# Compares this library with llama.cpp and transformers on this machine, from nothing: builds all three, makes a checkpoint of
# full size with random weights, converts and quantises it, runs the programs in turn and prints the table as Markdown.
#
# usage: benchmarks/compare_peers.sh WORK_DIR [option of compare_peers.py...]     (such as --runs 5, --threads 8)
#
# Environment:
#   LLAMA_CPP_DIR     llama.cpp's source: a folder, or a git URL (with LLAMA_CPP_TAG); default: the source package of
#                     llama-cpp-python on PyPI, which has a fixed version of it inside
#   BENCH_VARIANT     2b (default), 4b or 8b
#   BENCH_PRECISIONS  precisions to build, such as "bf16;q8;q4" (default: all that this processor is fast with)
#   BENCH_AVX2        1: keep all three to AVX2 on a processor that has AVX-512
#   TOKENIZER_JSON    a tokenizer.json of Qwen3-VL (default: the one of the tests)
#
# Everything stays in WORK_DIR (about 25 GB for 2b), and what is there is not made again. A peer that cannot be had is left out, and the
# table says so. Nothing else should run on the machine; with the 2b variant, preparing takes half an hour on two cores and a round 40
# minutes, 15 of them llama.cpp filling its cache for the longest context, which it does once.
set -euo pipefail
if [ $# -lt 1 ] || [[ "$1" == -* ]]; then
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2
  exit 2
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source_dir=$(dirname "$here")
mkdir -p "$1"
work=$(cd "$1" && pwd)
shift
variant=${BENCH_VARIANT:-2b}
tokenizer=${TOKENIZER_JSON:-$source_dir/tests/assets/qwen3-tokenizer/tokenizer.json}
name=$work/qwen3vl-$variant
notes=() peers=()
# What is built for other instruction sets, and measured with them, stays apart.
kind="" target="for this processor"
if [ "${BENCH_AVX2:-0}" = 1 ]; then
  kind=-avx2 target="for AVX2"
  notes+=(--note "All three keep to AVX2, on a processor that has more.")
  # ATen, oneDNN, MKL
  export ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2
# Processors that multiply bf16 by itself are measured with it, too, and with activations of 8 bits.
elif [ -z "${BENCH_PRECISIONS:-}" ] && grep -qw avx512_bf16 /proc/cpuinfo 2>/dev/null; then BENCH_PRECISIONS="bf16;bf16-dot;q8;q4;q8-dot;q4-dot;stored"; fi
: "${BENCH_PRECISIONS:=bf16;q8;q4;stored}"
case ";$BENCH_PRECISIONS;" in *";bf16-dot;"*) peers+=(--bf16-dot) ;; esac
case ";$BENCH_PRECISIONS;" in *";q8-dot;"*";q4-dot;"*) peers+=(--byte-activations q8-dot q4-dot) ;; esac
case ";$BENCH_PRECISIONS;" in *";stored;"*) peers+=(--stored Q8_0 Q4_K_M) ;; esac

say() { echo "== $*" >&2; }
# Runs a step with its output in a log; on failure says where to look.
step() {
  local log=$work/logs/$1.log
  shift
  mkdir -p "$work/logs"
  "$@" >"$log" 2>&1 && return
  say "failed: $* (see $log); its last line: $(tail -n 1 "$log" | cut -c1-200)"
  return 1
}

# --- This library ---
build_ours() {
  say "building this library's benchmarks for $variant"
  local options=(-DCMAKE_BUILD_TYPE=Release -DQWEN3VL_BUILD_BENCHMARKS=ON -DQWEN3VL_BUILD_TESTS=OFF -DQWEN3VL_BUILD_EXAMPLES=OFF
    "-DQWEN3VL_BENCHMARK_VARIANTS=$variant")
  [ -z "$kind" ] || options+=(-DQWEN3VL_ARCH=x86-64-v3)
  options+=("-DQWEN3VL_BENCHMARK_PRECISIONS=$BENCH_PRECISIONS")
  step configure-ours cmake -S "$source_dir" -B "$work/build$kind" "${options[@]}"
  step build-ours cmake --build "$work/build$kind" -j "$(nproc)" --target "bench-model-$variant" bench-processing
}

# --- Python: transformers, and what llama.cpp's converter needs ---
python=$work/venv/bin/python
install_python() {
  [ -x "$python" ] || step venv python3 -m venv "$work/venv" || return 1
  if ! "$python" -c 'import numpy, PIL' 2>/dev/null; then
    say "installing numpy and Pillow"
    step pip-numpy "$python" -m pip install -q numpy pillow || return 1
  fi
}
install_transformers() {
  if ! "$python" -c 'import torch, torchvision, transformers, gguf' 2>/dev/null; then
    say "installing transformers and torch"
    step pip-transformers "$python" -m pip install -q torch==2.15.0 torchvision transformers==5.24.0 gguf sentencepiece || return 1
  fi
  notes+=(--note "transformers $("$python" -c 'import transformers; print(transformers.__version__)'), torch $("$python" -c 'import torch; print(torch.__version__)') (float32).")
  peers+=(--python "$python")
  transformers_there=yes
}

# --- llama.cpp ---
package=llama-cpp-python==0.3.36 llama=$work/llama.cpp
get_llama() {
  local from=${LLAMA_CPP_DIR:-}
  if [ -d "$from" ]; then
    llama=$(cd "$from" && pwd)
    return
  fi
  [ ! -f "$llama/CMakeLists.txt" ] || return 0
  if [ -n "$from" ]; then
    say "cloning $from"
    step clone-llama git clone -q --depth 1 ${LLAMA_CPP_TAG:+--branch "$LLAMA_CPP_TAG"} "$from" "$llama"
    return
  fi
  say "downloading llama.cpp inside $package"
  mkdir -p "$work/download"
  # The build system is installed, so that pip can ask the package for its version without building one from source.
  step pip-build "$python" -m pip install -q scikit-build-core cmake ninja || return 1
  step download-llama "$python" -m pip download -q --no-deps --no-binary "${package%%==*}" --no-build-isolation -d "$work/download" \
    "$package" || return 1
  mkdir -p "$work/llama-package"
  # Without its times, which can lie in the future for ninja.
  tar xzmf "$work"/download/llama_cpp_python-*.tar.gz --strip-components=1 -C "$work/llama-package"
  rm -rf "$work/llama-package/vendor/llama.cpp/.git" # points to a repository that is not there
  ln -sfn "$work/llama-package/vendor/llama.cpp" "$llama"
}
# GCC 12's intrinsics for tile registers (AMX) do not tell the compiler that they read and write memory, and llama.cpp built with
# them ends in an illegal instruction. These do.
tile_intrinsics() {
  cat <<'HEADER'
#pragma once
#if defined(__AMX_TILE__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#undef _tile_loadconfig
#undef _tile_loadd
#undef _tile_stream_loadd
#undef _tile_stored
#define _tile_loadconfig(config) __asm__ volatile("ldtilecfg %0" : : "m"(*(const char(*)[64])(config)) : "memory")
#define _tile_loadd(t, p, stride) \
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"((const void*)(p)), "r"((long)(stride)), "i"(t) : "memory")
#define _tile_stream_loadd(t, p, stride) \
  __asm__ volatile("tileloaddt1 (%0,%1,1), %%tmm%c2" : : "r"((const void*)(p)), "r"((long)(stride)), "i"(t) : "memory")
#define _tile_stored(t, p, stride) \
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"((void*)(p)), "r"((long)(stride)), "i"(t) : "memory")
#endif
HEADER
}
build_llama() {
  get_llama || return 1
  local bin=$work/llama-build$kind/bin
  if [ -x "$bin/llama-bench" ] && [ -x "$bin/llama-mtmd-cli" ] && [ -x "$bin/llama-quantize" ]; then return 0; fi
  say "building llama.cpp"
  local flags=(-DGGML_NATIVE=ON)
  if [ -n "$kind" ]; then
    flags=(-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON -DGGML_AVX512=OFF)
  elif grep -qw amx_tile /proc/cpuinfo 2>/dev/null; then
    tile_intrinsics >"$work/tile_intrinsics.h"
    flags+=(-DCMAKE_CXX_FLAGS="-include $work/tile_intrinsics.h")
  fi
  step configure-llama cmake -S "$llama" -B "$work/llama-build$kind" -DCMAKE_BUILD_TYPE=Release -DLLAMA_CURL=OFF \
    -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_UI=OFF "${flags[@]}" || return 1
  step build-llama cmake --build "$work/llama-build$kind" -j "$(nproc)" --target llama-bench llama-mtmd-cli llama-quantize || return 1
}
convert() { # the checkpoint to llama.cpp's formats
  local to=$1
  shift
  [ ! -f "$to" ] || return 0
  say "writing $to"
  PYTHONPATH=$llama/gguf-py step convert "$@" || { rm -f "$to"; return 1; }
}
prepare_llama() {
  build_llama || return 1
  convert "$name-bf16.gguf" "$python" "$llama/convert_hf_to_gguf.py" "$name" --outtype bf16 --outfile "$name-bf16.gguf" || return 1
  convert "$name-mmproj.gguf" "$python" "$llama/convert_hf_to_gguf.py" "$name" --mmproj --outtype f16 --outfile "$name-mmproj.gguf" || return 1
  local q
  for q in Q8_0 Q4_0 Q4_K_M; do
    convert "$name-$q.gguf" "$work/llama-build$kind/bin/llama-quantize" "$name-bf16.gguf" "$name-$q.gguf" "$q" || return 1
  done
  notes+=(--note "llama.cpp: ${LLAMA_CPP_DIR:-$package}${LLAMA_CPP_TAG:+ $LLAMA_CPP_TAG}, built $target, flash attention on.")
  peers+=(--llama "$work/llama-build$kind/bin" --gguf "$name")
}

# --- Images and text ---
make_images() {
  [ ! -f "$work/photo.jpg" ] || return 0
  "$python" - "$work" <<'PYTHON'
import sys
import numpy
from PIL import Image
random = numpy.random.default_rng(0)
for name, width, height in (("512x512.png", 512, 512), ("1024x768.png", 1024, 768), ("photo.jpg", 4000, 3000)):
    # Smooth like a photograph, with some noise.
    small = Image.fromarray(random.integers(0, 255, (height // 50, width // 50, 3), dtype=numpy.uint8))
    noise = random.integers(0, 12, (height, width, 3), dtype=numpy.uint8)
    Image.fromarray(numpy.asarray(small.resize((width, height), Image.BICUBIC)) // 2 + 60 + noise).save(f"{sys.argv[1]}/{name}", quality=90)
PYTHON
}
make_text() { # English prose with names, numbers and lists
  [ -f "$work/text.txt" ] || cat "$source_dir"/README.md "$source_dir"/docs/*.md >"$work/text.txt"
}

build_ours
install_python
if [ ! -f "$name/model.safetensors" ]; then
  say "making a $variant checkpoint with random weights"
  step checkpoint "$python" "$here/make_checkpoint.py" "$variant" "$tokenizer" "$name"
fi
make_images
make_text
install_transformers || say "going on without transformers"
if [ -n "${transformers_there:-}" ]; then
  prepare_llama || say "going on without llama.cpp"
else
  say "going on without llama.cpp: its converter needs transformers"
fi
compiler=$(sed -n 's/^CMAKE_CXX_COMPILER:[A-Z]*=//p' "$work/build$kind/CMakeCache.txt")
notes+=(--note "This library: $(git -C "$source_dir" rev-parse --short HEAD 2>/dev/null || echo 'no commit known'), $("$compiler" --version | head -n 1).")
say "measuring; all samples are kept in $work/samples$kind.json"
exec python3 "$here/compare_peers.py" --programs "$work/build$kind/benchmarks" --variant "$variant" --checkpoint "$name" \
  --images "$work/512x512.png" "$work/1024x768.png" --photo "$work/photo.jpg" --text "$work/text.txt" --samples "$work/samples$kind.json" \
  "${peers[@]}" "${notes[@]}" "$@"

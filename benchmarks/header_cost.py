#!/usr/bin/env python3
"""What including one header costs: CPU seconds of the compiler on a file that includes nothing else; as Markdown, dearest first.

usage: benchmarks/header_cost.py [--compiler CXX] [--budget SECONDS] [--flag FLAG]... [FOLDER...]

FOLDERs are those of include/qwen3vl; default: the layers' (tensor backend layers vision text). CUDA's are left out. The least
of three runs counts, user and system time, so that other work on the machine hardly does. Exits with 1 where a header is over
the budget.
"""
import argparse
import pathlib
import resource
import subprocess
import sys
import tempfile

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--compiler", default="g++")
parser.add_argument("--budget", type=float, default=3.0)
parser.add_argument("--flag", action="append", default=[], help="an option of the compiler, such as --flag=-I/opt/eigen")
parser.add_argument("folders", nargs="*", default=["tensor", "backend", "layers", "vision", "text"])
arguments = parser.parse_args()

include = pathlib.Path(__file__).resolve().parent.parent / "include"
flags = ["-std=c++20", "-O2", "-fopenmp", f"-I{include}", "-I/usr/include/eigen3", *arguments.flag]


def seconds(header, folder):
    source = folder / "one.cpp"
    source.write_text(f'#include "{header}"\n')
    runs = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([arguments.compiler, *flags, "-c", source, "-o", folder / "one.o"], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        runs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(runs)


headers = [path.relative_to(include) for folder in arguments.folders for path in (include / "qwen3vl" / folder).rglob("*.hpp")]
if not headers:
    sys.exit(f"header_cost.py: error: no headers in {', '.join(arguments.folders)}; give folders of {include}/qwen3vl")
with tempfile.TemporaryDirectory() as work:
    costs = sorted(((seconds(header, pathlib.Path(work)), header) for header in headers), reverse=True)
print("| header | seconds |\n|---|---|")
for cost, header in costs:
    print(f"| `{header}` | {cost:.2f}{' **over**' if cost > arguments.budget else ''} |")
print(f"\n{len(costs)} headers, budget {arguments.budget:g} s each.")
sys.exit(costs[0][0] > arguments.budget)

"""Compares what the library reads in GGUF files with the PyPI package gguf: all metadata, and every tensor widened.

Run by hand, with gguf 0.19: ninja -C build dump_gguf; python tests/differential/compare_gguf.py --build build FILE...
"""
import argparse
import json
import pathlib
import subprocess
import sys

import gguf
import numpy as np


def field_value(field):
    if field.types[:2] == [gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.ARRAY]:
        return "arrays"
    return field.contents()


def compare(program, path):
    reader = gguf.GGUFReader(path)
    run = subprocess.Popen([program, path], stdout=subprocess.PIPE)
    header = json.loads(run.stdout.readline())
    wanted = {key: field_value(field) for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    differences = [key for key in wanted.keys() | header["metadata"].keys()
                   if wanted.get(key) != header["metadata"].get(key)]
    types, values = {}, 0
    if [t["name"] for t in header["tensors"]] != [t.name for t in reader.tensors]:
        differences.append("the names of tensors")
    for ours, tensor in zip(header["tensors"], reader.tensors):
        if ours["type"] != tensor.tensor_type.name or ours["shape"] != [int(n) for n in reversed(tensor.shape)]:
            differences.append(tensor.name)
        types[ours["type"]] = types.get(ours["type"], 0) + 1
        if ours["type"].startswith("I") and ours["type"][1:].isdigit() or ours["type"] == "F64":
            continue
        with np.errstate(all="ignore"):
            data = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False).ravel()
        got = np.frombuffer(run.stdout.read(4 * data.size), np.float32)
        same = got.size == data.size and ((got.view(np.uint32) == data.view(np.uint32)) |
                                          (np.isnan(got) & np.isnan(data))).all()
        values += data.size
        if not same:
            differences.append(tensor.name)
    if run.stdout.read(1) or run.wait() != 0:
        differences.append("the end of the program's output")
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(types.items()))
    print(f"{path}: {len(wanted)} keys, {len(reader.tensors)} tensors ({counts}), {values} values: " +
          (f"{len(differences)} DIFFER: {', '.join(differences[:5])}" if differences else "all equal"))
    return not differences


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    parser.add_argument("files", nargs="+")
    arguments = parser.parse_args()
    results = [compare(arguments.build / "tests" / "dump_gguf", path) for path in arguments.files]
    sys.exit(0 if all(results) else 1)


main()

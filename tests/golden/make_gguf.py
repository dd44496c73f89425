"""Makes gguf/: GGUF files with a tensor of every type and a key of every kind, written by the PyPI package gguf, and
what its own reader makes of their blocks.

Run with gguf 0.19: python3 tests/golden/make_gguf.py

types.gguf: the tensor TYPE has random bits and scales that are small, large, subnormal, -0 and infinite; TYPE.expected
has its values in float32 (F64 and integers: none). split-0000[123]-of-00003.gguf: the same keys, three tensors.
"""
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

folder = pathlib.Path(__file__).parent / "gguf"
folder.mkdir(exist_ok=True)
random = np.random.default_rng(20)

# Bits of float16: 1, smallest and largest subnormal, largest, -largest, 0, -0, infinity, 0.1, -0.0123
HALVES = [0x3C00, 0x0001, 0x83FF, 0x7BFF, 0xFBFF, 0x0000, 0x8000, 0x7C00, 0x2E66, 0xA24C]
EXPONENTS = [127, 0, 1, 2, 3, 100, 150, 254, 255, 120]  # e8m0
# Where blocks have their scales and minimums.
PLACES = {Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0], Type.Q2_K: [80, 82],
          Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208], Type.IQ4_NL: [0], Type.IQ4_XS: [0],
          Type.MXFP4: [0]}


def blocks(kind, shape):
    size, length = gguf.GGML_QUANT_SIZES[kind]
    count = int(np.prod(shape)) // size
    data = random.integers(0, 256, (count, length), dtype=np.uint8)
    data[2], data[3] = 0, 255
    for block in range(count):
        for i, place in enumerate(PLACES[kind]):
            if kind == Type.MXFP4:
                data[block, place] = EXPONENTS[block % len(EXPONENTS)]
            else:
                half = HALVES[(block + 3 * i) % len(HALVES)]
                data[block, place:place + 2] = [half & 255, half >> 8]
    return data.reshape(*shape[:-1], shape[-1] // size * length)


writer = gguf.GGUFWriter(folder / "types.gguf", "qwen3vl")
writer.add_custom_alignment(64)
writer.add_uint8("test.uint8", 200)
writer.add_int8("test.int8", -100)
writer.add_uint16("test.uint16", 60000)
writer.add_int16("test.int16", -30000)
writer.add_uint32("test.uint32", 4000000000)
writer.add_int32("test.int32", -2000000000)
writer.add_uint64("test.uint64", 18446744073709551615)
writer.add_int64("test.int64", -9223372036854775808)
writer.add_float32("test.float32", 1e-6)
writer.add_float64("test.float64", 0.1)
writer.add_float32("test.infinite", float("inf"))
writer.add_bool("test.true", True)
writer.add_bool("test.false", False)
writer.add_string("test.string", "Zo\u00eb \U0001f600")
writer.add_array("test.strings", ["a", "", "\u0120the", "x" * 300])
writer.add_array("test.integers", [-3, 0, 7])
writer.add_array("test.numbers", [0.5, -1.25])
writer.add_array("test.booleans", [True, False, True])
writer.add_key_value("test.bytes", [1, 255], gguf.GGUFValueType.ARRAY, sub_type=gguf.GGUFValueType.UINT8)
writer.add_key_value("test.long", [-1, 2**40], gguf.GGUFValueType.ARRAY, sub_type=gguf.GGUFValueType.INT64)
writer.add_array("test.nested", [[1, 2], [3]])

with np.errstate(all="ignore"):
    for kind in PLACES:
        shape = (5, 512) if gguf.GGML_QUANT_SIZES[kind][0] == 256 else (4, 96)
        data = blocks(kind, shape)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        writer.add_tensor(kind.name + ".expected", gguf.dequantize(data, kind))
    stack = blocks(Type.Q4_K, (2, 3, 256))
    writer.add_tensor("stack", stack, raw_dtype=Type.Q4_K)
    writer.add_tensor("stack.expected", gguf.dequantize(stack, Type.Q4_K))
    vector = blocks(Type.Q8_0, (160,))
    writer.add_tensor("vector", vector, raw_dtype=Type.Q8_0)
    writer.add_tensor("vector.expected", gguf.dequantize(vector, Type.Q8_0))

    halves = np.array([HALVES, HALVES[::-1]], np.uint16)
    writer.add_tensor("F16", halves.view(np.float16))
    writer.add_tensor("F16.expected", halves.view(np.float16).astype(np.float32))
    writer.add_tensor("BF16", halves.view(np.uint8), raw_dtype=Type.BF16)
    writer.add_tensor("BF16.expected", gguf.dequantize(halves.view(np.uint8), Type.BF16))
writer.add_tensor("F32", np.array([[1e-45, -0.0, 3.4e38], [-1.5, 0.1, float("inf")]], np.float32))
writer.add_tensor("F32.expected", np.array([[1e-45, -0.0, 3.4e38], [-1.5, 0.1, float("inf")]], np.float32))
writer.add_tensor("F64", np.array([0.1, -1e300], np.float64))
for kind in (np.int8, np.int16, np.int32, np.int64):
    limits = np.iinfo(kind)
    writer.add_tensor(f"I{limits.bits}", np.array([limits.min, -1, limits.max], kind))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

writer = gguf.GGUFWriter(folder / "split.gguf", "qwen3vl", split_max_tensors=1)
writer.add_array("test.strings", ["a", "b"])
for i in range(3):
    writer.add_tensor(f"t{i}", np.full((2, i + 1), i, np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

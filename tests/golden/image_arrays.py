"""Arrays as images and settings of the image processor, by transformers: python image_arrays.py cases/processing

Writes image_arrays.json and image_arrays.safetensors. Needs transformers, torch, torchvision and pillow; made with
transformers 5.24.0, torch 2.15.0, torchvision 0.29.2 and pillow 13.0.0.
"""
import json
import pathlib
import sys

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import Qwen2VLImageProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

settings = {"size": {"shortest_edge": 48, "longest_edge": 128}, "patch_size": 2, "temporal_patch_size": 1,
            "merge_size": 2, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}


def numbers(height, width, channels):
    """37 x + 101 y + 53 c + x y, modulo 256; of the fourth channel, of four times that."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    return (37 * x + 101 * y + 53 * c + x * y) * np.where(c == 3, 4, 1) % 256


scales = {"uint8": lambda v: v, "uint16": lambda v: v * 257, "int16": lambda v: v * 200 - 20000,
          "int32": lambda v: v * 1000 - 9, "float32": lambda v: v / 256, "float64": lambda v: v / 256}
cases, tensors = {}, {}


def add(name, shape, dtype="uint8", backend="torchvision", first=False, image=False, **options):
    values = scales[dtype](numbers(*shape)).astype(dtype)
    given = Image.fromarray(values) if image else np.ascontiguousarray(np.moveaxis(values, -1, 0)) if first else values
    kind = Qwen2VLImageProcessor if backend == "torchvision" else Qwen2VLImageProcessorPil
    result = kind(**{**settings, **options})(given, return_tensors="pt")
    cases[name] = {"shape": shape, "dtype": dtype, "backend": backend, "channels_first": first, "array": not image,
                   "options": options, "image_grid_thw": result["image_grid_thw"].tolist()}
    tensors[name] = result["pixel_values"].to(torch.float32)


down, up = (30, 21), (5, 7)
for dtype in scales:
    add(f"{dtype}_down", (*down, 3), dtype)
    add(f"{dtype}_up", (*up, 3), dtype)
    add(f"{dtype}_first", (*down, 3), dtype, first=True)
    add(f"{dtype}_gray", (*down, 1), dtype)
    if dtype != "int32":
        add(f"{dtype}_transparent", (*up, 4), dtype, first=True)
for number in (0, 1, 2):
    add(f"float32_resample_{number}", (*down, 3), "float32", resample=number)
add("float32_one_axis", (8, 29, 3), "float32", size={"shortest_edge": 48, "longest_edge": 240})
add("float32_as_it_is", (8, 12, 3), "float32", do_resize=False)
add("float32_no_rescale", (*down, 3), "float32", do_rescale=False)
add("float32_no_normalize", (*down, 3), "float32", do_normalize=False)
add("uint16_factor", (*down, 3), "uint16", rescale_factor=1 / 65535)
add("uint16_raw", (*down, 3), "uint16", do_rescale=False, do_normalize=False)
for number in (4, 5):
    add(f"resample_{number}_down", (*down, 3), backend="pil", image=True, resample=number)
    add(f"resample_{number}_up", (*up, 3), backend="pil", image=True, resample=number)
add("scalar_mean_and_std", (*down, 3), image=True, image_mean=0.25, image_std=0.75)
add("scalar_mean", (*down, 3), image=True, image_mean=0.25)
add("scalar_std", (*down, 3), image=True, image_mean=[0.1, 0.2, 0.3], image_std=0.25)
add("scalar_std_pil", (*down, 3), image=True, backend="pil", image_mean=[0.1, 0.2, 0.3], image_std=0.25)

folder = pathlib.Path(sys.argv[1])
text = {"group": "processing", "name": "image_arrays", "kind": "image_arrays", "settings": settings, "cases": cases}
(folder / "image_arrays.json").write_text(json.dumps(text) + "\n")
save_file(tensors, folder / "image_arrays.safetensors")

"""What Pillow and torchvision make of pictures of many sizes with each filter:

    python make.py pillow pillow.json
    python make.py torchvision torchvision.json

Rows: height, width, channels, new height, new width, filter (its number), rough (0 or 1), CRC-32 of the result. With s =
37 x + 101 y + 53 c + x y, the value at (y, x, c) is s % 256, or (s s 7919 >> 5) % 256 where rough. Made with
pillow 13.0.0, whose order of axes differs from that of older versions, and with torchvision 0.29.2 and torch 2.15.0 on
a processor with fused multiply-add.
"""
import json
import random
import sys
import zlib

import numpy as np


def picture(height, width, channels, rough):
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    smooth = 37 * x + 101 * y + 53 * c + x * y
    return ((smooth * smooth * 7919 >> 5 if rough else smooth) % 256).astype(np.uint8)


def pillow(pixels, height, width, number):
    from PIL import Image
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return np.asarray(image.resize((width, height), resample=(
        Image.NEAREST, Image.LANCZOS, Image.BILINEAR, Image.BICUBIC, Image.BOX, Image.HAMMING)[number]))


def torchvision(pixels, height, width, number):
    import torch
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional
    mode = (InterpolationMode.NEAREST_EXACT, InterpolationMode.LANCZOS, InterpolationMode.BILINEAR,
            InterpolationMode.BICUBIC)[number]  # as transformers translates the numbers
    image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
    return functional.resize(image, [height, width], interpolation=mode, antialias=True).permute(1, 2, 0).numpy()


library = {"pillow": pillow, "torchvision": torchvision}[sys.argv[1]]
rows = []


def add(height, width, channels, new_height, new_width, number, rough):
    result = library(picture(height, width, channels, rough), new_height, new_width, number)
    crc = zlib.crc32(np.ascontiguousarray(result).tobytes())
    rows.append([height, width, channels, new_height, new_width, number, rough, crc])


rng = random.Random(2)
for i in range(240):
    height, width, new_height, new_width = (rng.randint(1, 60) for _ in range(4))
    if i % 4 == 0:  # high and narrow, made lower: columns first
        height, width, new_height = rng.randint(100, 300), rng.randint(1, 20), rng.randint(1, 90)
    if i % 9 == 0:
        new_height = height
    if i % 9 == 1:
        new_width = width
    if i % 13 == 0:
        new_height, new_width = 2 * height, 2 * width
    channels, number, rough = (1, 3)[i % 2], rng.randint(0, 3), rng.randint(0, 1)
    add(height, width, channels, new_height, new_width, number, rough)
if library is pillow:  # torchvision has no box and no Hamming filter for tensors
    for i in range(80):
        height, width, new_height, new_width = (rng.randint(1, 60) for _ in range(4))
        if i % 5 == 0:
            height, width = new_height * rng.randint(1, 3), new_width * rng.randint(1, 3)
        add(height, width, (1, 3)[i % 2], new_height, new_width, 4 + i // 2 % 2, rng.randint(0, 1))
if library is torchvision:
    # Sizes whose nearest pixels depend on how the middle is rounded.
    scale = lambda a, b: np.float32(a) / np.float32(b)
    for old in range(2, 200):
        for new in range(old + 1, 1000, 2):
            product = (np.arange(new) + 0.5) * np.float64(scale(old, new))
            plain = np.floor(product.astype(np.float32))
            fused = np.floor((np.maximum((product - 0.5).astype(np.float32), 0).astype(np.float64) + 0.5)
                             .astype(np.float32))
            if not np.array_equal(plain, fused) and rng.random() < 0.05:
                add(1, old, 1, 1, new, 0, 0)
                add(old, 1, 1, new, 1, 0, 0)
with open(sys.argv[2], "w", encoding="ascii") as file:
    file.write("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")

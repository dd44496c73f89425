"""What Pillow makes of pictures of many sizes with each filter: python make.py expected.json

Rows: height, width, channels, new height, new width, filter (its number), rough (0 or 1), CRC-32 of the result. With s =
37 x + 101 y + 53 c + x y, the value at (y, x, c) is s % 256, or (s s 7919 >> 5) % 256 where rough. Made with
pillow 13.0.0, whose order of axes differs from that of older versions.
"""
import json
import random
import sys
import zlib

import numpy as np
from PIL import Image


def picture(height, width, channels, rough):
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    smooth = 37 * x + 101 * y + 53 * c + x * y
    return ((smooth * smooth * 7919 >> 5 if rough else smooth) % 256).astype(np.uint8)


rng = random.Random(2)
rows = []
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
    pixels = picture(height, width, channels, rough)
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    result = np.ascontiguousarray(np.asarray(image.resize((new_width, new_height), resample=(
        Image.NEAREST, Image.LANCZOS, Image.BILINEAR, Image.BICUBIC)[number])))
    rows.append([height, width, channels, new_height, new_width, number, rough, zlib.crc32(result.tobytes())])
with open(sys.argv[1], "w", encoding="ascii") as file:
    file.write("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")

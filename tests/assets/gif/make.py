"""Animated GIFs of every kind, and what FFmpeg (through PyAV) makes of them: python make.py FOLDER

expected.json has per file the frame rate, the size and the CRC-32 of each frame as RGB, transparent pixels as FFmpeg's
decoder leaves them (white). Needs av, numpy and pillow; the files here were made with av 18.1.0 (libavcodec 62.28) and
pillow 13.0.0. Random numbers are seeded.
"""
import json
import os
import random
import struct
import sys
import zlib

import av
import numpy as np
from PIL import Image

rng = random.Random(1)


def lzw(data, bits, clear_when_full=True):
    """Codes in blocks; without clear_when_full the table stays as it is once it is full."""
    clear, end = 1 << bits, (1 << bits) + 1
    out, buffer, filled = bytearray(), 0, 0

    def put(code, width):
        nonlocal buffer, filled
        buffer |= code << filled
        filled += width
        while filled >= 8:
            out.append(buffer & 255)
            buffer >>= 8
            filled -= 8

    def empty_table():
        return {bytes([i]): i for i in range(clear)}, end + 1, bits + 1

    table, following, width = empty_table()
    put(clear, width)
    current = b""
    for value in data:
        longer = current + bytes([value])
        if longer in table:
            current = longer
            continue
        put(table[current], width)
        if following < 4096:
            table[longer] = following
            following += 1
            if following - 1 == 1 << width and width < 12:
                width += 1
        elif clear_when_full:
            put(clear, width)
            table, following, width = empty_table()
        current = bytes([value])
    put(table[current], width)
    if following < 4096 and following == 1 << width and width < 12:
        width += 1
    put(end, width)
    if filled:
        out.append(buffer & 255)
    blocks = bytearray([bits])
    for i in range(0, len(out), 255):
        blocks.append(len(out[i:i + 255]))
        blocks += out[i:i + 255]
    return bytes(blocks) + b"\0"


def gif(width, height, frames, palette=None, background=0, trailer=True, version=b"GIF89a"):
    out = bytearray(version + struct.pack("<HH", width, height))
    flags = 0x80 | (len(palette) // 3).bit_length() - 2 if palette else 0
    out += bytes([flags, background, 0]) + (palette or b"")
    for f in frames:
        if f.get("control", True):
            transparent = f.get("transparent")
            out += b"\x21\xf9\x04" + bytes([f.get("disposal", 0) << 2 | (transparent is not None)])
            out += struct.pack("<H", f.get("delay", 10)) + bytes([transparent or 0, 0])
        if f.get("comment"):
            out += b"\x21\xfe\x05hello\0"
        own, data, flags = f.get("palette"), f["data"], 0
        if own:
            flags = 0x80 | (len(own) // 3).bit_length() - 2
        if f.get("interlaced"):
            flags |= 0x40
            rows = [r for start, step in ((0, 8), (4, 8), (2, 4), (1, 2)) for r in range(start, f["height"], step)]
            data = b"".join(data[r * f["width"]:(r + 1) * f["width"]] for r in rows)
        out += b"\x2c" + struct.pack("<HHHHB", f["left"], f["top"], f["width"], f["height"], flags) + (own or b"")
        out += lzw(data, f.get("bits", 8), f.get("clear_when_full", True))
    return bytes(out) + (b"\x3b" if trailer else b"")


def palette(n):
    return bytes(rng.randrange(256) for _ in range(3 * n))


def noise(left, top, width, height, colours, **more):
    data = bytes(rng.randrange(colours) for _ in range(width * height))
    return dict(left=left, top=top, width=width, height=height, data=data, **more)


def smooth(left, top, width, height, colours, **more):
    data = bytes((i // 7 + j // 5 * 3) % colours for j in range(height) for i in range(width))
    return dict(left=left, top=top, width=width, height=height, data=data, **more)


def eight(left, top, width, height, **more):
    return noise(left, top, width, height, 8, bits=3, **more)


def files():
    yield "plain", gif(20, 13, [noise(0, 0, 20, 13, 16, bits=4) for _ in range(4)], palette(16))
    yield "two_colours", gif(9, 9, [noise(0, 0, 9, 9, 2, bits=2) for _ in range(3)], palette(2))
    yield "one_pixel", gif(1, 1, [noise(0, 0, 1, 1, 2, bits=1) for _ in range(2)], palette(2))
    yield "one_frame", gif(8, 8, [eight(0, 0, 8, 8)], palette(8))
    yield "own_palettes", gif(11, 10, [noise(0, 0, 11, 10, 256, palette=palette(256)),
                                       noise(2, 2, 5, 5, 4, palette=palette(4), bits=2)])
    yield "interlaced", gif(10, 21, [eight(0, 0, 10, 21, interlaced=True),
                                     smooth(1, 2, 7, 9, 8, bits=3, interlaced=True),
                                     eight(0, 0, 3, 1, interlaced=True)], palette(8))
    for disposal in range(4):
        for transparent in (None, 3):
            both = dict(disposal=disposal, transparent=transparent)
            yield f"disposal_{disposal}_{'opaque' if transparent is None else 'transparent'}", gif(
                16, 14, [eight(0, 0, 16, 14, **both), eight(3, 2, 8, 7, **both),
                         eight(5, 5, 8, 7, disposal=disposal), eight(0, 9, 4, 4, transparent=transparent)],
                palette(8), background=5)
    yield "small_first_opaque", gif(16, 14, [eight(3, 3, 8, 7), eight(5, 5, 8, 7)], palette(8), background=6)
    yield "small_first_transparent", gif(16, 14, [eight(3, 3, 8, 7, transparent=2), eight(5, 5, 8, 7)], palette(8),
                                         background=6)
    yield "no_global_palette", gif(16, 14, [eight(3, 3, 8, 7, palette=palette(8), disposal=2),
                                            eight(5, 5, 8, 7, palette=palette(8), disposal=2),
                                            eight(0, 0, 2, 2, palette=palette(8))])
    yield "restored_twice", gif(8, 8, [eight(1, 1, 4, 4, disposal=3), eight(2, 2, 4, 4, disposal=3),
                                       eight(3, 3, 4, 4)], palette(8), background=2)
    yield "background_beyond_palette", gif(8, 8, [noise(1, 1, 4, 4, 4, bits=2, disposal=2),
                                                  noise(0, 0, 1, 1, 4, bits=2)], palette(4), background=200)
    yield "sticks_out", gif(16, 14, [eight(0, 0, 16, 14), eight(10, 9, 9, 9, disposal=2), eight(0, 0, 3, 3)],
                            palette(8), background=1)
    yield "full_table_noise", gif(90, 70, [noise(0, 0, 90, 70, 256),
                                           noise(0, 0, 90, 70, 256, clear_when_full=False)], palette(256))
    yield "full_table_smooth", gif(180, 100, [smooth(0, 0, 180, 100, 200, clear_when_full=False),
                                              smooth(9, 9, 160, 80, 7)], palette(256))
    yield "no_trailer", gif(8, 8, [eight(0, 0, 8, 8, comment=True) for _ in range(3)], palette(8), trailer=False)
    yield "short_palette", gif(8, 8, [noise(0, 0, 8, 8, 256) for _ in range(2)], palette(4))
    yield "short_own_palette", gif(8, 8, [noise(0, 0, 8, 8, 256), noise(0, 0, 8, 8, 256, palette=palette(4))],
                                   palette(256))
    yield "delays", gif(8, 8, [eight(0, 0, 8, 8, delay=d) for d in (0, 1, 2, 5, 30, 10)], palette(8))
    yield "fast", gif(8, 8, [eight(0, 0, 8, 8, delay=4) for _ in range(9)], palette(8))


def main(folder):
    os.makedirs(folder, exist_ok=True)
    for name, data in files():
        with open(f"{folder}/{name}.gif", "wb") as file:
            file.write(data)
    grays = [np.array([[(x * 5 + i * 9) % 256 if y % 3 else x * y % 256 for x in range(40)] for y in range(30)],
                      dtype=np.uint8) for i in range(4)]
    pictures = [Image.fromarray(gray) for gray in grays]
    pictures[0].save(f"{folder}/pillow.gif", save_all=True, append_images=pictures[1:], duration=80, disposal=2)
    pictures = [Image.fromarray(np.dstack([gray, (gray % 3 * 127).astype(np.uint8)])) for gray in grays]
    pictures[0].save(f"{folder}/pillow_alpha.gif", save_all=True, append_images=pictures[1:], duration=120)

    expected = {}
    for file in sorted(os.listdir(folder)):
        if not file.endswith(".gif"):
            continue
        with av.open(f"{folder}/{file}") as clip:
            stream = clip.streams.video[0]
            frames = [frame.to_ndarray(format="rgba")[..., :3] for frame in clip.decode(stream)]
            expected[file] = dict(fps=float(stream.average_rate), height=frames[0].shape[0], width=frames[0].shape[1],
                                  crc32=[zlib.crc32(np.ascontiguousarray(frame).tobytes()) for frame in frames])
    with open(f"{folder}/expected.json", "w", encoding="ascii") as out:
        json.dump(expected, out, indent=1)
        out.write("\n")


main(sys.argv[1])

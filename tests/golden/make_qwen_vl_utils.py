"""Makes tests/golden/cases/processing/qwen_vl_utils.json: what qwen-vl-utils makes of the keys of a message's part.

    pip install qwen-vl-utils==0.0.14 torch torchvision pillow numpy
    python tests/golden/make_qwen_vl_utils.py

Rows are random combinations of keys and sizes, with image_patch_size=16. A result is a size or a list of frames, or
null where qwen-vl-utils raises. Files are videos of a decoder made here, so that its own code runs for them.
"""
import json
import logging
import pathlib
import random
import sys
import types
import zlib

import numpy as np
from PIL import Image

logging.disable(logging.CRITICAL)


class Video:
    """Stands for decord's reader: "frames,fps,width,height" instead of a file."""

    def __init__(self, path):
        frames, fps, width, height = path.split(",")
        self.frames, self.fps, self.width, self.height = int(frames), float(fps), int(width), int(height)

    def __len__(self):
        return self.frames

    def get_avg_fps(self):
        return self.fps

    def get_batch(self, indices):
        frames = np.stack([pattern(self.height, self.width, i) for i in indices])
        return types.SimpleNamespace(asnumpy=lambda: frames)


class Quick(Video):
    """The same with frames of no content, where only sizes matter."""

    def get_batch(self, indices):
        shape = (len(indices), self.height, self.width, 3)
        return types.SimpleNamespace(asnumpy=lambda: np.zeros(shape, np.uint8))


decord = types.ModuleType("decord")
sys.modules["decord"] = decord
import qwen_vl_utils.vision_process as utils  # noqa: E402

utils.get_video_reader_backend = lambda: "decord"


def pattern(height, width, seed=0):
    """An image that the test makes, too."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    s = 37 * x + 101 * y + 53 * c + x * y + 29 * seed
    return ((s * s * 7919 >> 5) % 256).astype(np.uint8)


def attempt(function):
    try:
        return function()
    except Exception:
        return None


rng = random.Random(20)


def some(**keys):
    """Each key with a chance of one half; its value is what its function gives."""
    return {name: make() for name, make in keys.items() if rng.random() < 0.5}


def pixels(low, high):
    return lambda: rng.choice([rng.randint(low, high), 1024 * rng.randint(max(1, low // 1024), high // 1024)])


def side():
    return rng.choice([rng.randint(1, 60), rng.randint(61, 900), rng.randint(61, 900)])


def resized():
    return some(resized_height=side, resized_width=side) if rng.random() < 0.3 else {}


def image_rows(count):
    rows = []
    for _ in range(count):
        width, height = side(), side()
        part = resized() | some(min_pixels=pixels(1, 400000), max_pixels=pixels(1, 900000))

        def size():
            image = utils.fetch_image({"image": Image.new("RGB", (width, height))} | part, image_patch_size=16)
            return [image.height, image.width]

        rows.append([width, height, part, attempt(size)])
    return rows


def frame_keys():
    part = some(min_pixels=pixels(1, 200000), max_pixels=pixels(1, 900000), total_pixels=pixels(4096, 9000000))
    return resized() | part


def list_rows(count):
    rows = []
    for _ in range(count):
        width, height, frames = side(), side(), rng.randint(1, 9)
        part = frame_keys() | (some(sample_fps=lambda: rng.choice([1, 2.5]), raw_fps=lambda: rng.choice([10, 29.97])))

        def result():
            images = [Image.new("RGB", (width, height))] * frames
            (video, about), _ = utils.fetch_video({"video": images} | part, 16, True, True)
            return [video.shape[0], video.shape[2], video.shape[3], about["fps"]]

        rows.append([width, height, frames, part, attempt(result)])
    return rows


def file_rows(count):
    decord.VideoReader = Quick
    rows = []
    for _ in range(count):
        width, height = rng.randint(20, 400), rng.randint(20, 400)
        frames, fps = rng.randint(1, 900), rng.choice([1, 5, 12.5, 24, 29.97, 30, 60])
        part = frame_keys() if rng.random() < 0.5 else {}
        if rng.random() < 0.4:
            part["nframes"] = rng.choice([rng.randint(0, 12), rng.randint(1, 60), 7.5])
        if rng.random() < 0.5:
            part |= some(
                fps=lambda: rng.choice([0.5, 1, 2, 3.3, 8]),
                min_frames=lambda: rng.choice([rng.randint(0, 20), 5.5]),
                max_frames=lambda: rng.choice([rng.randint(0, 60), 7.5]),
            )
        if rng.random() < 0.5:
            part |= some(
                video_start=lambda: round(rng.uniform(-1, frames / fps * 1.1), 2),
                video_end=lambda: round(rng.uniform(0, frames / fps * 1.2), 2),
            )

        def result():
            (video, about), _ = utils.fetch_video(
                {"video": f"{frames},{fps},{width},{height}"} | part, 16, True, True
            )
            return [about["frames_indices"], video.shape[2], video.shape[3]]

        made = attempt(result)
        if made is not None and len(made[0]) > 40:  # long lists as a sum and a check value
            text = ",".join(map(str, made[0]))
            made[0] = {"count": len(made[0]), "crc": zlib.crc32(text.encode())}
        rows.append([frames, fps, width, height, part, made])
    return rows


def pixel_rows():
    """Check values of all bytes: an image, a list of frames, a file."""
    decord.VideoReader = Video
    rows = []
    for _ in range(12):
        width, height = rng.randint(20, 300), rng.randint(20, 300)
        part = {"max_pixels": pixels(5000, 90000)()}
        image = utils.fetch_image({"image": Image.fromarray(pattern(height, width))} | part, 16)
        rows.append(["image", width, height, 1, part, zlib.crc32(np.asarray(image).tobytes())])
    for kind in ("list", "file"):
        for _ in range(8):
            width, height, frames = rng.randint(40, 200), rng.randint(40, 200), rng.randint(4, 5)
            part = {"min_pixels": pixels(4096, 20000)(), "max_pixels": pixels(21000, 60000)()}
            if kind == "list":
                video = [Image.fromarray(pattern(height, width, i)) for i in range(frames)]
            else:
                video = f"{frames},2,{width},{height}"
            made = utils.fetch_video({"video": video} | part, 16).permute(0, 2, 3, 1)
            rows.append([kind, width, height, frames, part, zlib.crc32(made.byte().contiguous().numpy().tobytes())])
    return rows


tables = {
    "source": "qwen-vl-utils 0.0.14, image_patch_size 16",
    "images": image_rows(110),
    "lists": list_rows(80),
    "files": file_rows(140),
    "pixels": pixel_rows(),
}
lines = []
for name, value in tables.items():
    if isinstance(value, str):
        lines.append(f'"{name}": {json.dumps(value)}')
    else:
        rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in value)
        lines.append(f'"{name}": [\n{rows}\n]')
path = pathlib.Path(__file__).parent / "cases/processing/qwen_vl_utils.json"
path.write_text("{" + ",\n".join(lines) + "}\n")
for name, value in tables.items():
    if not isinstance(value, str):
        print(name, len(value), "rows,", sum(row[-1] is None for row in value), "raise")

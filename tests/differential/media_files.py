"""Random images and videos as files."""

import base64
import io
from fractions import Fraction

import av
import numpy as np
from PIL import Image

ORIENTATION = 0x0112


def array(rng, height, width):
    """RGB, uint8: noise, a gradient, stripes or one colour."""
    noise = np.random.default_rng(rng.getrandbits(32))
    kind = rng.randrange(4)
    if kind == 0:
        return noise.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if kind == 1:
        y, x = np.mgrid[0:height, 0:width]
        a, b, c = rng.uniform(0, 3), rng.uniform(0, 3), rng.uniform(0, 0.05)
        return np.stack([x * a, y * b, x * y * c], -1).astype(np.int64).astype(np.uint8)
    if kind == 2:
        stripes = (np.arange(width) // rng.randint(1, 9) % 2 * 255).astype(np.uint8)
        return np.broadcast_to(stripes[None, :, None], (height, width, 3)).copy()
    return np.broadcast_to(noise.integers(0, 256, 3, dtype=np.uint8), (height, width, 3)).copy()


def size(rng):
    """Height and width: mostly of some hundred pixels; some tiny, some extreme, some of too extreme a shape."""
    kind = rng.random()
    if kind < 0.75:
        return rng.randint(20, 260), rng.randint(20, 260)
    if kind < 0.85:
        return rng.randint(1, 12), rng.randint(1, 12)
    if kind < 0.95:
        short, ratio = rng.randint(1, 8), rng.randint(20, 199)
        return rng.choice([(short, short * ratio), (short * ratio, short)])
    if kind < 0.97:
        return rng.choice([(1, rng.randint(199, 202)), (rng.randint(199, 202), 1), (2, rng.randint(398, 404))])
    return rng.randint(200, 900), rng.randint(200, 900)


def _indexed(image, rng, transparent):
    image = image.convert("RGB").quantize(rng.choice([2, 4, 13, 16, 100, 256]))
    colours = len(image.getpalette()) // 3
    if transparent == "index":
        image.info["transparency"] = rng.randrange(colours)
    elif transparent == "table":
        image.info["transparency"] = bytes(rng.randrange(256) for _ in range(colours))
    return image


def save_image(rng, folder, name):
    """Writes a random image; returns the file's name."""
    height, width = size(rng)
    rgb = Image.fromarray(array(rng, height, width))
    alpha = Image.fromarray(array(rng, height, width)[..., 0])
    kind = rng.choice(["PNG"] * 5 + ["JPEG"] * 5 + ["BMP"] * 2 + ["GIF"] * 2 + ["WEBP"] * 3)
    options = {}
    if kind == "PNG":
        mode = rng.choice(
            ["RGB", "RGB", "L", "1", "LA", "RGBA", "P", "P index", "P table", "L colour", "RGB colour", "I;16"]
        )
        options["compress_level"] = 1
    elif kind == "JPEG":
        mode = rng.choice(["RGB", "RGB", "RGB", "L", "CMYK"])
        options = {"quality": rng.randint(20, 100), "progressive": rng.random() < 0.3}
        if mode == "RGB":
            options["subsampling"] = rng.randrange(3)
    elif kind == "BMP":
        mode = rng.choice(["1", "L", "P", "RGB", "RGBA"])
    elif kind == "GIF":
        mode = rng.choice(["L", "P", "P index", "frames"])
    else:
        mode = rng.choice(["RGB", "RGBA"])
        options = {"lossless": rng.random() < 0.5, "quality": rng.randint(20, 100), "method": 0}
    if mode in ("LA", "RGBA"):
        image = rgb.convert("L").convert("LA") if mode == "LA" else rgb.convert("RGBA")
        image.putalpha(alpha)
    elif mode.startswith("P"):
        image = _indexed(rgb, rng, mode[2:])
    elif mode.endswith(" colour"):
        image = rgb.convert(mode.split()[0])
        options["transparency"] = image.getpixel((rng.randrange(width), rng.randrange(height)))
    elif mode == "I;16":
        image = Image.fromarray(array(rng, height, width)[..., 0].astype(np.uint16) * 256 + rng.randrange(256))
    elif mode == "frames":
        image = _indexed(rgb, rng, "")
        more = Image.fromarray(array(rng, height, width))
        options = {"save_all": True, "append_images": [more], "duration": 100}
    else:
        image = rgb.convert(mode)
    if kind in ("PNG", "JPEG", "WEBP") and mode != "I;16" and rng.random() < 0.3:
        exif = Image.Exif()
        exif[ORIENTATION] = rng.randint(1, 8)
        options["exif"] = exif.tobytes()
    file = f"{name}.{kind.lower()}"
    image.save(folder / file, kind, **options)
    return file


def frames(rng, count=None):
    """[count, height, width, 3], uint8."""
    height, width = (
        (rng.randint(1, 100), rng.randint(1, 100))
        if rng.random() < 0.3
        else (2 * rng.randint(20, 60), 2 * rng.randint(20, 60))
    )
    count = count or rng.choice(
        [1, 2, 3, 4, 5, 7, 8, 12, 25, 40] if rng.random() < 0.2 else [4, 5, 7, 8, 9, 12, 25, 40]
    )
    first = array(rng, height, width).astype(np.int64)
    return np.stack([(first + 37 * i).astype(np.uint8) for i in range(count)])


def save_frames(folder, name, video, extension="png"):
    """One image for each frame, in a folder of their own; returns their names."""
    (folder / name).mkdir()
    names = [f"{name}/{i:03}.{extension}" for i in range(len(video))]
    for file, frame in zip(names, video):
        Image.fromarray(frame).save(folder / file)
    return names


def save_gif(rng, folder, name, video):
    images = [Image.fromarray(frame).quantize(64) for frame in video]
    duration = rng.choice([20, 40, 70, 100, 250, 500, 1000])
    if rng.random() < 0.3:
        duration = [rng.choice([40, 100, 300]) for _ in images]
    disposal = rng.choice([0, 1, 2])
    images[0].save(
        folder / f"{name}.gif", save_all=True, append_images=images[1:], duration=duration, disposal=disposal
    )
    return f"{name}.gif"


def save_video(rng, folder, name, video):
    """A video file, in RGB or in YUV with half the colours."""
    choices = {"png": ("mov", "rgb24"), "ffv1": ("mkv", "bgr0"), "libx264rgb": ("mp4", "rgb24")}
    if video.shape[1] % 2 == 0 and video.shape[2] % 2 == 0:
        choices["libx264"] = ("mp4", "yuv420p")
    if min(video.shape[1:3]) < 16:
        choices.pop("ffv1")  # FFmpeg 8 refuses that
    codec = rng.choice(list(choices))
    extension, pixels = choices[codec]
    rates = [Fraction(1), Fraction(2), Fraction(5), Fraction(8), Fraction(25), Fraction(30), Fraction(30000, 1001)]
    file = f"{name}.{extension}"
    with av.open(str(folder / file), "w") as output:
        stream = output.add_stream(codec, rate=rng.choice(rates))
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = pixels
        if codec.startswith("libx264"):
            quality = "0" if codec == "libx264rgb" else rng.choice(["0", "20", "40"])
            stream.options = {"qp": quality, "preset": "ultrafast", "bf": rng.choice(["0", "2"])}
        for frame in video:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                output.mux(packet)
        for packet in stream.encode():
            output.mux(packet)
    return file


def read_video(path):
    """All frames [count, height, width, 3] and the average rate, by PyAV."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        video = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
        return video, float(stream.average_rate)


def encoded(path, rng):
    """The file in a message: its name, a data URL, or base64 (the bool says so)."""
    kind = rng.random()
    if kind < 0.7:
        return path.name, False
    text = base64.b64encode(path.read_bytes()).decode()
    if kind < 0.85:
        return f"data:image/{path.suffix[1:]};base64,{text}", False
    return text, True


def open_image(source, folder):
    """The image of a part: upright, and with its own mode."""
    from PIL import ImageOps

    if isinstance(source, bytes):
        image = Image.open(io.BytesIO(source))
    else:
        image = Image.open(folder / source)
    return ImageOps.exif_transpose(image)

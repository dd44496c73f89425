"""Still images of every kind, and what Pillow makes of them: python make.py FOLDER

expected.json has per file the size, and the CRC-32 of the pixels as RGB, transparency over white. Needs numpy, pillow
and transformers; the files here were made with pillow 13.0.0 (libwebp 1.6.0) and transformers 5.24.0. Random numbers
are seeded.
"""
import io
import json
import pathlib
import struct
import sys
import warnings
import zlib

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin
from transformers.image_transforms import convert_to_rgb

warnings.simplefilter("ignore")
folder = pathlib.Path(sys.argv[1])
numbers = np.random.default_rng(1)
files = {}


def smooth(mode, width=13, height=9):
    """Waves, so that lossy files stay small and differ everywhere."""
    channels = len(mode)
    y, x = np.mgrid[0:height, 0:width]
    waves = [128 + 100 * np.sin(0.2 * x * (c + 1) + c) * np.cos(0.3 * y + c) for c in range(channels)]
    pixels = np.stack(waves, -1).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels, mode)


def encoded(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def noise(count):
    return bytes(numbers.integers(0, 256, count, dtype=np.uint8))


def exif(orientation):
    data = Image.Exif()
    data[0x112] = orientation
    return data.tobytes()


# ---- WebP
for mode in ("RGB", "RGBA"):
    files[f"lossy_{mode}.webp"] = encoded(smooth(mode), "WEBP", quality=60)
    files[f"lossless_{mode}.webp"] = encoded(smooth(mode), "WEBP", lossless=True)
    more = [smooth(mode).rotate(180) for _ in range(2)]
    files[f"animated_{mode}.webp"] = encoded(smooth(mode), "WEBP", save_all=True, append_images=more)
files["odd.webp"] = encoded(smooth("RGB", 1, 7), "WEBP", quality=80)
files["exif.webp"] = encoded(smooth("RGB"), "WEBP", exif=exif(6))
files["xmp.webp"] = encoded(smooth("RGB"), "WEBP", xmp=b'<x tiff:Orientation="8"/>')
files["exif_and_xmp.webp"] = encoded(smooth("RGB"), "WEBP", exif=exif(3), xmp=b'<x tiff:Orientation="8"/>')
# A first frame that does not cover the canvas.
small = encoded(smooth("RGBA", 6, 4), "WEBP", lossless=True)[12:]
frame = struct.pack("<I", 2)[:3] + struct.pack("<I", 1)[:3] + b"\5\0\0\3\0\0\x64\0\0\0" + small
chunks = b"VP8X\x0a\0\0\0\x12\0\0\0\x0f\0\0\x0b\0\0" + b"ANIM\6\0\0\0\xff\0\0\xff\0\0"
chunks += b"ANMF" + struct.pack("<I", len(frame)) + frame
files["small_frame.webp"] = b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks

# ---- GIF (more in ../gif)
few = smooth("RGB").quantize(7)
gif = encoded(few, "GIF")
files["transparent.gif"] = encoded(few, "GIF", transparency=1)
files["gray.gif"] = encoded(smooth("L"), "GIF")
files["interlaced.gif"] = encoded(few, "GIF", interlace=True)
begin = gif.index(b",", 13 + 3 * (2 << (gif[10] & 7)))
control = b"!\xf9\4\1\0\0\2\0"
wide = gif[:6] + struct.pack("<HH", 20, 15) + gif[10:begin]
files["inside.gif"] = wide + b"," + struct.pack("<HH", 5, 4) + gif[begin + 5:]
files["inside_transparent.gif"] = wide + control + b"," + struct.pack("<HH", 5, 4) + gif[begin + 5:]
files["sticks_out.gif"] = gif[:begin + 1] + struct.pack("<HH", 5, 4) + gif[begin + 5:]
files["junk.gif"] = gif[:begin] + b"\0\0junk" + gif[begin:]
files["cut_after_frame.gif"] = encoded(few, "GIF", save_all=True, append_images=[few.rotate(90)])[:-30]

# ---- BMP
width, height = 11, 5


def bitmap(bits, data, compression=0, size=40, masks=b"", palette=b"", colours=0, top_down=False, at=None):
    header = struct.pack("<IiiHHIIiiII", size, width, -height if top_down else height, 1, bits, compression, len(data),
                         0, 0, colours, 0)
    header = (header + (masks if size > 40 else b"")).ljust(size, b"\0") + (masks if size == 40 else b"")
    at = 14 + len(header) + len(palette) if at is None else at
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, at) + header + palette + data


for bits in (1, 4, 8, 16, 24, 32):
    data = noise((width * bits + 31) // 32 * 4 * height)
    palette = noise(4 << bits) if bits <= 8 else b""
    files[f"{bits}_bits.bmp"] = bitmap(bits, data, palette=palette)
    files[f"{bits}_bits_top_down.bmp"] = bitmap(bits, data, palette=palette, top_down=True, at=0)
data = noise(4 * width * height)
for name, masks in (("bgra", (0xff0000, 0xff00, 0xff, 0xff000000)), ("rgba", (0xff, 0xff00, 0xff0000, 0xff000000)),
                    ("xbgr", (0xff000000, 0xff0000, 0xff00, 0)), ("nothing", (0, 0, 0, 0))):
    files[f"{name}.bmp"] = bitmap(32, data, compression=3, size=124, masks=struct.pack("<4I", *masks))
data = noise((width * 16 + 31) // 32 * 4 * height)
files["565.bmp"] = bitmap(16, data, compression=3, masks=struct.pack("<3I", 0xf800, 0x7e0, 0x1f))
files["few_colours.bmp"] = bitmap(8, bytes(range(width + 1)) * height, palette=noise(40), colours=10)
files["gray.bmp"] = encoded(smooth("L"), "BMP")
files["os2.bmp"] = b"BM" + struct.pack("<IHHI", 0, 0, 0, 26 + 48) + struct.pack("<IHHHH", 12, width, height, 1, 4) + \
    noise(48) + noise(8 * height)
runs = b"\5\7\0\3\1\2\3\0\3\x11\0\0" + b"\x0b\x21\0\0" + b"\2\4\0\2\3\1\6\x5a" + b"\x0b\x33\0\0" * 2 + b"\0\1"
files["run_lengths_8.bmp"] = bitmap(8, runs, compression=1, palette=noise(1024))
files["run_lengths_4.bmp"] = bitmap(4, runs, compression=2, palette=noise(64))

# ---- orientation of JPEG and PNG files
plain = encoded(smooth("RGB"), "JPEG")
segment = lambda body: b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
xmp = lambda text: segment(b"http://ns.adobe.com/xap/1.0/\0" + text)
field = lambda kind, count, value: b"Exif\0\0II*\0\x08\0\0\0\1\0" + struct.pack("<HHI", 0x112, kind, count) + value + \
    b"\0\0\0\0" + struct.pack("<4H", 6, 2, 3, 4)
jpegs = {"fill_bytes": b"\xff\xff\xff" + segment(exif(6)), "junk": b"\xff\xfe\0\2ab\0" + segment(exif(5)),
         "xmp": xmp(b'<x tiff:Orientation="7"/>'), "xmp_element": xmp(b"<tiff:Orientation>4</tiff:Orientation>"),
         "xmp_second": xmp(b'tiff:Orientation="x" tiff:Orientation="2"'), "exif_and_xmp": segment(exif(3)) + xmp(
             b'<x tiff:Orientation="7"/>'), "upright_and_xmp": segment(exif(1)) + xmp(b'<x tiff:Orientation="7"/>'),
         "in_two": segment(exif(8)[:12]) + segment(b"Exif\0\0" + exif(8)[12:]),
         "long": segment(field(4, 1, struct.pack("<I", 6))), "bytes": segment(field(1, 1, b"\6\0\0\0")),
         "four": segment(field(3, 4, struct.pack("<I", 26))), "signed": segment(field(8, 1, struct.pack("<hh", 7, 0)))}
for name, part in jpegs.items():
    files[f"orientation_{name}.jpg"] = plain[:2] + part + plain[2:]
profile = "\nexif\n      {}\n{}\n".format(len(exif(6)), exif(6).hex()[:72] + "\n" + exif(6).hex()[72:])


def png(fill):
    text = PngImagePlugin.PngInfo()
    fill(text)
    return encoded(smooth("RGB"), "PNG", pnginfo=text)


xmp_text = '<x tiff:Orientation="5"/>'
for name, fill in {
        "profile": lambda t: t.add_text("Raw profile type exif", profile),
        "profile_packed": lambda t: t.add_text("Raw profile type exif", profile, zip=True),
        "exif": lambda t: t.add(b"eXIf", exif(8)[6:]),
        "exif_at_the_end": lambda t: t.add(b"eXIf", exif(8)[6:], after_idat=True),
        "exif_and_profile": lambda t: (t.add(b"eXIf", exif(8)[6:]), t.add_text("Raw profile type exif", profile)),
        "xmp": lambda t: t.add_itxt("XML:com.adobe.xmp", xmp_text),
        "xmp_packed": lambda t: t.add_itxt("XML:com.adobe.xmp", xmp_text, zip=True),
        "xmp_and_exif": lambda t: (t.add_itxt("XML:com.adobe.xmp", xmp_text), t.add(b"eXIf", exif(4)[6:]))}.items():
    files[f"orientation_{name}.png"] = png(fill)
files["inks.jpg"] = encoded(Image.fromarray(np.array(smooth("RGBA")), "CMYK"), "JPEG", quality=90)

# ---- what Pillow makes of them
for name, data in files.items():
    (folder / name).write_bytes(data)
expected = {}
for path in sorted([*(folder / name for name in files), *(folder / "../gif").glob("*.gif")]):
    image = ImageOps.exif_transpose(Image.open(path))
    rgb = convert_to_rgb(image, return_numpy=True)
    name = path.name if path.name in files else f"../gif/{path.name}"
    expected[name] = {"height": rgb.shape[0], "width": rgb.shape[1], "crc32": zlib.crc32(rgb.tobytes())}
lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(about)}" for name, about in expected.items())
(folder / "expected.json").write_text("{\n" + lines + "\n}\n")

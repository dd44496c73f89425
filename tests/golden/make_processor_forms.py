"""Makes tests/golden/cases/processing/processor_forms.json: what transformers makes of the forms that the settings of
an image or video processor have had.

    pip install transformers==5.24.0 torch torchvision pillow
    python tests/golden/make_processor_forms.py

A row is [settings beside `usual`, [grid of each size]], or "load" in its place where loading raises; "use": where
processing does.
"""
import json
import logging
import pathlib
import warnings

import numpy as np
from PIL import Image
from transformers import Qwen2VLImageProcessor, Qwen3VLVideoProcessor

logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")

image_sizes = [[20, 30], [100, 100], [300, 500], [640, 480]]
video_sizes = [[4, 20, 30], [4, 300, 200], [12, 200, 320]]
usual = {"patch_size": 16, "merge_size": 2, "temporal_patch_size": 2, "image_mean": [0.5], "image_std": [0.5]}
edges = {"shortest_edge": 9216, "longest_edge": 25600}
pixels = {"min_pixels": 9216, "max_pixels": 25600}

sizes = [
    None, {}, edges, pixels, edges | pixels, {"shortest_edge": 9216}, {"longest_edge": 25600},
    {"min_pixels": 9216}, {"max_pixels": 25600}, {"shortest_edge": 9216, "max_pixels": 25600},
    {"shortest_edge": 9216, "longest_edge": None}, {"shortest_edge": 0, "longest_edge": 25600},
    {"shortest_edge": 25600, "longest_edge": 9216}, {"height": 224, "width": 224}, {"height": 224},
    {"max_height": 224, "max_width": 224}, {"height": 224, "width": 224, "shortest_edge": 9216}, {"edge": 5},
    224, [224, 448], "large",
]
beside = [{}, pixels, {"min_pixels": 9216}, {"max_pixels": 25600}, {"min_pixels": None, "max_pixels": None},
          {"min_pixels": 65536, "max_pixels": 20000}, {"min_pixels": 1, "max_pixels": 4}]
others = [
    {"do_center_crop": True}, {"do_center_crop": True, "crop_size": 224}, {"crop_size": "large"},
    {"crop_size": {"edge": 5}}, {"pad_size": {"edge": 5}}, {"crop_size": {"height": 5, "width": 5}},
    {"do_pad": True}, {"do_pad": True, "pad_size": {"height": 900, "width": 900}},
    {"default_to_square": True}, {"default_to_square": True, "size": 224}, {"data_format": "channels_last"},
    {"image_seq_length": 7}, {"disable_grouping": True}, {"something": "else"},
    {"do_resize": None}, {"do_rescale": None}, {"do_resize": False, "size": {"height": 224, "width": 224}},
    {"patch_size": 14}, {"merge_size": 1}, {"image_mean": None}, {"resample": None}, {"size": {"longest_edge": 25600.0,
    "shortest_edge": 9216}}, {"do_normalize": False, "image_mean": None}, {"do_rescale": False, "rescale_factor": None},
    {"rescale_factor": None}, {"do_convert_rgb": None}, {"merge_size": None},
]
of_videos = [
    {"cap_pixels_per_frame": True}, {"cap_pixels_per_frame": None},
    {"cap_pixels_per_frame": True, "max_video_tokens": 4, "size": {"shortest_edge": 4096, "longest_edge": 25165824}},
    {"cap_pixels_per_frame": False, "max_video_tokens": 4, "size": {"shortest_edge": 4096, "longest_edge": 25165824}},
    {"cap_pixels_per_frame": True, "max_video_tokens": 100, "size": {"shortest_edge": 4096, "longest_edge": 25165824}},
    {"cap_pixels_per_frame": True, "max_video_tokens": None, "size": edges},
    {"max_frames": 4, "fps": 2}, {"fps": None}, {"num_frames": 4}, {"num_frames": 4, "fps": None},
    {"min_frames": 12, "max_frames": 4}, {"return_metadata": True}, {"video_metadata": None},
    {"max_image_size": {"longest_edge": 5}}, {"max_duration": 1},
]


def grids(make, sizes, run):
    try:
        processor = make()
    except Exception:
        return "load"

    def one(size):
        try:
            return run(processor, size)
        except Exception:
            return "use"

    made = [one(size) for size in sizes]
    return "use" if all(grid == "use" for grid in made) else made


def image(processor, size):
    picture = Image.fromarray(np.zeros((*size, 3), np.uint8))
    return processor([picture], return_tensors="pt")["image_grid_thw"][0].tolist()


def video(processor, size):
    frames = np.zeros((*size, 3), np.uint8)
    about = {"total_num_frames": size[0], "fps": 4}
    return processor([frames], video_metadata=[about], return_tensors="pt")["video_grid_thw"][0].tolist()


def rows(processor, sizes_of_media, run, beside, more):
    forms = [({} if size is None else {"size": size}) | top for size in sizes for top in beside]
    made = []
    for form in forms + others + more:
        settings = json.dumps(usual | form)
        made.append([form, grids(lambda: processor.from_dict(json.loads(settings)), sizes_of_media, run)])
    return made


tables = {
    "image_sizes": image_sizes,
    "usual": [usual],
    "images": rows(Qwen2VLImageProcessor, image_sizes, image, beside, []),
    "video_sizes": video_sizes,
    "videos": rows(Qwen3VLVideoProcessor, video_sizes, video, beside[:2], of_videos),
}
lines = ['"source": "transformers 5.24.0"']
for name, value in tables.items():
    lines.append(f'"{name}": [\n' + ",\n".join(json.dumps(row, separators=(",", ":")) for row in value) + "\n]")
path = pathlib.Path(__file__).parent / "cases/processing/processor_forms.json"
path.write_text("{" + ",\n".join(lines) + "}\n")

"""What transformers 5.24 and qwen-vl-utils 0.0.14 make of a draw."""

import base64
import json
import logging
import os
import shutil
import warnings

import numpy as np
import torch
from PIL import Image

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import qwen_vl_utils.vision_process as qwen  # noqa: E402
import transformers  # noqa: E402
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor  # noqa: E402
from transformers.utils.chat_template_utils import _get_template_variables  # noqa: E402
from transformers.video_utils import VideoMetadata  # noqa: E402

import media_files  # noqa: E402
from draws import strip  # noqa: E402

logging.disable(logging.CRITICAL)
transformers.utils.logging.disable_progress_bar()
warnings.simplefilter("ignore")
torch.set_num_threads(1)
SOURCES = ("image", "url", "path", "base64")


def checkpoint_with(folder, settings, target):
    """A copy of a checkpoint's processor with other settings."""
    target.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json"):
        if (folder / name).exists():
            shutil.copy(folder / name, target / name)
    for name, which in (("preprocessor_config.json", "images"), ("video_preprocessor_config.json", "videos")):
        changed = {**json.loads((folder / name).read_text()), **settings[which]}
        (target / name).write_text(json.dumps(changed))
    if settings["one_file"]:  # as transformers 5 saves them
        AutoProcessor.from_pretrained(target).save_pretrained(target)
        for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
            (target / name).unlink(missing_ok=True)
    return target


def keep_empty_contents():
    """When it tokenizes, transformers makes [] of an empty or missing content; docs/from-transformers.md has that."""
    mixin = transformers.processing_utils.ProcessorMixin
    original = mixin._multimodal_inputs_from_conversations
    mixin._multimodal_inputs_from_conversations = lambda self, conversations, *more: original(
        self, [[dict(message) for message in messages] for messages in conversations], *more
    )


keep_empty_contents()


class Processor:
    """AutoProcessor of a folder, and what its media become."""

    def __init__(self, folder, backend=None):
        self.processor = AutoProcessor.from_pretrained(folder)
        if backend is not None:
            self.processor.image_processor = AutoImageProcessor.from_pretrained(folder, backend=backend)
        self.patch = self.processor.image_processor.patch_size

    def template(self, chat):
        return chat.get("chat_template") or self.processor.chat_template

    def render(self, messages, chat, tokenize=False):
        """The prompt of messages; or its ids, which only conversations without media have."""
        chat = dict(chat)
        variables = {
            **{key: chat.pop(key) for key in ("enable_thinking", "add_vision_id") if key in chat},
            **chat.pop("chat_template_kwargs", {}),
        }
        sanitize = chat.pop("sanitize_control_tokens", False)
        template = chat.pop("chat_template", self.processor.chat_template)
        by = self.processor.tokenizer if tokenize else self.processor
        return by.apply_chat_template(
            strip(messages),
            chat_template=template,
            tokenize=tokenize,
            sanitize_control_tokens=sanitize and tokenize,
            return_dict=False,
            **chat,
            **variables,
        )

    # ---- media

    def image(self, part, draw, folder, rng):
        """The image of a part as an object; a name, now and then, where that makes no difference."""
        source = next(part[key] for key in SOURCES if key in part)
        image = (
            media_files.open_image(draw["files"][source], folder)
            if source in draw.get("files", {})
            else media_files.open_image(source, folder)
        )
        if image.mode.startswith("I;16"):  # docs/from-transformers.md: the high bytes
            return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        # torchvision, which reads files by their names, drops alpha and does not turn WebP.
        plain = image.mode in ("RGB", "L") and "transparency" not in image.info
        if plain and source.endswith((".png", ".jpeg")) and rng.random() < 0.5:
            return str(folder / source)
        return image

    def frames(self, part, folder):
        """All frames of a video [T, C, H, W] and its rate."""
        source = next(part[key] for key in ("video", "url", "path") if key in part)
        if isinstance(source, list) or (folder / source).is_dir():
            names = (
                source if isinstance(source, list) else sorted(f"{source}/{one}" for one in os.listdir(folder / source))
            )
            video = np.stack([np.asarray(Image.open(folder / one).convert("RGB")) for one in names])
            rate = part.get("raw_fps", part.get("sample_fps"))
        else:
            video, rate = media_files.read_video(folder / source)
        return torch.from_numpy(video).permute(0, 3, 1, 2).contiguous(), rate

    def with_keys(self, part, folder):
        """A video as qwen-vl-utils has it."""
        part = dict(part)
        part["video"] = next(part[key] for key in ("video", "url", "path") if key in part)
        if isinstance(part["video"], list):
            part["video"] = [str(folder / one) for one in part["video"]]
            video, metadata = qwen.fetch_video(part, image_patch_size=self.patch, return_video_metadata=True)
            return video, metadata
        all_frames, rate = self.frames(part, folder)
        rate = 24 if rate is None else rate

        def read(ele):  # as its readers of files do it
            first, last, total = qwen.calculate_video_frame_range(ele, len(all_frames), rate)
            count = qwen.smart_nframes(ele, total_frames=total, video_fps=rate)
            indices = torch.linspace(first, last, count).round().long().tolist()
            metadata = {"fps": rate, "frames_indices": indices, "total_num_frames": total, "video_backend": "frames"}
            return all_frames[indices], metadata, count / max(total, 1e-6) * rate

        qwen.VIDEO_READER_BACKENDS.update(frames=read, torchvision=read)
        qwen.get_video_reader_backend = lambda: "frames"
        return qwen.fetch_video(part, image_patch_size=self.patch, return_video_metadata=True)

    def sampled(self, part, options, folder):
        """A video as transformers samples it."""
        video, rate = self.frames(part, folder)
        processor = self.processor.video_processor
        source = next(part[key] for key in ("video", "url", "path") if key in part)
        metadata = VideoMetadata(total_num_frames=len(video), fps=rate, frames_indices=list(range(len(video))))
        if (
            not isinstance(source, list)
            and options.get("do_sample_frames", processor.do_sample_frames)
            or "num_frames" in part
        ):
            count = {"num_frames": processor.num_frames, "fps": processor.fps}
            for key in ("num_frames", "fps"):
                if key in options:
                    count = {"num_frames": None, "fps": None, key: options[key]}
            if "num_frames" in part:
                count = {"num_frames": part["num_frames"], "fps": None}
            own = processor.fps
            processor.fps = None if count["num_frames"] is not None else own
            try:
                indices = processor.sample_frames(metadata, **count)
            finally:
                processor.fps = own
            metadata.frames_indices = list(indices)
            video = video[indices]
        return video, metadata

    def inputs(self, messages, draw, folder, rng):
        """The inputs of one conversation, as lists and arrays, with the times and the sizes of its media."""
        chat, options = draw["chat"], draw["options"]
        images, videos, metadata = [], [], []
        messages = strip(messages)
        for message in messages:
            for part in message.get("content") or [] if not isinstance(message.get("content"), str) else []:
                if part.get("type") == "image_url":
                    url = part.pop("image_url")["url"]
                    part.update(type="image", url=url)
                if part["type"] == "image":
                    image = self.image(part, draw, folder, rng)
                    if draw["keys"]:
                        image = media_files.open_image(image, folder) if isinstance(image, str) else image
                        image = qwen.fetch_image({**part, "image": image}, image_patch_size=self.patch)
                    images.append(image)
                elif part["type"] == "video":
                    video, about = self.with_keys(part, folder) if draw["keys"] else self.sampled(part, options, folder)
                    videos.append(video)
                    metadata.append(about)
        variables = _get_template_variables(self.template(chat))
        sizes = {"images_kwargs": {}, "videos_kwargs": {"do_sample_frames": False}}
        for kind, processor, least, most in (
            ("images_kwargs", self.processor.image_processor, "min_pixels", "max_pixels"),
            ("videos_kwargs", self.processor.video_processor, None, "max_video_pixels"),
        ):
            size = {"shortest_edge": processor.size["shortest_edge"], "longest_edge": processor.size["longest_edge"]}
            if least in options or most in options:
                size["shortest_edge"] = options.get(least, size["shortest_edge"])
                size["longest_edge"] = options.get(most, size["longest_edge"])
                sizes[kind]["size"] = size
            if draw["keys"]:
                sizes[kind]["do_resize"] = False
        inputs = self.apply(messages, chat, variables, images, videos, metadata, sizes)
        times = [
            self.processor._calculate_timestamps(
                list(m.frames_indices if isinstance(m, VideoMetadata) else m["frames_indices"]),
                (m.fps if isinstance(m, VideoMetadata) else m["fps"]) or 24,
                self.processor.video_processor.temporal_patch_size,
            )
            for m in metadata
        ]
        return inputs, times

    def apply(self, messages, chat, variables, images, videos, metadata, sizes):
        """apply_chat_template with objects in the place of names."""
        images, videos = iter(list(images)), iter(list(videos))
        for message in messages:
            for part in message.get("content") or [] if not isinstance(message.get("content"), str) else []:
                if part["type"] in ("image", "video"):
                    for key in (*SOURCES, "video"):
                        part.pop(key, None)
                    part[part["type"]] = next(images if part["type"] == "image" else videos)
        chat = dict(chat)
        known = {key: chat.pop(key) for key in ("enable_thinking", "add_vision_id") if key in chat}
        known = {**{k: v for k, v in known.items() if k in variables}, **chat.pop("chat_template_kwargs", {})}
        kwargs = {**sizes, **({"video_metadata": [metadata]} if metadata else {})}
        return self.processor.apply_chat_template(
            messages,
            tokenize=True,
            return_dict=True,
            processor_kwargs={**kwargs, "return_tensors": "pt"},
            **chat,
            **known,
        )


class Model:
    """A checkpoint in float32."""

    def __init__(self, folder):
        self.model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def generate(self, inputs, settings, **more):
        """Answers [n][tokens] and, for beams, their scores."""
        settings = dict(settings)
        if settings.get("guidance_scale", 1) != 1:
            settings["use_cache"] = False  # transformers 5.24 fails with a cache
        settings.pop("prompt_lookup_num_tokens", None)  # the answer is to be that without it
        if "stop_strings" in settings:
            settings["tokenizer"] = self.tokenizer
        with torch.no_grad():
            return self.model.generate(
                **inputs, **{"do_sample": False, **settings}, return_dict_in_generate=True, **more
            )

    def answers(self, inputs, settings):
        output = self.generate(inputs, settings, output_scores=settings.get("num_beams", 1) > 1)
        ends = settings.get("eos_token_id", self.model.generation_config.eos_token_id)
        ends = [ends] if isinstance(ends, int) else ends
        answers = output.sequences[:, inputs["input_ids"].shape[1] :].tolist()
        if "beam_indices" in output:  # beams that ended are padded
            answers = [
                row[: sum(index >= 0 for index in indices)]
                for row, indices in zip(answers, output.beam_indices.tolist())
            ]
        answers = [row[: next((i + 1 for i, token in enumerate(row) if token in ends), len(row))] for row in answers]
        scores = output.get("sequences_scores")
        return answers, None if scores is None else scores.tolist()

    def margin(self, inputs, settings, mine, theirs):
        """How much likelier the reference's token is than ours where the two answers part."""
        place = next((i for i, (a, b) in enumerate(zip(mine, theirs)) if a != b), None)
        if place is None:
            return float("inf")
        scores = self.generate(inputs, settings, output_scores=True).scores
        return float(scores[place][0, theirs[place]] - scores[place][0, mine[place]])

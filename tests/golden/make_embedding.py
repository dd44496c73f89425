"""Makes tests/golden/cases/retrieval/embedding.json and reranker.json: what the code published with Qwen3-VL-Embedding and
Qwen3-VL-Reranker (github.com/QwenLM/Qwen3-VL-Embedding, src/models) makes of inputs, over transformers 5.24.0, in float32.

    pip install transformers==5.24.0 qwen-vl-utils==0.0.14 torch torchvision pillow jinja2
    python tests/golden/make_embedding.py [FOLDER OF THE PUBLISHED CODE'S src/models]

The checkpoint is examples/assets/tiny-shapes with the words "yes" and "no" in its vocabulary, which a reranker needs. This
file does what the published code does, step by step; with its folder as an argument, that runs, too, and both must agree.
A video's path is a folder of frames, which stands for a file: the published code reads it through a decoder made here.
"""
import importlib.util
import json
import pathlib
import shutil
import sys
import tempfile
import types
import unicodedata

import numpy as np
import torch
from PIL import Image

root = pathlib.Path(__file__).resolve().parents[2]
assets = root / "examples/assets/tiny-shapes"
expected = assets / "expected"


class Frames:
    """Stands for decord's reader of a file."""

    def __init__(self, path):
        about = json.loads((pathlib.Path(path.removeprefix("file://")) / "clip.json").read_text())
        self.files = [pathlib.Path(path.removeprefix("file://")) / name for name in about["frames"]]
        self.fps = about["fps"]

    def __len__(self):
        return len(self.files)

    def get_avg_fps(self):
        return self.fps

    def get_batch(self, indices):
        frames = np.stack([np.array(Image.open(self.files[i])) for i in indices])
        return types.SimpleNamespace(asnumpy=lambda: frames)


decord = types.ModuleType("decord")
decord.VideoReader = Frames
decord.__spec__ = importlib.util.spec_from_loader("decord", None)
sys.modules["decord"] = decord

import qwen_vl_utils.vision_process as utils  # noqa: E402
from transformers import AutoProcessor, Qwen3VLForConditionalGeneration  # noqa: E402

utils.get_video_reader_backend = lambda: "decord"


def checkpoint(folder):
    """tiny-shapes as a reranker: its last two words, " write" and " code", become "yes" and "no"."""
    for file in assets.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocab, merges = tokenizer["model"]["vocab"], tokenizer["model"]["merges"]
    vocab |= {"yes": vocab.pop("\u0120write"), "no": vocab.pop("\u0120code")}
    merges[merges.index(["\u0120w", "rite"])] = ["y", "es"]
    merges[merges.index(["\u0120co", "de"])] = ["n", "o"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def paths(value):
    """The name of a file, of a test case, as a path."""
    if isinstance(value, list):
        return [paths(one) for one in value]
    return str(expected / value)


def as_list(value):
    return value if isinstance(value, list) else [] if value is None else [value]


def content(item, fps, max_frames):
    parts = []
    video = item.get("video")
    if isinstance(video, str) or (video and isinstance(video[0], str) and pathlib.Path(video[0]).suffix == ".png"):
        video = [video]
    for one in video or []:
        if isinstance(one, list):
            frames = ["file://" + frame for frame in paths(one)]
            parts.append({"type": "video", "video": frames, "total_pixels": 10 * 768 * 1024})
        else:
            keys = {"fps": fps or 1, "max_frames": max_frames or 64}
            parts.append({"type": "video", "video": "file://" + paths(one)} | keys)
    for one in as_list(item.get("image")):
        budget = {"min_pixels": 4 * 1024, "max_pixels": 1800 * 1024}
        parts.append({"type": "image", "image": "file://" + paths(one)} | budget)
    parts += [{"type": "text", "text": one} for one in as_list(item.get("text"))]
    return parts or [{"type": "text", "text": "NULL"}]


def embedding_messages(item):
    instruction = (item.get("instruction") or "").strip()
    if instruction and not unicodedata.category(instruction[-1]).startswith("P"):
        instruction += "."
    instruction = instruction or "Represent the user's input."
    return [{"role": "system", "content": [{"type": "text", "text": instruction}]},
            {"role": "user", "content": content(item, item.get("fps"), item.get("max_frames"))}]


def reranker_messages(row, document):
    rule = ("Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
            'Note that the answer can only be "yes" or "no".')
    instruction = row.get("instruction") or "Given a search query, retrieve relevant candidates that answer the query."
    settings = row.get("fps"), row.get("max_frames")
    words = [{"type": "text", "text": "<Instruct>: " + instruction}, {"type": "text", "text": "<Query>:"}]
    words += content(row["query"], *settings)
    words += [{"type": "text", "text": "\n<Document>:"}] + content(document, *settings)
    return [{"role": "system", "content": [{"type": "text", "text": rule}]}, {"role": "user", "content": words}]


def token_types(processor, ids):
    return (ids == processor.image_token_id) * 1 + (ids == processor.video_token_id) * 2


class Reference:
    def __init__(self, folder):
        self.processor = AutoProcessor.from_pretrained(folder)
        self.model = Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()

    def inputs(self, conversations, padding_side, **options):
        texts = self.processor.apply_chat_template(conversations, add_generation_prompt=True, tokenize=False)
        images, videos, video_options = utils.process_vision_info(
            conversations, image_patch_size=16, return_video_kwargs=True, return_video_metadata=True)
        frames, metadata = (list(some) for some in zip(*videos)) if videos else (None, None)
        self.processor.tokenizer.padding_side = padding_side
        return self.processor(text=texts, images=images, videos=frames, video_metadata=metadata, do_resize=False,
                              **video_options, **options)

    @torch.no_grad()
    def embeddings(self, items, max_length):
        """Last-token pooling over right padding, and the normalised beginnings."""
        inputs = self.inputs([embedding_messages(item) for item in items], "right", truncation=True,
                             max_length=max_length, padding=True, return_tensors="pt")
        hidden = self.model.model(**inputs).last_hidden_state
        last = inputs["attention_mask"].sum(1) - 1
        pooled = hidden[torch.arange(len(items)), last]
        ids = [row[mask == 1].tolist() for row, mask in zip(inputs["input_ids"], inputs["attention_mask"])]
        return inputs, ids, pooled

    @torch.no_grad()
    def score(self, conversation, max_length):
        inputs = self.inputs([conversation], "left", truncation=False, padding=False)
        ids, tail = inputs["input_ids"][0][:-5], inputs["input_ids"][0][-5:]
        special = set(self.processor.tokenizer.all_special_ids)
        if len(ids) > max_length:
            plain = max_length - sum(i in special for i in ids)
            kept = []
            for i in ids:
                if i in special or plain > 0:
                    kept.append(i)
                    plain -= i not in special
            ids = kept
        ids = ids + tail
        tensors = {name: torch.as_tensor(np.array(inputs[name])) for name in
                   ("pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw") if name in inputs}
        tokens = self.processor.tokenizer
        row = torch.tensor([ids])
        hidden = self.model.model(input_ids=row, attention_mask=torch.ones_like(row),
                                  mm_token_type_ids=token_types(self.processor, row), **tensors).last_hidden_state[:, -1]
        head = self.model.lm_head.weight
        difference = head[tokens.get_vocab()["yes"]] - head[tokens.get_vocab()["no"]]
        return ids, torch.sigmoid(hidden @ difference).item()


def rounded(tensor):
    return [float(f"{value:.7g}") for value in tensor.tolist()]


frames_01 = [f"clips/01/{i:02}.png" for i in range(8)]
frames_03 = [f"clips/03/{i:02}.png" for i in range(5)]
embedding_cases = [
    {"name": "text", "inputs": [{"text": "A red circle."}]},
    {"name": "texts of different lengths", "inputs": [
        {"text": "A large green star on the right and a small purple heart at the bottom."}, {"text": "star"},
        {"text": "Gr\u00fc\u00dfe \u4f60\u597d"}]},
    {"name": "several texts in one input", "inputs": [{"text": ["A red circle", " and a heart."]}]},
    {"name": "nothing", "inputs": [{}, {"text": "", "instruction": ""}]},
    {"name": "instructions", "inputs": [
        {"text": "star", "instruction": "Retrieve images of the shape"}, {"text": "star", "instruction": " Find it!\n"},
        {"text": "star", "instruction": "\u627e\u5230\u5b83\u3002"}, {"text": "star", "instruction": "a + b +"},
        {"text": "star", "instruction": " \u3000 "}]},
    {"name": "image", "inputs": [{"image": "images/09.png"}]},
    {"name": "image and text", "inputs": [{"image": "images/03.png", "text": "What is it?", "instruction": "Classify"}]},
    {"name": "images and texts in one input", "inputs": [
        {"text": ["one", "two"], "image": ["images/09.png", "images/06.png"]}]},
    {"name": "list of frames", "inputs": [{"video": frames_03}]},
    {"name": "two videos", "inputs": [{"video": [frames_03[:2], frames_03[2:4]], "text": "same?"}]},
    {"name": "video file", "inputs": [{"video": "clips/01", "text": "What moves?"}]},
    {"name": "video file with its own rate", "inputs": [{"video": "clips/01", "fps": 4, "max_frames": 6}]},
    {"name": "a mixed batch", "inputs": [
        {"text": "A red circle."}, {"image": "images/09.png", "text": "small"}, {"video": frames_03[:3]},
        {"image": "images/06.png"}, {"text": "the last one of them", "instruction": "Search"}]},
    {"name": "text that is cut", "max_length": 36, "inputs": [{"text": "one two three four five six seven"}, {"text": "a"}]},
]
reranker_cases = [
    {"name": "texts", "row": {"query": {"text": "a red circle"}, "documents": [
        {"text": "A circle that is red."}, {"text": "yes"}, {"text": ["A star", " and no heart"]}, {}]}},
    {"name": "images", "row": {"instruction": "Find the image of the text", "query": {"text": "a star"}, "documents": [
        {"image": "images/09.png"}, {"image": "images/03.png", "text": "a heart"},
        {"image": ["images/09.png", "images/06.png"]}]}},
    {"name": "image as the query", "row": {"query": {"image": "images/09.png", "text": "like this"}, "documents": [
        {"text": "a small one"}, {"image": "images/09.png"}]}},
    {"name": "videos", "row": {"query": {"text": "what moves"}, "fps": 2, "max_frames": 4, "documents": [
        {"video": "clips/01"}, {"video": frames_03[:3], "text": "frames"}]}},
    {"name": "documents that are cut", "max_length": 180, "row": {"query": {"text": "a red circle"}, "documents": [
        {"text": "one two three four five six seven " * 6}, {"image": "images/09.png", "text": "one two three four " * 8},
        {"text": "short"}]}},
    {"name": "more special tokens than may stay", "max_length": 3, "row": {"query": {"text": "a red circle"}, "documents": [
        {"image": "images/09.png", "text": "what is left"}]}},
]


def published(folder, models):
    """The published code over the same checkpoint: its embedder and its reranker."""
    import transformers.utils.generic as generic

    if not hasattr(generic, "check_model_inputs"):
        generic.check_model_inputs = lambda function: function
    sys.modules.setdefault("scipy", types.ModuleType("scipy")).special = None  # imported there, but not used
    made = []
    for name, class_name in (("qwen3_vl_embedding", "Qwen3VLEmbedder"), ("qwen3_vl_reranker", "Qwen3VLReranker")):
        spec = importlib.util.spec_from_file_location(name, pathlib.Path(models) / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        made.append(getattr(module, class_name)(folder, dtype=torch.float32))
    # It was written for transformers 4, where the model finds images by their ids, also after cutting a prompt.
    compute = made[1].compute_scores
    made[1].compute_scores = lambda inputs: compute(
        inputs | {"mm_token_type_ids": token_types(made[1].processor, inputs["input_ids"])})
    return made


def absolute(item):
    return item | {key: paths(item[key]) for key in ("image", "video") if key in item}


with tempfile.TemporaryDirectory() as folder:
    checkpoint(pathlib.Path(folder))
    reference = Reference(folder)
    embedder, reranker = published(folder, sys.argv[1]) if len(sys.argv) > 1 else (None, None)
    for case in embedding_cases:
        inputs, ids, pooled = reference.embeddings(case["inputs"], case.get("max_length", 8192))
        if embedder:
            embedder.max_length = case.get("max_length", 8192)
            theirs = embedder.process([absolute(item) for item in case["inputs"]])
            difference = (theirs - torch.nn.functional.normalize(pooled, dim=-1)).abs().max().item()
            print(f"{case['name']}: {difference:.1e}")
            assert difference < 1e-5
        case["ids"] = ids
        for name in ("image_grid_thw", "video_grid_thw"):
            if name in inputs:
                case[name] = inputs[name].tolist()
        case["pooled"] = [rounded(row) for row in pooled]
        case["embeddings_8"] = [rounded(row) for row in torch.nn.functional.normalize(pooled[:, :8], dim=-1)]
    for case in reranker_cases:
        made = [reference.score(reranker_messages(case["row"], document), case.get("max_length", 10240))
                for document in case["row"]["documents"]]
        case["ids"] = [ids for ids, _ in made]
        case["scores"] = [float(f"{score:.7g}") for _, score in made]
        if reranker:
            row = case["row"]
            reranker.max_length = case.get("max_length", 10240)
            query, documents = absolute(row["query"]), [absolute(document) for document in row["documents"]]
            theirs = reranker.process(row | {"query": query, "documents": documents})
            difference = max(abs(a - b) for a, b in zip(theirs, case["scores"]))
            print(f"{case['name']}: {difference:.1e}")
            assert difference < 1e-5

# Lists of more than 64 frames, or another number: which are taken.
thinned = [[count, most, np.linspace(0, count - 1, most, dtype=int).tolist()]
           for count, most in ((65, 64), (70, 64), (129, 64), (200, 64), (84, 7), (10, 2), (10, 1), (1000, 3), (98, 50))]
for name, cases in (("embedding", embedding_cases), ("reranker", reranker_cases)):
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    path = pathlib.Path(__file__).parent / f"cases/retrieval/{name}.json"
    table = f', "thinned": {json.dumps(thinned)}' if name == "embedding" else ""
    path.write_text('{"source": "transformers 5.24.0"' + table + ', "cases": [\n' + lines + "\n]}\n")

"""What save_pretrained writes, loaded by transformers: state dicts and outputs equal those of the original bit for bit.

    ninja -C build save_pretrained_test
    python tests/loading/save_pretrained.py build/tests/save_pretrained_test

Needs transformers 5.24 and torch. Prints a line per model, and exits with 1 if anything differs.
"""

import logging
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForImageTextToText, GenerationConfig

MODELS = Path(__file__).resolve().parent.parent / "golden" / "models"


class Messages(logging.Handler):
    """transformers' warnings: there should be none about what we wrote."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


def differences(a, b, name=""):
    """Paths at which two dictionaries of settings differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        return [d for key in a.keys() | b.keys() for d in differences(a.get(key), b.get(key), f"{name}.{key}")]
    return [] if a == b else [f"{name}: {a!r} was saved as {b!r}"]


def inputs(config):
    """Text and one image of the model's own sizes."""
    vision, generator = config.vision_config, torch.Generator().manual_seed(0)
    side = 2 * vision.spatial_merge_size
    tokens = (side // vision.spatial_merge_size) ** 2
    ids = [5, 6, config.vision_start_token_id] + [config.image_token_id] * tokens + [config.vision_end_token_id, 7, 8, 9]
    patch = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    input_ids = torch.tensor([ids])
    return {
        "input_ids": input_ids,
        "attention_mask": torch.ones_like(input_ids),
        "mm_token_type_ids": (input_ids == config.image_token_id).int(),
        "pixel_values": torch.randn(side * side, patch, generator=generator),
        "image_grid_thw": torch.tensor([[1, side, side]]),
    }


def check(name, saved, messages):
    found = []
    original = AutoModelForImageTextToText.from_pretrained(MODELS / name)
    messages.texts.clear()
    model, info = AutoModelForImageTextToText.from_pretrained(saved, output_loading_info=True)
    found += [f"loading says: {text}" for text in messages.texts]
    found += [f"{what}: {sorted(keys)}" for what, keys in info.items() if keys]
    ours, theirs = model.state_dict(), original.state_dict()
    found += [f"tensors: {sorted(ours.keys() ^ theirs.keys())}"] if ours.keys() != theirs.keys() else []
    for key in sorted(ours.keys() & theirs.keys()):
        if ours[key].dtype != theirs[key].dtype or not torch.equal(ours[key], theirs[key]):
            found.append(f"{key} differs")
    for parameter in [*model.parameters(), *original.parameters()]:
        parameter.data = parameter.data.clone()  # products round by where the file's map begins, otherwise
    arguments = inputs(model.config)
    with torch.no_grad():
        outputs = [m(**arguments, output_hidden_states=True) for m in (model, original)]
        answers = [m.generate(**arguments, do_sample=False, max_new_tokens=8) for m in (model, original)]
    if not torch.equal(outputs[0].logits, outputs[1].logits):
        found.append("logits differ")
    if not torch.equal(answers[0], answers[1]):
        found.append("answers differ")
    ignored = {"_name_or_path", "transformers_version", "dtype"}
    configs = [AutoConfig.from_pretrained(folder).to_dict() for folder in (MODELS / name, saved)]
    # No effect here and in transformers, or a type that is that of the whole model.
    parts = {"attention_dropout", "initializer_range", "use_cache", "dtype", "norm_topk_prob", "sliding_window",
             "tie_word_embeddings"}
    for config in configs:
        for key in ignored:
            config.pop(key, None)
        for part in ("text_config", "vision_config"):
            for key in parts:
                config[part].pop(key, None)
    found += differences(*configs, "config")
    settings = [GenerationConfig.from_pretrained(folder).to_dict() for folder in (MODELS / name, saved)]
    usual = GenerationConfig._get_default_generation_params()
    for setting in settings:
        setting.pop("transformers_version", None)
        for key, value in setting.items():
            setting[key] = usual.get(key) if value is None else value
    found += differences(*settings, "generation_config")
    print(f"{name}: {len(ours)} tensors", "equal" if not found else "")
    for line in found:
        print("  " + line)
    return not found


def check_adapter(folder, messages):
    """A model that was saved with an adapter: transformers has PEFT's logits (tests/golden/make_adapters.py)."""
    name, adapter = folder.parent.name, folder.name
    golden = MODELS.parent / "adapters" / name
    messages.texts.clear()
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    prompt, expected = load_file(golden / "prompt.safetensors"), load_file(golden / adapter / "expected.safetensors")
    ids = prompt["input_ids"]
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), image_grid_thw=prompt["image_grid_thw"],
                       pixel_values=prompt["pixel_values"].float(),
                       mm_token_type_ids=(ids == model.config.image_token_id).int()).logits[0, -1]
    worst = (logits - expected["logits"]).abs().max().item()
    print(f"{name} with {adapter}: logits differ by at most {worst:.1e}", *messages.texts)
    return worst < 1e-4 and not messages.texts


def main():
    messages = Messages()
    transformers.utils.logging.get_logger("transformers").addHandler(messages)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.argv[1], "--run_test=for_transformers", "--", folder], check=True)
        saved = sorted(path for path in Path(folder).iterdir() if path.is_dir())
        adapters = [path for path in saved if path.name == "adapters"]
        results = [check(path.name, path, messages) for path in saved if path not in adapters]
        results += [check_adapter(path, messages) for path in sorted(adapters[0].glob("*/*"))]
    sys.exit(0 if results and all(results) else 1)


if __name__ == "__main__":
    main()

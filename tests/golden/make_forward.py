#!/usr/bin/env python3
"""Golden data of forward(), from transformers 5.24 (with torch on a CPU, attn_implementation="sdpa"):

  make_forward.py     writes cases/model/<model>_fwd_* beside itself
"""
import json
import pathlib

import torch
from safetensors.torch import save_file
from transformers import DynamicCache, Qwen3VLForConditionalGeneration, Qwen3VLMoeForConditionalGeneration

HERE = pathlib.Path(__file__).resolve().parent
FOLDER = HERE / "cases" / "model"
MODELS = {
    "dense_small": Qwen3VLForConditionalGeneration,
    "dense_wide": Qwen3VLForConditionalGeneration,  # with biases in attention
    "moe_small": Qwen3VLMoeForConditionalGeneration,  # with the smallest patches
}


def load(name):
    model = MODELS[name].from_pretrained(HERE / "models" / name, dtype=torch.float32, attn_implementation="sdpa")
    return model.eval()


def save(model_name, name, tensors, **options):
    case = f"{model_name}_fwd_{name}"
    about = {"kind": "model", "model": model_name, "tolerance": 1e-4}
    about.update(options)
    (FOLDER / f"{case}.json").write_text(json.dumps({"group": "model", "name": case, **about}, indent=1) + "\n")
    stored = {}
    for key, value in tensors.items():
        if value is None:
            continue
        if value.dtype == torch.bool or ".attention_mask" in key or ".mm_token_type_ids" in key:
            value = value.to(torch.uint8)
        if "pixel_values" in key:
            value = value.half()  # exact, see pixels()
        stored[key] = value.detach().contiguous().clone()
    save_file(stored, FOLDER / f"{case}.safetensors")


class Prompts:
    """Rows of text and images with numbers that float16 holds."""

    def __init__(self, model, seed):
        self.config = model.config
        self.generator = torch.Generator().manual_seed(seed)
        self.rows, self.types = [[]], [[]]
        self.images, self.videos = [], []

    def text(self, count):
        top = self.config.text_config.vocab_size - 30
        self.rows[-1] += torch.randint(1, top, (count,), generator=self.generator).tolist()
        self.types[-1] += [0] * count
        return self

    def row(self):
        self.rows.append([])
        self.types.append([])
        return self

    def media(self, grids, t, h, w, token, kind):
        grids.append((t, h, w))
        count = h * w // self.config.vision_config.spatial_merge_size**2
        for _ in range(t):
            self.text(1)
            self.rows[-1] += [self.config.vision_start_token_id] + [token] * count + [self.config.vision_end_token_id]
            self.types[-1] += [0] + [kind] * count + [0]
        return self

    def image(self, h, w):
        return self.media(self.images, 1, h, w, self.config.image_token_id, 1)

    def video(self, t, h, w):
        return self.media(self.videos, t, h, w, self.config.video_token_id, 2)

    def pixels(self, grids):
        if not grids:
            return None
        vision = self.config.vision_config
        columns = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        patches = sum(t * h * w for t, h, w in grids)
        return torch.randint(-64, 65, (patches, columns), generator=self.generator).float() / 64

    def inputs(self, pad=None):
        """With a mask, padded on the left, if there is a pad token."""
        width = max(map(len, self.rows))
        fill = [width - len(row) for row in self.rows]
        inputs = {"input_ids": torch.tensor([[pad] * n + row for n, row in zip(fill, self.rows)])}
        if pad is not None:
            inputs["attention_mask"] = torch.tensor([[0] * n + [1] * (width - n) for n in fill])
        if self.images or self.videos:
            inputs["mm_token_type_ids"] = torch.tensor([[0] * n + row for n, row in zip(fill, self.types)])
        if self.images:
            inputs["pixel_values"] = self.pixels(self.images)
            inputs["image_grid_thw"] = torch.tensor(self.images)
        if self.videos:
            inputs["pixel_values_videos"] = self.pixels(self.videos)
            inputs["video_grid_thw"] = torch.tensor(self.videos)
        return inputs


def named(inputs, suffix=""):
    return {f"in.{key}{suffix}": value for key, value in inputs.items()}


def run(model, inputs, **more):
    """forward() of a model that has seen nothing, with the positions that the text model was given."""
    if more.get("cache") is None:
        model.model.rope_deltas = None
    taken = []
    hook = model.model.language_model.rotary_emb.register_forward_hook(lambda _, args, __: taken.append(args[1]))
    with torch.no_grad():
        output = model(**inputs, **more)
    hook.remove()
    batch, length = output.logits.shape[:2]
    return output, taken[0].expand(3, batch, -1)


def labels_of(inputs):
    labels = inputs["input_ids"].clone()
    if "attention_mask" in inputs:
        labels[inputs["attention_mask"] == 0] = -100
    if "mm_token_type_ids" in inputs:
        labels[inputs["mm_token_type_ids"] != 0] = -100
    return labels


def losses():
    for name, seed in (("dense_small", 1), ("dense_wide", 2), ("moe_small", 3)):
        model = load(name)
        moe = {"output_router_logits": True} if name == "moe_small" else {}
        # The label behind the last pad token counts, with the logits of a token that attends to nothing.
        prompts = Prompts(model, seed).text(9).row().text(3).image(4, 2).text(2).row().text(4)
        inputs = prompts.inputs(pad=7)
        labels = labels_of(inputs)
        output, _ = run(model, inputs, labels=labels, **moe)
        tensors = {**named(inputs), "in.labels": labels, "out.loss": output.loss[None]}
        if moe:
            tensors["out.aux_loss"] = output.aux_loss[None]
        save(name, "left_pad_loss", tensors)
        assert not torch.allclose(
            output.loss, model(**inputs, labels=labels.masked_fill(inputs["attention_mask"].cumsum(1) == 1, -100)).loss
        )
    model = load("dense_small")
    inputs = Prompts(model, 4).text(8).row().text(5).inputs(pad=9)
    # Labels of padding count, too, where nothing says otherwise.
    labels = inputs["input_ids"].clone()
    output, _ = run(model, inputs, labels=labels)
    save("dense_small", "pad_labels_loss", {**named(inputs), "in.labels": labels, "out.loss": output.loss[None]})
    labels = labels_of(inputs)
    output, _ = run(model, inputs, labels=labels, num_items_in_batch=5)
    tensors = {**named(inputs), "in.labels": labels, "out.loss": output.loss[None]}
    save("dense_small", "num_items_loss", tensors, num_items_in_batch=5)
    shift_labels = torch.roll(labels, -1, 1)
    shift_labels[shift_labels == -100] = -7
    shift_labels[0, 2] = -7
    output, _ = run(model, inputs, labels=labels, shift_labels=shift_labels, ignore_index=-7)
    tensors = {**named(inputs), "in.shift_labels": shift_labels, "out.loss": output.loss[None]}
    save("dense_small", "shift_labels_loss", tensors, ignore_index=-7)
    kept = labels[:, -3:].contiguous()
    output, _ = run(model, inputs, labels=kept, logits_to_keep=3)
    tensors = {**named(inputs), "in.labels": kept, "out.logits": output.logits, "out.loss": output.loss[None]}
    save("dense_small", "kept_loss", tensors, logits_to_keep=3)


def vision_outputs(prefix, of_tower):
    tensors = {f"out.{prefix}.last_hidden_state": of_tower.last_hidden_state}
    for i, features in enumerate(of_tower.pooler_output):
        tensors[f"out.{prefix}.pooler_output.{i}"] = features
    for j, of_layer in enumerate(of_tower.deepstack_features):
        for i, features in enumerate(of_layer):
            tensors[f"out.{prefix}.deepstack_features.{j}.{i}"] = features
    for i, states in enumerate(of_tower.hidden_states):
        if states is not None:
            tensors[f"out.{prefix}.hidden_states.{i}"] = states
    return tensors


def outputs():
    model = load("moe_small")
    prompts = Prompts(model, 5).text(2).image(4, 2).image(2, 6).text(2).video(2, 2, 4).text(3)
    inputs = prompts.inputs()
    output, positions = run(model, inputs, output_hidden_states=[1, -1, -2])
    tensors = {**named(inputs), "out.position_ids": positions, "out.logits": output.logits[:, -1:]}
    for i, states in enumerate(output.hidden_states):
        if states is not None:
            tensors[f"out.hidden_states.{i}"] = states
    tensors.update(vision_outputs("image_outputs", output.image_outputs))
    tensors.update(vision_outputs("video_outputs", output.video_outputs))
    save("moe_small", "outputs", tensors, hidden_states=[1, -1, -2], logits_to_keep=1)


def embeddings_and_positions():
    model = load("moe_small")
    embed = model.get_input_embeddings()
    prompts = Prompts(model, 6).text(3).image(4, 4).text(2).row().text(1).video(2, 2, 4).text(2)
    inputs = prompts.inputs(pad=7)
    ids = inputs.pop("input_ids")
    types = inputs.pop("mm_token_type_ids")
    grids = {key: inputs[key] for key in ("image_grid_thw", "video_grid_thw", "attention_mask")}
    inputs["inputs_embeds"] = embed(ids).detach()
    inputs["inputs_embeds"][0, :3] += 0.25  # no token's
    # Without input_ids the reference gives images the positions of text.
    output, positions = run(model, inputs)
    tensors = {**named(inputs), "out.position_ids": positions, "out.logits": output.logits}
    save("moe_small", "embeds", tensors)
    inputs["position_ids"], _ = model.model.get_rope_index(ids, mm_token_type_ids=types, **grids)
    output, positions = run(model, inputs)
    tensors = {**named(inputs), "out.position_ids": positions, "out.logits": output.logits}
    save("moe_small", "embeds_and_positions", tensors)

    model = load("dense_small")
    inputs = Prompts(model, 7).text(9).row().text(9).inputs()
    inputs["position_ids"] = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4], [4, 5, 6, 7, 8, 9, 10, 11, 12]])
    output, positions = run(model, inputs)
    tensors = {**named(inputs), "out.position_ids": positions, "out.logits": output.logits}
    save("dense_small", "positions", tensors)
    output, positions = run(model, inputs, use_cache=False)  # two sequences in the first row
    tensors = {**named(inputs), "out.position_ids": positions, "out.logits": output.logits}
    save("dense_small", "packed", tensors, use_cache=False)


def calls():
    # Images over a cache. transformers' forward() gives them positions of text, or such from 0; what is right is one
    # call for all (as its generate() has it).
    model = load("moe_small")
    prompts = Prompts(model, 8).text(3).image(4, 2).text(2).row().text(2).image(2, 2).text(1)
    first = prompts.inputs(pad=7)
    prompts = Prompts(model, 9).text(2).image(2, 6).text(1).row().text(2).image(6, 2).text(1)
    second = prompts.inputs()
    prompts = Prompts(model, 10).text(1).row().text(1)
    third = prompts.inputs()
    widths = [part["input_ids"].shape[1] for part in (first, second, third)]
    later = torch.ones(2, sum(widths[1:]), dtype=torch.long)
    mask = torch.cat([first["attention_mask"], later], 1)
    types = torch.cat([first["mm_token_type_ids"], second["mm_token_type_ids"], torch.zeros(2, 1, dtype=torch.long)], 1)
    patches = [grid.prod(-1).tolist() for grid in (first["image_grid_thw"], second["image_grid_thw"])]
    pixels = [part["pixel_values"].split(n) for part, n in zip((first, second), patches)]
    order = [(0, 0), (1, 0), (0, 1), (1, 1)]  # (call, image), row by row
    whole = {
        "input_ids": torch.cat([part["input_ids"] for part in (first, second, third)], 1),
        "attention_mask": mask,
        "mm_token_type_ids": types,
        "pixel_values": torch.cat([pixels[call][i] for call, i in order]),
        "image_grid_thw": torch.stack([(first, second)[call]["image_grid_thw"][i] for call, i in order]),
    }
    output, positions = run(model, whole)
    tensors, begin = {}, 0
    for j, (part, width) in enumerate(zip((first, second, third), widths)):
        part["attention_mask"] = mask[:, : begin + width]
        tensors.update(named(part, f".{j}"))
        tensors[f"out.logits.{j}"] = output.logits[:, begin : begin + width]
        tensors[f"out.position_ids.{j}"] = positions[:, :, begin : begin + width]
        begin += width
    save("moe_small", "later_images", tensors, kind="model_calls", calls=3)

    # Text, then an image.
    prompts = Prompts(model, 11).text(5).image(4, 2).text(2)
    inputs = prompts.inputs()
    output, positions = run(model, inputs)
    tensors = {
        "in.input_ids.0": inputs["input_ids"][:, :4],
        "in.input_ids.1": inputs.pop("input_ids")[:, 4:],
        "in.mm_token_type_ids.1": inputs.pop("mm_token_type_ids")[:, 4:],
        **named(inputs, ".1"),
    }
    for j, columns in enumerate((slice(0, 4), slice(4, None))):
        tensors[f"out.logits.{j}"] = output.logits[:, columns]
        tensors[f"out.position_ids.{j}"] = positions[:, :, columns]
    save("moe_small", "text_then_image", tensors, kind="model_calls", calls=2)

    # Padded text, continued: padding has positions.
    model = load("dense_small")
    inputs = Prompts(model, 12).text(7).row().text(4).inputs(pad=7)
    ids = torch.cat([inputs["input_ids"], Prompts(model, 13).text(3).row().text(3).inputs()["input_ids"]], 1)
    mask = torch.cat([inputs["attention_mask"], torch.ones(2, 3, dtype=torch.long)], 1)
    cache = DynamicCache(config=model.config.text_config)
    tensors, begin = {}, 0
    model.model.rope_deltas = None
    for j, end in enumerate((7, 9, 10)):
        part = {"input_ids": ids[:, begin:end], "attention_mask": mask[:, :end]}
        output, positions = run(model, part, cache=cache)
        tensors.update(named(part, f".{j}"))
        tensors[f"out.logits.{j}"] = output.logits
        tensors[f"out.position_ids.{j}"] = positions
        begin = end
    save("dense_small", "padded_text_calls", tensors, kind="model_calls", calls=3)


def main():
    losses()
    outputs()
    embeddings_and_positions()
    calls()


if __name__ == "__main__":
    main()

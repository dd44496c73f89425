#!/usr/bin/env python3
"""Adapters and what becomes of the model with them, from PEFT 0.21 and transformers 5.24 (with torch on a CPU):

  make_adapters.py     writes adapters/ beside itself

adapters/<model>/<case>/ holds the adapter as PEFT saves it. expected.safetensors beside it has rows of every tensor that
it changes ("<name>", and "<name>.rows" which they are; all of a small one), and the logits of the last token of a prompt
with an image ("logits", and "input_ids", "pixel_values", "image_grid_thw" in prompt.safetensors), both in float32.
adapters/several.json lists adapters that are merged one after the other, each with a scale.
"""
import copy
import json
import pathlib
import shutil

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLMoeForConditionalGeneration

HERE = pathlib.Path(__file__).resolve().parent
FOLDER = HERE / "adapters"
CLASSES = {"dense_small": Qwen3VLForConditionalGeneration, "moe_small": Qwen3VLMoeForConditionalGeneration}

DENSE = {
    "lora": dict(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], fan_in_fan_out=True),
    "patterns": dict(
        r=4, lora_alpha=6, use_rslora=True, target_modules=["q_proj", "k_proj"], layers_to_transform=[0, 1, 3],
        layers_pattern="language_model.layers",
        rank_pattern={"layers.0.self_attn.q_proj": 2, r"^model\.language_model.*1\.self_attn\.k_proj": 3, "k_proj": 1},
        alpha_pattern={r"[01]\.self_attn\.(q|v)_proj": 5, ".*q_proj": 2}),
    "dora": dict(r=2, lora_alpha=3, use_dora=True, target_modules=["o_proj", "patch_embed.proj", "gate_proj"],
                 layers_to_transform=None, exclude_modules=r".*layers\.[23]\..*"),
    "dora_embedding": dict(r=2, lora_alpha=3, use_dora=True, target_modules=["embed_tokens"]),
    "vision": dict(
        r=2, target_modules=r"(?:.*?(?:vision|visual).*\.(?:blocks\.[02]\.(?:attn\.(?:qkv|proj)|mlp\.linear_fc1)|merger\."
                            r"linear_fc[12]|deepstack_merger_list\.1\.linear_fc1|patch_embed\.proj|\bpos_embed))"),
    "lora_bias": dict(r=1, lora_bias=True, target_modules=["attn.proj", "patch_embed.proj"]),
    "saved": dict(r=1, target_modules=["o_proj"], modules_to_save=["lm_head", "visual.merger"], bias="all"),
    "embedding": dict(r=3, lora_alpha=2, target_modules=["embed_tokens", "q_proj"]),
    "head": dict(r=3, lora_alpha=2, target_modules=["lm_head", "q_proj"]),
    "tied": dict(r=2, lora_alpha=4, target_modules=["embed_tokens", "v_proj"], ensure_weight_tying=True),
    "tokens": dict(r=1, target_modules=["v_proj"], trainable_token_indices=[1, 300, 5]),
    "all_linear": dict(r=1, lora_alpha=1, target_modules="all-linear", exclude_modules=["linear_fc1", "linear_fc2", "qkv", "up_proj"]),
}
MOE = {
    "experts": dict(
        r=2, lora_alpha=4, target_modules=["q_proj"], target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
        rank_pattern={"experts.down_proj": 1}, alpha_pattern={r".*\.1\.mlp\.experts\.down_proj": 3}),
    "down": dict(r=1, lora_alpha=2, target_modules=[], target_parameters=["experts.down_proj", "2.mlp.gate.weight"]),
    "embeddings": dict(r=2, lora_alpha=4, target_modules=["embed_tokens", "lm_head"]),
}
SEVERAL = {
    "dense_small": [["lora", 0.5], ["dora", 1.25], ["saved", 2.0], ["patterns", -1.0]],
    "moe_small": [["experts", 1.0], ["down", 0.75]],
}


def base_model(name, tied=None):
    model = CLASSES[name].from_pretrained(HERE / "models" / name, dtype=torch.float32, attn_implementation="sdpa").eval()
    if tied is False and model.config.tie_word_embeddings:
        model.config.tie_word_embeddings = model.config.text_config.tie_word_embeddings = False
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    return model


def prompt(model):
    config, vision = model.config, model.config.vision_config
    side = 2 * vision.spatial_merge_size
    generator = torch.Generator().manual_seed(1)
    ids = [7, 1, 5, config.vision_start_token_id] + [config.image_token_id] * 4 + [config.vision_end_token_id, 9, 200, 17]
    pixels = torch.randn(side * side, vision.in_channels * vision.temporal_patch_size * vision.patch_size**2,
                         generator=generator).half()
    return {"input_ids": torch.tensor([ids]), "pixel_values": pixels, "image_grid_thw": torch.tensor([[1, side, side]])}


@torch.no_grad()
def last_logits(model, inputs):
    ids = inputs["input_ids"]
    types = (ids == model.config.image_token_id).int()
    return model(**{**inputs, "pixel_values": inputs["pixel_values"].float()}, mm_token_type_ids=types,
                 attention_mask=torch.ones_like(ids)).logits[0, -1]


@torch.no_grad()
def make(model_name, case, options):
    torch.manual_seed(sum(map(ord, model_name + case)))
    folder = FOLDER / model_name / case
    model = get_peft_model(base_model(model_name), LoraConfig(**options))
    for name, parameter in model.named_parameters():
        if "lora_magnitude_vector" in name:
            parameter *= 1 + 0.3 * torch.randn_like(parameter)
        elif "lora_" in name:
            parameter.normal_(std=0.2)
        elif "modules_to_save" in name or "trainable_tokens_delta" in name or (options.get("bias") and "bias" in name):
            parameter += 0.05 * torch.randn_like(parameter)
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = model_name  # not a path of the machine where this ran
    for key in ("target_modules", "exclude_modules"):  # sets, in another order each time
        if isinstance(config[key], list):
            config[key] = sorted(config[key])
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    stored = load_file(folder / "adapter_model.safetensors")
    if case in ("all_linear", "patterns", "saved"):  # as a training in bfloat16 saves it
        stored = {name: value.bfloat16() for name, value in stored.items()}
    # PEFT saves the base model's embedding beside its adapter, to be safe; it is large.
    stored = {name: value for name, value in stored.items() if "base_layer" not in name or "lora_" in name}
    save_file(stored, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    adapted = PeftModel.from_pretrained(base_model(model_name), folder).eval()
    logits = last_logits(adapted, prompt(adapted))
    weights = merged(model_name, [[case, 1.0]],
                     parts_pair=case in ("embedding", "head", "dora_embedding", "saved", "tied"))
    expect(model_name, folder / "expected.safetensors", weights, logits)


def scaled(model, scale):
    for module in model.modules():
        if hasattr(module, "scaling") and isinstance(module.scaling, dict):
            for adapter in module.scaling:
                module.set_scale(adapter, scale)
    return model


def merged(model_name, adapters, parts_pair):
    # PEFT's merge changes both tensors of a tied pair; its model with the adapter, one.
    model = base_model(model_name, tied=False if parts_pair else None)
    for case, scale in adapters:
        folder = FOLDER / model_name / case
        config = LoraConfig.from_pretrained(folder)
        if case == "tied":  # merging would add the update to the one tensor twice
            config.ensure_weight_tying = False
            config.target_modules = ["lm_head", *config.target_modules]
        model = scaled(PeftModel.from_pretrained(model, folder, config=config), scale).merge_and_unload()
    return model


@torch.no_grad()
def expect(model_name, path, model, logits):
    assert torch.allclose(last_logits(model, prompt(model)), logits, atol=2e-4), path
    before = base_model(model_name).state_dict()
    expected = {"logits": logits.clone()}
    for name, value in model.state_dict().items():
        if name == "lm_head.weight" and model.lm_head.weight is model.model.language_model.embed_tokens.weight:
            continue
        if torch.equal(value, before[name]):
            continue
        rows = value.reshape(-1, value.shape[-1]) if value.dim() == 3 else value.reshape(value.shape[0], -1)
        chosen = sorted({0, len(rows) // 2, len(rows) - 1})
        if name.endswith("embed_tokens.weight"):
            chosen = sorted({*chosen, 1, 5, 300} & set(range(len(rows))))
        expected[name] = rows[chosen].contiguous().clone()
        expected[name + ".rows"] = torch.tensor(chosen, dtype=torch.int64)
    save_file(expected, path)


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    for model_name, cases in (("dense_small", DENSE), ("moe_small", MOE)):
        for case, options in cases.items():
            make(model_name, case, options)
        save_file({k: v.contiguous() for k, v in prompt(base_model(model_name)).items()},
                  FOLDER / model_name / "prompt.safetensors")
        model = merged(model_name, SEVERAL[model_name], parts_pair=model_name == "dense_small")
        expect(model_name, FOLDER / model_name / "several.safetensors", model, last_logits(model, prompt(model)))
    (FOLDER / "several.json").write_text(json.dumps(SEVERAL, indent=1) + "\n")


if __name__ == "__main__":
    main()

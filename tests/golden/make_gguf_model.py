#!/usr/bin/env python3
"""Golden models in GGUF, and what transformers 5.24 answers with the weights that their own tools read from them:

  make_gguf_model.py LLAMA_CPP QUANTIZE

LLAMA_CPP: vendor/llama.cpp of the source package of llama-cpp-python (PyPI; made with 0.3.36), QUANTIZE: the program
llama-quantize built from it (cmake -DBUILD_SHARED_LIBS=OFF; ninja llama-quantize). Needs transformers and torch.
Writes into gguf/, beside itself:

  dense_small-Q4_K_M-0000*  converted, split and quantised by llama.cpp, with mmproj-dense_small-F16.gguf
  moe_small-F16.gguf        the same of experts, not quantised (its rows are too short for blocks)
  sha256-moe_small          the same weights in Ollama's layout, as convert/convert_qwen3vl.go of ollama writes it
  tiny-shapes-vocab.gguf    the tokenizer of examples/assets/tiny-shapes alone

and cases/generation/gguf_*. The reference has each weight from the file under the name that gguf's own table gives it.
"""
import json
import pathlib
import runpy
import shutil
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import save_file
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLMoeForConditionalGeneration

import make_forward

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE / "gguf"
CASES = HERE / "cases" / "generation"
SHAPES = HERE.parent.parent / "examples" / "assets" / "tiny-shapes"
LLAMA_CPP, QUANTIZE = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
sys.path[:0] = [str(LLAMA_CPP), str(LLAMA_CPP / "gguf-py")]  # its own gguf, which the converter needs
import gguf  # noqa: E402


def convert(*arguments):
    import conversion.base

    # The converter knows a pre-tokenizer by how a real vocabulary splits a text; these vocabularies are smaller.
    conversion.base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "qwen2"
    sys.argv = ["convert_hf_to_gguf.py", *map(str, arguments)]
    runpy.run_path(str(LLAMA_CPP / "convert_hf_to_gguf.py"), run_name="__main__")


def byte_letters():
    """The characters that stand for bytes in a byte-level vocabulary."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in plain else next(others)) for byte in range(256)]


def with_tokenizer(folder, name):
    """A copy of a golden model with a vocabulary: every byte, a few merges, Qwen's added tokens at the ids of its config."""
    shutil.copytree(HERE / "models" / name, folder)
    config = json.loads((folder / "config.json").read_text())
    text = config["text_config"]
    named = {text["bos_token_id"]: "<|endoftext|>", text["eos_token_id"]: "<|im_end|>",
             config["vision_start_token_id"]: "<|vision_start|>", config["vision_end_token_id"]: "<|vision_end|>",
             config["image_token_id"]: "<|image_pad|>", config["video_token_id"]: "<|video_pad|>"}
    for i in range(min(named), max(named)):  # transformers numbers added tokens without gaps
        named.setdefault(i, f"<|reserved_{i}|>")
    vocabulary = {letter: i for i, letter in enumerate(byte_letters())}
    merges = []
    letters = byte_letters()
    for i in range(256, min(named)):
        merges.append([letters[97 + i % 26], letters[97 + i // 26]])
        vocabulary["".join(merges[-1])] = i
    tokenizer = json.loads((SHAPES / "tokenizer.json").read_text())
    tokenizer["model"].update(vocab=vocabulary, merges=merges)
    added = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}
    tokenizer["added_tokens"] = [{"id": i, "content": token, **added} for i, token in sorted(named.items())]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
         "chat_template": "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"}))
    return folder


def tensors_of(*files):
    values = {}
    for file in files:
        for tensor in gguf.GGUFReader(file).tensors:
            shape = [int(extent) for extent in reversed(tensor.shape)]
            values[tensor.name] = torch.from_numpy(
                gguf.dequantize(tensor.data, tensor.tensor_type).astype("float32").reshape(shape).copy())
    return values


def stored(values, config, name, text_arch):
    """The weight that transformers calls `name`."""
    text_map = gguf.get_tensor_name_map(text_arch, config.text_config.num_hidden_layers)
    vision_map = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, config.vision_config.depth)
    if name == "lm_head.weight":
        return values.get("output.weight", values["token_embd.weight"])
    name = name.replace("model.language_model.", "model.").replace("model.visual.", "visual.")
    if name == "visual.patch_embed.proj.weight":
        return torch.stack([values["v.patch_embd.weight"], values["v.patch_embd.weight.1"]], 2)
    if ".deepstack_merger_list." in name:
        _, _, number, rest = name.split(".", 3)
        block = config.vision_config.deepstack_visual_indexes[int(number)]
        return values[f"v.deepstack.{block}.{rest.replace('linear_', '')}"]
    if name.startswith("visual.merger."):
        part, ending = name.removeprefix("visual.merger.").split(".")
        return values[{"norm": "v.post_ln", "linear_fc1": "mm.0", "linear_fc2": "mm.2"}[part] + "." + ending]
    if name.endswith("experts.gate_up_proj"):
        base = text_map.get_name(name.replace("gate_up_proj", "gate_proj"))
        return torch.cat([values[base + ".weight"], values[base.replace("gate", "up") + ".weight"]], 1)
    if name.endswith("experts.down_proj"):
        return values[text_map.get_name(name) + ".weight"]
    table = vision_map if name.startswith("visual.") else text_map
    return values[table.get_name(name, try_suffixes=(".weight", ".bias"))]


def reference(model_class, name, values, text_arch):
    model = model_class.from_pretrained(HERE / "models" / name, dtype=torch.float32, attn_implementation="sdpa").eval()
    for parameter, value in model.named_parameters():
        read = stored(values, model.config, parameter, text_arch)
        error = (read - value.data).norm() / value.data.norm()
        if read.shape != value.shape or error > 0.1:
            raise ValueError(f"{parameter}: {tuple(read.shape)}, error {error}")
        value.data.copy_(read)
    return model


def case(model, model_name, name, checkpoint):
    prompts = make_forward.Prompts(model, 41).text(5).image(4, 6).text(6)
    inputs = prompts.inputs()
    options = {"max_new_tokens": 16}
    model.model.rope_deltas = None
    pad = model.config.text_config.bos_token_id
    with torch.no_grad():
        output = model.generate(**inputs, **options, do_sample=False, pad_token_id=pad, eos_token_id=None, top_k=None,
                                top_p=None, temperature=None, return_dict_in_generate=True, output_logits=True)
    logits = torch.stack(output.logits, 1)
    best = logits.topk(2).values
    margin = float((best[..., 0] - best[..., 1]).min())
    about = {"group": "generation", "name": f"gguf_{name}", "model": model_name, "checkpoint": f"gguf/{checkpoint}",
             "kind": "generate", "tolerance": 1e-4, "options": options, "smallest_margin": margin}
    (CASES / f"gguf_{name}.json").write_text(json.dumps(about, indent=1) + "\n")
    tensors = {**make_forward.named(inputs), "out.sequences": output.sequences, "out.logits": logits}
    tensors["in.pixel_values"] = tensors["in.pixel_values"].half()
    tensors["in.mm_token_type_ids"] = tensors["in.mm_token_type_ids"].to(torch.uint8)
    save_file({key: value.contiguous().clone() for key, value in tensors.items()}, CASES / f"gguf_{name}.safetensors")
    print(name, output.sequences[0, -16:].tolist(), "margin", margin)


def ollama(path, source, values, model):
    """What Ollama's converter writes for a mixture of experts: its keys, its names in the vision tower."""
    config, text, vision = model.config, model.config.text_config, model.config.vision_config
    preprocessor = json.loads((source / "preprocessor_config.json").read_text())
    writer = gguf.GGUFWriter(path, "qwen3vlmoe")
    for key, value in {
        "block_count": text.num_hidden_layers, "context_length": text.max_position_embeddings,
        "embedding_length": text.hidden_size, "feed_forward_length": text.intermediate_size,
        "attention.head_count": text.num_attention_heads, "attention.head_count_kv": text.num_key_value_heads,
        "attention.key_length": text.head_dim, "attention.value_length": text.head_dim,
        "expert_count": text.num_experts, "expert_used_count": text.num_experts_per_tok,
        "vision.block_count": vision.depth, "vision.embedding_length": vision.hidden_size,
        "vision.attention.head_count": vision.num_heads, "vision.num_channels": vision.in_channels,
        "vision.patch_size": vision.patch_size, "vision.spatial_merge_size": vision.spatial_merge_size,
        "vision.temporal_patch_size": vision.temporal_patch_size,
        "vision.shortest_edge": preprocessor["size"]["shortest_edge"],
        "vision.longest_edge": preprocessor["size"]["longest_edge"],
    }.items():
        writer.add_uint32("qwen3vlmoe." + key, value)
    rope = json.loads((source / "config.json").read_text())["text_config"]
    writer.add_bool("qwen3vlmoe.norm_top_k_prob", True)
    writer.add_float32("qwen3vlmoe.rope.freq_base", rope["rope_theta"])
    writer.add_array("qwen3vlmoe.rope.mrope_section", rope["rope_scaling"]["mrope_section"])
    writer.add_float32("qwen3vlmoe.attention.layer_norm_rms_epsilon", text.rms_norm_eps)
    writer.add_float32("qwen3vlmoe.vision.attention.layer_norm_epsilon", 1e-6)
    writer.add_float32("qwen3vlmoe.vision.rope.freq_base", 1e4)
    writer.add_array("qwen3vlmoe.vision.deepstack_visual_indexes", vision.deepstack_visual_indexes)
    writer.add_array("qwen3vlmoe.vision.image_mean", preprocessor["image_mean"])
    writer.add_array("qwen3vlmoe.vision.image_std", preprocessor["image_std"])
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    tokens = {i: (token, 1) for token, i in tokenizer["model"]["vocab"].items()}
    tokens |= {token["id"]: (token["content"], 3) for token in tokenizer["added_tokens"]}
    ordered = [tokens[i] for i in sorted(tokens)]
    ordered += [(f"[PAD{i}]", 4) for i in range(text.vocab_size - len(ordered))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([token for token, _ in ordered])
    writer.add_token_types([kind for _, kind in ordered])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_uint32("tokenizer.ggml.eos_token_id", text.eos_token_id)
    writer.add_array("tokenizer.ggml.eos_token_ids", [text.eos_token_id, text.bos_token_id])
    writer.add_uint32("tokenizer.ggml.padding_token_id", text.bos_token_id)
    renamed = {"v.post_ln": "v.merger.norm", "mm.0": "v.merger.linear_fc1", "mm.2": "v.merger.linear_fc2",
               "v.position_embd": "v.pos_embed", "v.patch_embd": "v.patch_embed"}
    for name, value in values.items():
        if name == "v.patch_embd.weight.1":
            continue
        base, _, ending = name.rpartition(".")
        if base in renamed:
            base = renamed[base]
        elif base.startswith("v.deepstack."):
            number, part = base.removeprefix("v.deepstack.").split(".")
            number = vision.deepstack_visual_indexes.index(int(number))
            base = f"v.deepstack_merger.{number}." + {"norm": "norm", "fc1": "linear_fc1", "fc2": "linear_fc2"}[part]
        elif base.startswith("v.blk."):
            for theirs, ours in ((".ln1", ".norm1"), (".ln2", ".norm2"), (".ffn_up", ".mlp.linear_fc1"),
                                 (".ffn_down", ".mlp.linear_fc2")):
                base = base.replace(theirs, ours)
        if name == "v.patch_embd.weight":
            value = torch.stack([value, values["v.patch_embd.weight.1"]], 2).flatten(0, 1)
        parts = {base: value}
        if base.endswith("attn_qkv"):
            parts = {base.replace("qkv", part): rows for part, rows in zip("qkv", value.chunk(3))}
        for part, rows in parts.items():
            # float16 as there, but where the reference's numbers, which llama.cpp keeps in float32, would be rounded.
            array, half = rows.numpy(), rows.numpy().astype("float16")
            writer.add_tensor(f"{part}.{ending}", array if array.ndim == 1 or (half != array).any() else half)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        dense = with_tokenizer(work / "dense_small", "dense_small")
        convert(dense, "--outtype", "f16", "--mmproj", "--outfile", OUT / "mmproj-dense_small-F16.gguf")
        convert(dense, "--outtype", "f32", "--split-max-tensors", "30", "--outfile", work / "dense.gguf")
        first = sorted(work.glob("dense-00001-of-*.gguf"))[0]
        for old in OUT.glob("dense_small-Q4_K_M-*"):
            old.unlink()
        subprocess.run([QUANTIZE, "--keep-split", first, OUT / "dense_small-Q4_K_M.gguf", "Q4_K_M", "1"], check=True)
        parts = sorted(OUT.glob("dense_small-Q4_K_M*"))
        values = tensors_of(*parts, OUT / "mmproj-dense_small-F16.gguf")
        model = reference(Qwen3VLForConditionalGeneration, "dense_small", values, gguf.MODEL_ARCH.QWEN3VL)
        case(model, "dense_small", "dense_small", parts[0].name)

        moe = with_tokenizer(work / "moe_small", "moe_small")
        # The converter's table has no names for dense layers among those of experts: none was released.
        gguf.MODEL_TENSORS[gguf.MODEL_ARCH.QWEN3VLMOE] += [
            gguf.MODEL_TENSOR.FFN_GATE, gguf.MODEL_TENSOR.FFN_UP, gguf.MODEL_TENSOR.FFN_DOWN]
        convert(moe, "--outtype", "f16", "--outfile", OUT / "moe_small-F16.gguf")
        convert(moe, "--outtype", "f16", "--mmproj", "--outfile", OUT / "mmproj-moe_small-F16.gguf")
        values = tensors_of(OUT / "moe_small-F16.gguf", OUT / "mmproj-moe_small-F16.gguf")
        model = reference(Qwen3VLMoeForConditionalGeneration, "moe_small", values, gguf.MODEL_ARCH.QWEN3VLMOE)
        case(model, "moe_small", "moe_small", "moe_small-F16.gguf")
        ollama(OUT / "sha256-moe_small", moe, values, model)
        case(model, "moe_small", "ollama_moe_small", "sha256-moe_small")

        convert(SHAPES, "--vocab-only", "--outfile", OUT / "tiny-shapes-vocab.gguf")


main()

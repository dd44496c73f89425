"""Writes a Qwen3-VL checkpoint of full size with random weights, in the layout of the Hub.

usage: make_checkpoint.py VARIANT TOKENIZER_JSON OUT_DIR     (VARIANT: 2b, 4b or 8b; needs numpy)

Speed and memory do not depend on the weights' values, so that programs can be compared on it without a download.
"""
import json
import os
import shutil
import sys

import numpy as np

# A minimal ChatML template: enough for a prompt with text and images.
CHAT_TEMPLATE = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' }}{%- if m.content is string %}{{- m.content }}"
    "{%- else %}{%- for c in m.content %}{%- if c.type == 'image' %}"
    "{{- '<|vision_start|><|image_pad|><|vision_end|>' }}{%- else %}{{- c.text }}{%- endif %}{%- endfor %}{%- endif %}"
    "{{- '<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}")
SMALL_TOWER = dict(depth=24, hidden_size=1024, intermediate_size=4096, deepstack_visual_indexes=[5, 11, 17])
LARGE_TOWER = dict(depth=27, hidden_size=1152, intermediate_size=4304, deepstack_visual_indexes=[8, 16, 24])
HEAD_DIM, VOCABULARY, KV_HEADS = 128, 151936, 8
# variant: tower, tied head, sizes of the text model
VARIANTS = {
    "2b": (SMALL_TOWER, True, dict(hidden_size=2048, num_hidden_layers=28, num_attention_heads=16, intermediate_size=6144)),
    "4b": (SMALL_TOWER, True, dict(hidden_size=2560, num_hidden_layers=36, num_attention_heads=32, intermediate_size=9728)),
    "8b": (LARGE_TOWER, False, dict(hidden_size=4096, num_hidden_layers=36, num_attention_heads=32, intermediate_size=12288)),
}


def config(vision, tied, text):
    rope = dict(mrope_interleaved=True, mrope_section=[24, 20, 20], rope_type="default")
    return dict(
        architectures=["Qwen3VLForConditionalGeneration"], model_type="qwen3_vl", tie_word_embeddings=tied,
        image_token_id=151655, video_token_id=151656, vision_start_token_id=151652, vision_end_token_id=151653,
        text_config=dict(
            text, model_type="qwen3_vl_text", num_key_value_heads=KV_HEADS, vocab_size=VOCABULARY, head_dim=HEAD_DIM,
            hidden_act="silu", attention_bias=False, attention_dropout=0.0, rms_norm_eps=1e-6,
            max_position_embeddings=262144, initializer_range=0.02, rope_theta=5000000, rope_scaling=rope, use_cache=True,
            tie_word_embeddings=tied, bos_token_id=151643, eos_token_id=151645, dtype="bfloat16"),
        vision_config=dict(
            vision, model_type="qwen3_vl", num_heads=16, in_channels=3, patch_size=16, temporal_patch_size=2,
            spatial_merge_size=2, num_position_embeddings=2304, out_hidden_size=text["hidden_size"],
            hidden_act="gelu_pytorch_tanh", initializer_range=0.02))


def tensors(vision, tied, text):
    """Names and shapes of all tensors. Vectors that end in 'norm...weight' are filled with ones."""
    hidden, inner = text["hidden_size"], text["intermediate_size"]
    yield "model.language_model.embed_tokens.weight", (VOCABULARY, hidden)
    for i in range(text["num_hidden_layers"]):
        layer = f"model.language_model.layers.{i}."
        queries, keys = text["num_attention_heads"] * HEAD_DIM, KV_HEADS * HEAD_DIM
        yield layer + "self_attn.q_proj.weight", (queries, hidden)
        yield layer + "self_attn.k_proj.weight", (keys, hidden)
        yield layer + "self_attn.v_proj.weight", (keys, hidden)
        yield layer + "self_attn.o_proj.weight", (hidden, queries)
        yield layer + "self_attn.q_norm.weight", (HEAD_DIM,)
        yield layer + "self_attn.k_norm.weight", (HEAD_DIM,)
        yield layer + "mlp.gate_proj.weight", (inner, hidden)
        yield layer + "mlp.up_proj.weight", (inner, hidden)
        yield layer + "mlp.down_proj.weight", (hidden, inner)
        yield layer + "input_layernorm.weight", (hidden,)
        yield layer + "post_attention_layernorm.weight", (hidden,)
    yield "model.language_model.norm.weight", (hidden,)
    if not tied:
        yield "lm_head.weight", (VOCABULARY, hidden)

    def linear(name, outputs, inputs):
        yield name + ".weight", (outputs, inputs)
        yield name + ".bias", (outputs,)

    def norm(name, size):
        yield name + ".weight", (size,)
        yield name + ".bias", (size,)

    def merger(name, normed):
        yield from norm(name + ".norm", normed)
        yield from linear(name + ".linear_fc1", 4 * width, 4 * width)
        yield from linear(name + ".linear_fc2", hidden, 4 * width)

    width, v_inner, tower = vision["hidden_size"], vision["intermediate_size"], "model.visual."
    yield tower + "patch_embed.proj.weight", (width, 3, 2, 16, 16)
    yield tower + "patch_embed.proj.bias", (width,)
    yield tower + "pos_embed.weight", (2304, width)
    for i in range(vision["depth"]):
        block = f"{tower}blocks.{i}."
        yield from norm(block + "norm1", width)
        yield from norm(block + "norm2", width)
        yield from linear(block + "attn.qkv", 3 * width, width)
        yield from linear(block + "attn.proj", width, width)
        yield from linear(block + "mlp.linear_fc1", v_inner, width)
        yield from linear(block + "mlp.linear_fc2", width, v_inner)
    yield from merger(tower + "merger", width)
    for i in range(len(vision["deepstack_visual_indexes"])):
        yield from merger(f"{tower}deepstack_merger_list.{i}", 4 * width)


def write_safetensors(path, listed):
    """Writes as it goes, so that memory stays small: 8 bytes of length, a JSON header, the values in its order."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in listed:
        end = offset + 2 * int(np.prod(shape))
        header[name] = dict(dtype="BF16", shape=list(shape), data_offsets=[offset, end])
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    random = np.random.default_rng(0)
    with open(path + ".part", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in listed:
            left, ones = int(np.prod(shape)), "norm" in name and name.endswith("weight")
            while left > 0:
                count = min(left, 1 << 24)
                values = np.ones(count, np.float32) if ones else random.standard_normal(count, np.float32) * np.float32(0.02)
                bits = values.view(np.uint32)
                file.write(((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).tobytes())  # rounded to bf16
                left -= count
    os.replace(path + ".part", path)


def write_json(path, content):
    with open(path, "w") as file:
        json.dump(content, file, indent=2)


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in VARIANTS:
        sys.exit(__doc__)
    (vision, tied, text), tokenizer, out = VARIANTS[sys.argv[1]], sys.argv[2], sys.argv[3]
    os.makedirs(out, exist_ok=True)
    shutil.copy(tokenizer, os.path.join(out, "tokenizer.json"))
    write_json(f"{out}/config.json", config(vision, tied, text))
    write_json(f"{out}/tokenizer_config.json", dict(
        tokenizer_class="Qwen2TokenizerFast", eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=262144,
        clean_up_tokenization_spaces=False))
    patches = dict(patch_size=16, temporal_patch_size=2, merge_size=2, image_mean=[0.5] * 3, image_std=[0.5] * 3,
                   processor_class="Qwen3VLProcessor")
    write_json(f"{out}/preprocessor_config.json", dict(
        patches, size=dict(longest_edge=16777216, shortest_edge=65536), image_processor_type="Qwen2VLImageProcessorFast"))
    write_json(f"{out}/video_preprocessor_config.json", dict(
        patches, size=dict(longest_edge=25165824, shortest_edge=4096), video_processor_type="Qwen3VLVideoProcessor"))
    write_json(f"{out}/generation_config.json", dict(
        bos_token_id=151643, eos_token_id=[151645, 151643], pad_token_id=151643, do_sample=False))
    with open(f"{out}/chat_template.jinja", "w") as file:
        file.write(CHAT_TEMPLATE)
    listed = list(tensors(vision, tied, text))
    write_safetensors(f"{out}/model.safetensors", listed)
    print(f"{out}: {sum(int(np.prod(shape)) for _, shape in listed) / 1e9:.3f} billion parameters")


if __name__ == "__main__":
    main()

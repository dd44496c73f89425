"""Writes the seed corpora (corpus/). Needs Pillow. Those of corpus/clip were written by tests/libav_writer.hpp."""
import json
import pathlib
import struct
import zlib
from io import BytesIO

from PIL import Image

here = pathlib.Path(__file__).parent
assets = here / "../../examples/assets/tiny-shapes"
golden = here / "../golden"


def seed(target, name, data):
    folder = here / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def dump(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


# ---- weights
header = {"__metadata__": {"format": "pt"}}
offset = 0
for i, (dtype, size, shape) in enumerate([("F32", 4, [2, 3]), ("BF16", 2, [4]), ("I64", 8, [1, 2]), ("BOOL", 1, [3]),
                                          ("F16", 2, [0, 7]), ("U8", 1, [])]):
    count = 1
    for extent in shape:
        count *= extent
    header[f"layer.{i}.weight"] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + count * size]}
    offset += count * size
seed("safetensors", "types", bytes([offset]) + dump(header).encode())
text = dump({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
seed("safetensors", "whole_file", b"\xff" + struct.pack("<Q", len(text)) + text + b"abcd")
seed("safetensors", "empty", b"\x00{}")
for i, (descr, order, shape, size) in enumerate([("<f4", "False", "(2, 3)", 24), ("|u1", "False", "()", 1),
                                                 ("<V2", "True", "(4,)", 8), ("<i8", "False", "(0, 7)", 0)]):
    seed("npy", f"{i}", bytes([size]) + f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}   \n".encode())
seed("npy", "version_2", b"\xff\x93NUMPY\x02\0\x38\0\0\0{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}\nabcd")
seed("checkpoint_index", "two_shards", dump({"metadata": {"total_size": 8},
                                             "weight_map": {"a.0": "a.safetensors", "b.0": "b.safetensors"}}))
seed("checkpoint_index", "damaged", dump({"weight_map": {"a.0": "b.safetensors", "c": "missing", "d": "../a"}}))
seed("packed_file", "good", bytes([0, 100, 0, 50]) + b"contents")
seed("packed_file", "other_identity", bytes([4, 1, 0, 5]) + b"qwen3vl weights of a tesT\nlayout 1\n")
seed("packed_file", "other_sizes", bytes([50, 9, 0, 5, 35, 0, 0, 0]) + b"contents")
identity = b"qwen3vl weights of a test\nlayout 1\n"
seed("packed_file", "whole_file", bytes([1, 4, 0, 2]) + b"qwen3vl packed 1" + struct.pack("<QQ", len(identity), 4102) +
     (identity.ljust(4096 - 32, b"\0") + b"abcdef"))



def gguf_string(text):
    return struct.pack("<Q", len(text)) + text.encode()


def gguf_file(keys, tensors, data):
    """Of keys {name: (type, bytes)} and tensors (name, extents, type, offset)."""
    file = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    for name, (kind, value) in keys.items():
        file += gguf_string(name) + struct.pack("<I", kind) + value
    for name, extents, kind, start in tensors:
        file += gguf_string(name) + struct.pack(f"<I{len(extents)}QIQ", len(extents), *extents, kind, start)
    return file + bytes(-len(file) % 32) + bytes(i * 37 % 256 for i in range(data))


seed("gguf", "keys", gguf_file({
    "general.architecture": (8, gguf_string("qwen3vl")), "general.alignment": (4, struct.pack("<I", 32)),
    "u8": (0, b"\x01"), "i8": (1, b"\xff"), "u16": (2, b"\x01\x02"), "i16": (3, b"\x01\x82"), "i32": (5, b"\xff" * 4),
    "f32": (6, struct.pack("<f", 1e-6)), "b": (7, b"\x01"), "u64": (10, bytes(8)), "i64": (11, bytes(8)),
    "f64": (12, struct.pack("<d", 0.5)),
    "s": (9, struct.pack("<IQ", 8, 3) + gguf_string("a") + gguf_string("") + gguf_string("\u0120the")),
    "i": (9, struct.pack("<IQ3i", 5, 3, 1, -2, 3)), "bools": (9, struct.pack("<IQ", 7, 2) + b"\x00\x01"),
    "nested": (9, struct.pack("<IQIQIQ", 9, 2, 0, 0, 4, 1) + bytes(4))}, [("t", [2, 1], 0, 0)], 8))
for i, kinds in enumerate([[(2, 18), (3, 20), (6, 22), (7, 24), (8, 34), (20, 18), (39, 17)],
                           [(10, 84), (11, 110), (12, 144)], [(13, 176), (14, 210), (23, 136)],
                           [(0, 4), (1, 2), (24, 1), (25, 2), (26, 4), (27, 8), (28, 8), (30, 2)]]):
    columns = {0: 32, 1: 256, 2: 256, 3: 1}[i]
    tensors, start = [], 0
    for kind, size in kinds:
        tensors.append((f"t{kind}", [columns, 2], kind, start))
        start += -(-2 * size // 32) * 32
    seed("gguf", f"types_{i}", gguf_file({}, tensors, start))


def gguf_u32(value):
    return 4, struct.pack("<I", value)


def gguf_model(moe):
    """A model in one file with every tensor that is put together or split: 2 layers of 32, a tower of 1 block of 8."""
    arch = "qwen3vlmoe" if moe else "qwen3vl"
    keys = {"general.architecture": (8, gguf_string(arch))}
    for name, value in {"block_count": 2, "context_length": 64, "embedding_length": 32, "feed_forward_length": 32,
                        "attention.head_count": 2, "attention.head_count_kv": 1, "attention.key_length": 16,
                        "vision.block_count": 1, "vision.embedding_length": 8, "vision.attention.head_count": 1,
                        "vision.patch_size": 2, "vision.spatial_merge_size": 1, "vision.num_channels": 1,
                        "vision.temporal_patch_size": 2, "vision.shortest_edge": 64}.items():
        keys[f"{arch}.{name}"] = gguf_u32(value)
    if moe:
        keys["qwen3vlmoe.expert_count"], keys["qwen3vlmoe.expert_used_count"] = gguf_u32(2), gguf_u32(1)
    keys[arch + ".rope.mrope_section"] = (9, struct.pack("<IQ3i", 5, 3, 4, 2, 2))
    keys[arch + ".vision.deepstack_visual_indexes"] = (9, struct.pack("<IQi", 5, 1, 0))
    keys[arch + ".vision.image_mean"] = (9, struct.pack("<IQ3f", 6, 3, 0.5, 0.5, 0.5))
    keys[arch + ".vision.image_std"] = (9, struct.pack("<IQ3f", 6, 3, 0.5, 0.5, 0.5))
    tokens = ["a", "b", "ab", "<|endoftext|>", "<|image_pad|>", "[PAD0]"]
    keys["tokenizer.ggml.model"], keys["tokenizer.ggml.pre"] = (8, gguf_string("gpt2")), (8, gguf_string("qwen2"))
    keys["tokenizer.ggml.tokens"] = (9, struct.pack("<IQ", 8, 6) + b"".join(map(gguf_string, tokens)))
    keys["tokenizer.ggml.token_type"] = (9, struct.pack("<IQ6i", 5, 6, 1, 1, 1, 3, 3, 4))
    keys["tokenizer.ggml.merges"] = (9, struct.pack("<IQ", 8, 1) + gguf_string("a b"))
    keys["tokenizer.ggml.eos_token_id"] = gguf_u32(3)
    keys["tokenizer.chat_template"] = (8, gguf_string("{{ messages }}"))
    shapes = {"token_embd.weight": [32, 6], "blk.0.attn_norm.weight": [32], "v.patch_embed.weight": [2, 2, 2, 8],
              "v.pos_embed.weight": [8, 4], "v.merger.linear_fc2.weight": [8, 32], "v.deepstack_merger.0.norm.weight": [8]}
    shapes |= {f"v.blk.0.attn_{part}.{ending}": [8, 8][:2 if ending == "weight" else 1]
               for part in "qkv" for ending in ("weight", "bias")}
    if moe:
        shapes |= {f"blk.0.ffn_{part}_exps.weight": [32, 32, 2] for part in ("gate", "up", "down")}
    else:
        shapes["blk.1.attn_qkv.weight"] = [32, 64]
    tensors, start = [], 0
    for name, shape in shapes.items():
        count, quantised = 1, shape[0] == 32 and len(shape) > 1
        for extent in shape:
            count *= extent
        tensors.append((name, shape, 2 if quantised else 1, start))  # Q4_0, F16
        start += -(-(count // 32 * 18 if quantised else 2 * count) // 32) * 32
    return gguf_file(keys, tensors, start)


seed("gguf_model", "dense", gguf_model(False))
seed("gguf_model", "experts", gguf_model(True))

# ---- quantised weights: the golden tensors' names, types and shapes
configs = json.loads((golden / "quantized" / "configs.json").read_text())
for name in ("fp8", "fp8_experts_hub", "fp8_experts_split", "ct_int4_zeros", "ct_int3", "ct_int4_g_idx", "ct_w8a8_zeros",
             "ct_fp8_blocks", "ct_nvfp4", "ct_mxfp4", "ct_mixed", "modelopt", "gptq_4_zeros", "gptq_4_order", "gptq_dynamic",
             "awq", "bnb_nf4", "bnb_fp4_nested", "bnb_int8"):
    data = (golden / "quantized" / f"{name}.safetensors").read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for key, entry in json.loads(data[8:8 + size]).items():
        if key.startswith(("out.", "__metadata__")):
            continue
        tensors[key] = [entry["dtype"], entry["shape"]]
        stored = data[8 + size + entry["data_offsets"][0]:8 + size + entry["data_offsets"][1]]
        if "quant_state" in key:
            tensors[key].append(stored.decode())
        elif key.endswith("g_idx"):
            tensors[key].append(0)
        elif key.endswith("weight_format"):
            tensors[key].append(0)
        elif key.endswith("weight_shape"):
            tensors[key].append("".join(map(chr, stored)))
    seed("quantization", name, dump({**configs[name], "tensors": tensors}))
# ---- adapters, of the base that files.cpp writes
def adapter(name, config, tensors):
    text = dump({"peft_type": "LORA", **config})
    text += " " * (-len(text) % 100)
    header, offset = {}, 0
    for tensor, shape in tensors.items():
        count = 1
        for extent in shape:
            count *= extent
        header["base_model.model." + tensor] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + 4 * count]}
        offset += 4 * count
    seed("adapter", name, bytes([len(text) // 100, offset // 4]) + (text + dump(header)).encode())


q = "model.language_model.layers.0.self_attn.q_proj."
experts = "model.language_model.layers.0.mlp.experts."
embedding = "model.language_model.embed_tokens."
adapter("lora", {"r": 1, "target_modules": ["q_proj"], "rank_pattern": {".*layers\\.[0-9]+.*q_proj": 2}, "use_rslora": True},
        {q + "lora_A.weight": [2, 2], q + "lora_B.weight": [3, 2]})
adapter("dora", {"r": 1, "target_modules": "^(?!.*visual).*(q|v)_proj|.*patch_embed.proj", "use_dora": True},
        {q + "lora_A.default.weight": [1, 2], q + "lora_B.default.weight": [3, 1], q + "lora_magnitude_vector": [3]})
adapter("experts", {"r": 1, "target_modules": [], "target_parameters": ["experts.gate_up_proj", "experts.down_proj"]},
        {experts + "base_layer.lora_A.weight": [2, 2], experts + "base_layer.lora_B.weight": [4, 2],
         experts + "lora_A.weight": [2, 2], experts + "lora_B.weight": [2, 2]})
adapter("embedding", {"r": 1, "target_modules": ["embed_tokens"], "layers_to_transform": None, "use_dora": True},
        {embedding + "lora_embedding_A": [1, 5], embedding + "lora_embedding_B": [2, 1],
         embedding + "lora_magnitude_vector": [2], embedding + "base_layer.weight": [5, 2]})
adapter("tokens", {"r": 1, "target_modules": ["patch_embed.proj"], "trainable_token_indices": {"embed_tokens": [4, 1]},
                   "lora_bias": True, "modules_to_save": ["lm_head"]},
        {embedding + "token_adapter.trainable_tokens_delta": [2, 2], "lm_head.weight": [5, 2],
         "model.visual.patch_embed.proj.lora_A.weight": [1, 1, 2, 1, 1],
         "model.visual.patch_embed.proj.lora_B.weight": [3, 1, 1, 1, 1],
         "model.visual.patch_embed.proj.lora_B.bias": [3]})

# ---- configs
for model in ("dense_small", "moe_small", "moe_step"):
    config = json.loads((golden / "models" / model / "config.json").read_text())
    seed("config", model, dump(config))
    for kind in ("yarn", "dynamic", "llama3", "longrope"):
        if model != "dense_small":
            break
        config["text_config"]["rope_scaling"] = {
            "rope_type": kind, "factor": 4.0, "original_max_position_embeddings": 64, "mrope_section": [6, 5, 5],
            "low_freq_factor": 1.0, "high_freq_factor": 4.0, "short_factor": [1.0] * 16, "long_factor": [2.0] * 16}
        seed("config", f"{model}_{kind}", dump(config))
seed("generation_config", "tiny", (assets / "generation_config.json").read_bytes())
seed("generation_config", "all", dump({
    "max_new_tokens": 5, "max_length": 9, "min_new_tokens": 1, "min_length": 0, "do_sample": True, "temperature": 0.7,
    "top_k": 20, "top_p": 0.8, "min_p": 0.1, "repetition_penalty": 1.05, "no_repeat_ngram_size": 2,
    "presence_penalty": 1.5, "frequency_penalty": -0.5, "num_beams": 2, "length_penalty": 0.5,
    "early_stopping": "never", "num_return_sequences": 2, "prompt_lookup_num_tokens": None,
    "max_matching_ngram_size": 3, "eos_token_id": [3, 4], "pad_token_id": 0, "bos_token_id": None}))
seed("preprocessor_config", "tiny", (assets / "preprocessor_config.json").read_bytes())
seed("preprocessor_config", "video", (assets / "video_preprocessor_config.json").read_bytes())
seed("preprocessor_config", "small", dump({
    "size": {"shortest_edge": 16, "longest_edge": 4096}, "patch_size": 4, "temporal_patch_size": 2, "merge_size": 2,
    "resample": 1, "do_rescale": True, "rescale_factor": 0.01, "image_mean": [0.5], "image_std": [0.25],
    "do_convert_rgb": False, "fps": 4, "min_frames": 1, "max_frames": 3, "do_sample_frames": True}))
seed("preprocessor_config", "num_frames", dump({
    "min_pixels": 16, "max_pixels": 999, "patch_size": 3, "temporal_patch_size": 3, "merge_size": 1, "do_resize": False,
    "do_normalize": False, "fps": None, "num_frames": 2, "cap_pixels_per_frame": True}))
seed("preprocessor_config", "forms", dump({
    "size": {"min_pixels": 16, "max_pixels": 999}, "min_pixels": 64, "max_pixels": 32.0, "patch_size": 4, "do_pad": None,
    "crop_size": [5, 6], "do_center_crop": True, "cap_pixels_per_frame": True, "max_video_tokens": 2}))

# ---- tokenizers: all 256 bytes and a few merges
visible = [c for c in range(256) if 33 <= c <= 126 or 161 <= c <= 172 or 174 <= c]
characters = {c: chr(c) for c in visible}
characters |= {c: chr(256 + i) for i, c in enumerate(sorted(set(range(256)) - set(visible)))}
vocabulary = {characters[c]: c for c in range(256)}
merges = [["H", "e"], ["l", "l"], ["He", "ll"], ["Hell", "o"], ["\u0120", "w"]]
for left, right in merges:
    vocabulary[left + right] = len(vocabulary)
tiny = json.loads((assets / "tokenizer.json").read_text())
small = {"version": "1.0", "truncation": None, "padding": None,
         "added_tokens": [{"id": 300, "content": "<|im_start|>", "single_word": False, "lstrip": False, "rstrip": False,
                           "normalized": False, "special": True},
                          {"id": 301, "content": "w\u00f6r", "single_word": False, "lstrip": True, "rstrip": True,
                           "normalized": True, "special": False}],
         "normalizer": {"type": "NFC"}, "pre_tokenizer": tiny["pre_tokenizer"],
         "post_processor": tiny["post_processor"], "decoder": tiny["decoder"],
         "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                   "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                   "vocab": vocabulary, "merges": merges}}
seed("tokenizer_json", "small", dump(small))
small["model"]["merges"] = [" ".join(merge) for merge in merges]
small["normalizer"] = None
small["model"]["ignore_merges"] = True
small["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
seed("tokenizer_json", "older", dump(small))
seed("tokenizer_config", "small", dump({
    "add_prefix_space": False, "bos_token": None, "eos_token": "<|im_end|>", "padding_side": "left",
    "pad_token": {"content": "<|endoftext|>", "lstrip": False}, "tokenizer_class": "Qwen2Tokenizer",
    "added_tokens_decoder": {"900": {"content": "<x>", "lstrip": True, "rstrip": True, "single_word": True,
                                     "normalized": False, "special": True}},
    "chat_template": "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"}))

# ---- text
for i, text in enumerate([
        "Hello, world! It's 12:34, don't\n\n  wait...  ", "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>",
        "e\u0301 \u1112\u1161\u11ab \u0958 \u212b \ufb03 \U0001f468\u200d\U0001f469", "\t\u00a0x\u3000\r\n\r y",
        "a\u0327\u0301\u0323 \u05d0\u05bc \u0e01\u0e33", "</think><tool_call>{}</tool_call><think>"]):
    seed("bpe_round_trip", f"{i}", text)
seed("bpe_round_trip", "broken", b"\xff\xc3 a\xe2\x82 \xf0\x9f\x98 \xed\xa0\x80")
seed("bpe_decode", "bytes", bytes([0]) + b"".join(struct.pack("<H", i) for i in range(120, 240)))
seed("bpe_decode", "special", bytes([1]) + b"".join(struct.pack("<H", i) for i in range(500, 620)))

conversation = [
    {"role": "system", "content": [{"type": "text", "text": "Be short."}]},
    {"role": "user", "content": [{"type": "image", "image": "a.png"}, {"type": "image_url", "image_url": {"url": "b.jpg"}},
                                 {"type": "video", "video": ["a.png", "a.png"], "sample_fps": 2},
                                 {"type": "text", "text": "What?"}]},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nThis.", "reasoning_content": "hm",
     "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"x": [1, 2.5, None]}}},
                    {"name": "g", "arguments": "{}"}]},
    {"role": "tool", "content": "42"}, {"role": "user", "content": "And now?"}]
for flags in (0, 4, 5, 8, 21, 38):
    seed("chat", f"flags_{flags}", bytes([flags]) + dump(conversation).encode())
seed("chat", "continued", bytes([9]) + dump({"messages": conversation[:3]}).encode())
seed("chat", "tools", bytes([68]) + dump([{"type": "function", "function": {
    "name": "f", "description": "\u00e9", "parameters": {"type": "object", "properties": {"x": {"type": "number"}}}}},
    {"name": "g"}]).encode())
messages = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "video_url", "video_url": {"url": "a.gif"}},
                                         {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]}]
for name, flags, request in [
        ("openai", 1, {"model": "x", "messages": messages, "max_tokens": 3, "temperature": 0, "seed": 7, "stop": ["a", "b"],
                       "logit_bias": {"12": -100}, "tools": [{"type": "function", "function": {"name": "f"}}],
                       "tool_choice": "auto", "response_format": {"type": "text"}, "chat_template_kwargs": {"x": 1}}),
        ("batch_line", 3, {"custom_id": "1", "method": "POST", "url": "/v1", "body": {"messages": messages, "user": "u"}}),
        ("sharegpt", 0, {"system": "s", "tools": "[{\"name\": \"f\"}]", "images": ["a.png", {"bytes": "aGk="}],
                         "conversations": [{"from": "human", "value": "<image>a<image>"}, {"from": "gpt", "value": "b"}]}),
        ("swift", 2, {"messages": [{"role": "user", "content": "<video><image>q"}, {"role": "assistant", "content": "b"}],
                      "videos": [["1.png", "2.png"]], "images": [{"path": "b.png"}], "x": 1}),
        ("calls", 0, {"conversations": [{"from": "human", "value": "a"}, {"from": "observation", "value": "1"},
                                        {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {}}"}]}),
        ("embed", 0, {"text": ["a", "b"], "image": "a.png", "video": [["1.png", "2.png"], "a.mp4"], "instruction": "i",
                      "fps": 2.5, "max_frames": 8, "id": 1}),
        ("rerank", 0, {"query": {"text": "a"}, "documents": ["b", {"image": ["a.png"]}, {}], "instruction": "i"})]:
    seed("request", name, bytes([flags]) + dump(request).encode())
seed("chat_template", "tiny", (assets / "chat_template.jinja").read_bytes())
seed("chat_template", "switch", "{# c #}{%- if add_generation_prompt -%}<|im_start|>assistant\n"
     "{%- if enable_thinking is defined and enable_thinking -%}<think>\n{%- endif %}{%- endif %}"
     "{{ '<|vision_start|><|image_pad|><|vision_end|>' }}{% raw %}{{ x }}{% endraw %}")
for name in ("tools_macro", "namespace_counts", "thinking_split"):
    seed("chat_template", name, (golden / "chat_templates" / f"{name}.jinja").read_bytes())
by_group = {}
for row in json.loads((golden / "jinja/snippets.json").read_text())["rows"]:
    by_group.setdefault("".join(c if c.isalpha() else "_" for c in row["group"]).strip("_"), []).append(row["source"])
for name, sources in by_group.items():
    seed("chat_template", name, "\n".join(sources[::5])[:3000])
seed("answer", "thought", b"\x01Let me see.\n</think>\n\nYes <b>.")
seed("answer", "calls", b"\x0cI ask.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>\n"
     b"<tool_call>\n{\"name\": \"g\", \"arguments\": {},}\n</tool_call> <tool_call>{\"name\"")
seed("answer", "think", b"\x04<think>\na\n</think>\nb</think>c")
size = struct.pack("<HH", 480, 640)
for i, text in enumerate([
        '```json\n[\n\t{"bbox_2d": [10, 20, 300, 400], "label": "cat", "sub_label": "x"},\n\t{"point_2d": [5, 1001]}\n]\n```',
        "[12, 34, 56, 78]", "{'bbox_2d': [900, 10, 20, -5.5e2], 'text_content': 'it\\'s'", '{"box": "[1, 2, 3, 4]", "name": 3}',
        'Here: {"points": [[1,2],[3,4]], "label": "a\\u00e9\\ud83d\\ude00"} and {"bbox": [1,2,3']):
    seed("grounding", f"{i}", size + text.encode())
question = {"type": "text", "text": "?"}
lines = [[{"role": "user", "content": [{"type": "image", "image": "a.png"}, question]}],
         [{"role": "user", "content": [{"type": "video", "video": "clip", "fps": 1}, question]}],
         [{"role": "user", "content": [{"type": "video", "video": "c.gif", "num_frames": 2}, question]}],
         {"messages": [{"role": "user", "content": [{"type": "image", "image": "file://b.jpg"}]}]},
         [{"role": "user", "content": [{"type": "image", "image": "a.png", "min_pixels": 5000, "max_pixels": 9e3},
                                       {"type": "video", "video": ["a.png", "a.png", "a.png"], "raw_fps": 3, "sample_fps": 1,
                                        "total_pixels": 20000, "resized_height": 40, "resized_width": 70}]}],
         [{"role": "user", "content": [{"type": "video", "video": "clip", "nframes": 2, "min_pixels": 1024},
                                       {"type": "video", "video": "c.gif", "fps": 1, "min_frames": 2, "max_frames": 5.5,
                                        "video_start": 0.1, "video_end": 9, "max_pixels": 40000}]}]]
for i, line in enumerate(lines):
    seed("batch", f"{i}", dump(line))
seed("batch", "bad_lines", "\n".join(["", "{", "[]", '[{"role": "user", "content": [{"type": "image", "image": "no.png"}]}]',
                                      '[{"role": "user", "content": "a<|image_pad|>"}]', dump(lines[0]), "\r"]))

# ---- images
ramp = Image.new("RGB", (20, 12))
ramp.putdata([(x * 12, y * 20, (x * y) % 256) for y in range(12) for x in range(20)])


def encoded(image, kind, **options):
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


exif = Image.Exif()
exif[0x0112] = 6
pictures = {"rgb.png": encoded(ramp, "PNG"), "rgba.png": encoded(ramp.convert("RGBA"), "PNG"),
            "gray.png": encoded(ramp.convert("L"), "PNG"), "gray_alpha.png": encoded(ramp.convert("LA"), "PNG"),
            "palette.png": encoded(ramp.quantize(16), "PNG", transparency=3),
            "one_bit.png": encoded(ramp.convert("1"), "PNG"), "sixteen.png": encoded(ramp.convert("L").convert("I;16"), "PNG"),
            "upside.png": encoded(ramp, "PNG", exif=exif), "one_pixel.png": encoded(ramp.resize((1, 1)), "PNG"),
            "small.jpg": encoded(ramp, "JPEG", quality=60), "progressive.jpg": encoded(ramp, "JPEG", progressive=True),
            "gray.jpg": encoded(ramp.convert("L"), "JPEG"), "cmyk.jpg": encoded(ramp.convert("CMYK"), "JPEG"),
            "turned.jpg": encoded(ramp, "JPEG", exif=exif, subsampling=1),
            "restarts.jpg": encoded(ramp, "JPEG", subsampling=2, restart_marker_blocks=1)}


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# Pillow writes no interlaced files. Adam7 passes of a 5 x 5 gray image, filter 0.
passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
rows = b"".join(b"\0" + bytes(x * 50 + y for x in range(x0, 5, dx)) for x0, y0, dx, dy in passes if x0 < 5
                for y in range(y0, 5, dy))
pictures["interlaced.png"] = (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 5, 8, 0, 0, 0, 1)) +
                              chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
for name, data in pictures.items():
    seed("image", name, data)
seed("base64", "data_url", "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAAAElFTkSuQmCC")
seed("base64", "escaped", "data:image/png;charset=x;base64,%2B%2f+/aG\r\nkh aGk%3D")
seed("base64", "image", "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAAAElFTkSuQmCCiVBORw0KGgoAAAANSUhEUg==")
seed("base64", "for_urls", "-_-_AAECAwQFBgcICQ")
seed("exif", "xmp", '<x tiff:Orientation="a"><tiff:Orientation>6</tiff:Orientation>')
seed("exif", "turned.jpg", pictures["turned.jpg"][:200])
seed("exif", "upside.png", pictures["upside.png"][:200])
seed("exif", "little_endian", b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x08\0\0\0\0\0\0\0")
seed("exif", "big_endian", b"MM\0*\0\0\0\x08\0\x02\x01\x0f\0\x02\0\0\0\0\0\0\0\0\x01\x12\0\x03\0\0\0\x01\0\x05\0\0")
settings = b'{"fps": 4}'
for first, second in (("rgb.png", "rgb.png"), ("gray.png", "small.jpg")):
    seed("frame_folder", first.split(".")[0], bytes([len(settings)]) + settings +
         struct.pack("<H", len(pictures[first])) + pictures[first] + pictures[second])

#!/usr/bin/env python3
"""Golden data of quantised checkpoints, made and read with the formats' own tools: compressed-tensors 0.20, bitsandbytes 0.50,
torch 2.15 (float8), transformers 5.24 with accelerate, on a CPU. GPTQ, AWQ and ModelOpt files are packed here, as AutoGPTQ 0.7.1
(nn_modules/qlinear/qlinear_cuda.py: pack), AutoAWQ (awq/modules/linear/gemm.py: from_linear, order_map) and NVIDIA's ModelOpt
(torch/quantization/qtensor/nvfp4_tensor.py) do; AWQ is read back with compressed-tensors' AutoAWQConverter.

  make_quantised.py           writes quantized/ beside itself: tensors as stored, `out.NAME` as the tool widens them to float32
  make_quantised.py models    writes models/<name> and cases/generation/<name>_image: whole checkpoints
"""
import json
import pathlib
import sys

import torch
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).resolve().parent
FOLDER = HERE / "quantized"
E4M3 = torch.float8_e4m3fn
generator = torch.Generator().manual_seed(20)
configs = {}


def weight(rows, columns):
    w = torch.randn(rows, columns, generator=generator) * 0.05
    w[::3] += 0.03  # so that zero points differ
    return w


def save(name, quantization, stored, out, **more):
    configs[name] = {"quantization_config": quantization, **more}
    tensors = {key: value.detach().contiguous().clone() for key, value in stored.items()}
    for key, value in out.items():
        assert value.dtype == torch.float32, (name, key, value.dtype)
        tensors["out." + key] = value.detach().contiguous().clone()
    save_file(tensors, FOLDER / f"{name}.safetensors")


# FP8 as transformers has it


def fp8_blocks(w, rows, columns):
    """Numbers and weight_scale_inv; the last blocks may be smaller."""
    n, k = w.shape[-2:]
    scale = torch.empty(*w.shape[:-2], -(-n // rows), -(-k // columns))
    q = torch.empty(w.shape, dtype=E4M3)
    for i in range(scale.shape[-2]):
        for j in range(scale.shape[-1]):
            block = (..., slice(i * rows, (i + 1) * rows), slice(j * columns, (j + 1) * columns))
            scale[..., i, j] = w[block].abs().amax((-2, -1)) / 448
            q[block] = (w[block] / scale[..., i, j, None, None]).to(E4M3)
    return q, scale


def widen_fp8(q, scale, rows, columns):
    from transformers.integrations.finegrained_fp8 import _dequantize_fp8_weight

    return _dequantize_fp8_weight(q, scale, [rows, columns], torch.float32)


def fp8():
    stored, out = {}, {}
    for name, shape in (("a", (160, 144)), ("b", (32, 136))):
        q, scale = fp8_blocks(weight(*shape), 128, 128)
        stored[f"{name}.weight"], stored[f"{name}.weight_scale_inv"] = q, scale
        out[f"{name}.weight"] = widen_fp8(q, scale, 128, 128)
    stored["a.activation_scale"] = torch.tensor(0.5)
    stored["plain.weight"] = weight(4, 8).bfloat16()
    config = {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
        "modules_to_not_convert": ["lm_head", "visual"],
    }
    save("fp8", config, stored, out)
    q, scale = fp8_blocks(weight(24, 40), 24, 40)
    stored = {"a.weight": q, "a.weight_scale_inv": scale[0, 0]}
    save("fp8_tensor", dict(config, weight_block_size=None), stored, {"a.weight": widen_fp8(q, scale, 24, 40)})

    # Experts in three forms.
    config = dict(config, weight_block_size=[16, 32])
    gate_up, down = torch.stack([weight(48, 40) for _ in range(3)]), torch.stack([weight(40, 24) for _ in range(3)])
    (gq, gs), (dq, ds) = fp8_blocks(gate_up, 16, 32), fp8_blocks(down, 16, 32)
    base = "model.language_model.layers.0.mlp.experts."
    out = {base + "gate_up_proj": widen_fp8(gq, gs, 16, 32), base + "down_proj": widen_fp8(dq, ds, 16, 32)}
    stored = {base + "gate_up_proj": gq, base + "gate_up_proj_scale_inv": gs}
    stored |= {base + "down_proj": dq, base + "down_proj_scale_inv": ds}
    save("fp8_experts", config, stored, out)
    gq, gs = fp8_blocks(gate_up.transpose(1, 2).contiguous(), 16, 32)
    dq, ds = fp8_blocks(down.transpose(1, 2).contiguous(), 16, 32)
    stored = {base + "gate_up_proj": gq, base + "gate_up_proj_scale_inv": gs}
    stored |= {base + "down_proj": dq, base + "down_proj_scale_inv": ds}
    out = {
        base + "gate_up_proj": widen_fp8(gq, gs, 16, 32).transpose(1, 2),
        base + "down_proj": widen_fp8(dq, ds, 16, 32).transpose(1, 2),
    }
    save("fp8_experts_hub", config, stored, out)
    stored, parts = {}, {}
    for e in range(3):
        for name, w in (("gate_proj", gate_up[e, :24]), ("up_proj", gate_up[e, 24:]), ("down_proj", down[e])):
            q, scale = fp8_blocks(w, 16, 32)
            stored[f"{base}{e}.{name}.weight"], stored[f"{base}{e}.{name}.weight_scale_inv"] = q, scale
            parts[e, name] = widen_fp8(q, scale, 16, 32)
    stored[base + "1.up_proj.weight"] = weight(24, 40).bfloat16()  # one that is not quantised
    del stored[base + "1.up_proj.weight_scale_inv"]
    parts[1, "up_proj"] = stored[base + "1.up_proj.weight"].float()
    out = {
        base + "gate_up_proj": torch.stack([torch.cat([parts[e, "gate_proj"], parts[e, "up_proj"]]) for e in range(3)]),
        base + "down_proj": torch.stack([parts[e, "down_proj"] for e in range(3)]),
    }
    save("fp8_experts_split", config, stored, out)


# compressed-tensors


def scheme_of(**arguments):
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    return QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**arguments))


def min_max(w, scheme):
    """Scales and zero points by compressed-tensors' own rule."""
    from compressed_tensors.quantization.utils import calculate_qparams

    args = scheme.weights
    n, k = w.shape
    if args.strategy == "tensor":
        parts, shape = w.reshape(1, -1), (1,)
    elif args.strategy == "channel":
        parts, shape = w, (n, 1)
    elif args.strategy == "block":
        r, c = args.block_structure
        padded = torch.zeros(-(-n // r) * r, -(-k // c) * c)
        padded[:n, :k] = w
        parts = padded.reshape(padded.shape[0] // r, r, -1, c).transpose(1, 2).reshape(-1, r * c)
        shape = (padded.shape[0] // r, padded.shape[1] // c)
    else:
        parts, shape = w.reshape(-1, args.group_size), (n, k // args.group_size)
    scale, zero = calculate_qparams(parts.amin(1), parts.amax(1), args)
    return scale.reshape(shape), zero.reshape(shape)


def compress(format, w, scheme, scale_dtype=torch.float32, g_idx=None):
    """Stored tensors and the widened weight. With g_idx, column k is of group g_idx[k]: as releases up to 0.18 had it, columns
    were rounded in the order of their groups."""
    from compressed_tensors.compressors import BaseCompressor

    compressor = BaseCompressor.get_value_from_registry(format)
    order = torch.arange(w.shape[1]) if g_idx is None else torch.argsort(g_idx, stable=True)
    scale, zero = min_max(w[:, order], scheme)
    scale = scale.to(scale_dtype)
    # In the order of groups for the tool, then back.
    state = {"weight": w[:, order], "weight_scale": scale.float()}
    if not scheme.weights.symmetric:
        state["weight_zero_point"] = zero
    stored = compressor.compress(state, scheme)
    out = compressor.decompress(dict(stored), scheme)["weight"]
    back = torch.argsort(order)
    if g_idx is not None:
        from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32, unpack_from_int32

        bits = scheme.weights.num_bits
        q = unpack_from_int32(stored["weight_packed"], bits, w.shape)
        stored["weight_packed"] = pack_to_int32(q[:, back].contiguous(), bits)
        stored["weight_g_idx"] = g_idx.to(torch.int32)
    stored["weight_scale"] = scale if stored["weight_scale"].dtype == torch.float32 else stored["weight_scale"]
    return stored, out[:, back].float()


def ct_config(format, groups, **more):
    def as_json(scheme):
        return json.loads(scheme.model_dump_json())

    return {
        "quant_method": "compressed-tensors",
        "format": format,
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "kv_cache_scheme": None,
        "global_compression_ratio": None,
        "sparsity_config": {},
        "transform_config": {},
        "version": "0.20.1",
        "config_groups": {f"group_{i}": as_json(scheme) for i, scheme in enumerate(groups)},
        **more,
    }


def named(prefix, stored):
    return {f"{prefix}.{key}": value for key, value in stored.items()}


def compressed_tensors():
    bf16 = torch.bfloat16
    cases = {
        "ct_int4": ("pack-quantized", (24, 96), bf16, dict(num_bits=4, strategy="group", group_size=32)),
        "ct_int4_zeros": (
            "pack-quantized", (20, 64), bf16, dict(num_bits=4, strategy="group", group_size=32, symmetric=False)),
        "ct_int4_rows": ("pack-quantized", (24, 40), bf16, dict(num_bits=4, strategy="channel", symmetric=False)),
        "ct_int3": ("pack-quantized", (24, 48), bf16, dict(num_bits=3, strategy="group", group_size=16)),
        "ct_int5_zeros": (
            "pack-quantized", (20, 41), torch.float16, dict(num_bits=5, strategy="channel", symmetric=False)),
        "ct_int8": ("pack-quantized", (24, 64), torch.float32, dict(num_bits=8, strategy="group", group_size=32)),
        "ct_w8a8": ("int-quantized", (24, 40), bf16, dict(num_bits=8, strategy="channel")),
        "ct_w8a8_zeros": ("int-quantized", (24, 40), bf16, dict(num_bits=8, strategy="channel", symmetric=False)),
        "ct_w8_tensor": ("naive-quantized", (24, 40), bf16, dict(num_bits=8, strategy="tensor")),
        "ct_fp8_tensor": ("float-quantized", (24, 40), torch.float32, dict(num_bits=8, type="float", strategy="tensor")),
        "ct_fp8_rows": ("float-quantized", (24, 40), bf16, dict(num_bits=8, type="float", strategy="channel")),
        "ct_fp8_blocks": (
            "float-quantized", (40, 72), torch.float32,
            dict(num_bits=8, type="float", strategy="block", block_structure=[16, 32])),
    }  # fmt: skip
    for name, (format, shape, scale_dtype, arguments) in cases.items():
        scheme = scheme_of(**arguments)
        stored, out = compress(format, weight(*shape), scheme, scale_dtype)
        save(name, ct_config(format, [scheme]), named("a", stored), {"a.weight": out})

    # Columns of any group.
    scheme = scheme_of(num_bits=4, strategy="group", group_size=32, symmetric=False)
    g_idx = torch.randperm(96, generator=generator) % 3
    stored, out = compress("pack-quantized", weight(24, 96), scheme, bf16, g_idx)
    config = ct_config("pack-quantized", [scheme])
    config["config_groups"]["group_0"]["weights"]["actorder"] = "group"
    save("ct_int4_g_idx", config, named("a", stored), {"a.weight": out})

    # FP4
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
    from compressed_tensors.quantization.lifecycle.forward import dequantize

    scheme = scheme_of(num_bits=4, type="float", strategy="tensor_group", group_size=16, scale_dtype=E4M3)
    w = weight(24, 64)
    global_scale = (448 * 6 / w.abs().max()).reshape(1)
    scale = (w.reshape(24, 4, 16).abs().amax(-1) / 6 * global_scale).to(E4M3).float()
    compressor = BaseCompressor.get_value_from_registry("nvfp4-pack-quantized")
    stored = compressor.compress({"weight": w, "weight_scale": scale, "weight_global_scale": global_scale}, scheme)
    q = unpack_fp4_from_uint8(stored["weight_packed"], 24, 64, torch.float32)
    out = dequantize(q, stored["weight_scale"].float(), args=scheme.weights, dtype=torch.float32, global_scale=global_scale)
    stored["input_global_scale"] = torch.tensor([3.0])
    save("ct_nvfp4", ct_config("nvfp4-pack-quantized", [scheme]), named("a", stored), {"a.weight": out})
    # The same weight as ModelOpt has it.
    stored = {
        "weight": stored["weight_packed"],
        "weight_scale": stored["weight_scale"],
        "weight_scale_2": 1 / global_scale[0],
        "input_scale": torch.tensor(0.25),
    }
    scale = stored["weight_scale"].float() * stored["weight_scale_2"]
    modelopt = {"a.weight": (q.reshape(24, 4, 16) * scale[..., None]).reshape(24, 64)}
    f = weight(24, 40)
    fp8_scale = f.abs().max() / 448
    fp8_weight = (f / fp8_scale).to(E4M3)
    stored = named("a", stored) | {"b.weight": fp8_weight, "b.weight_scale": fp8_scale, "b.input_scale": torch.tensor(1.0)}
    stored["b.k_proj.k_scale"] = torch.tensor(1.0)
    modelopt["b.weight"] = fp8_weight.float() * fp8_scale
    config = {
        "quant_method": "modelopt",
        "quant_algo": "MIXED_PRECISION",
        "kv_cache_quant_algo": "FP8",
        "quantized_layers": {"a": {"quant_algo": "NVFP4", "group_size": 16}, "b": {"quant_algo": "FP8"}},
        "producer": {"name": "modelopt", "version": "0.40.0"},
    }
    save("modelopt", config, stored, modelopt)

    scheme = scheme_of(num_bits=4, type="float", strategy="group", group_size=32, scale_dtype=torch.uint8)
    w = weight(24, 64)
    scale = torch.exp2(torch.floor(torch.log2(w.reshape(24, 2, 32).abs().amax(-1))) - 2)
    compressor = BaseCompressor.get_value_from_registry("mxfp4-pack-quantized")
    stored = compressor.compress({"weight": w, "weight_scale": scale}, scheme)
    out = compressor.decompress(dict(stored), scheme)["weight"].float()  # exact in bfloat16
    save("ct_mxfp4", ct_config("mxfp4-pack-quantized", [scheme]), named("a", stored), {"a.weight": out})
    scheme = scheme_of(num_bits=8, type="float", strategy="group", group_size=32, scale_dtype=torch.uint8)
    scale = torch.exp2(torch.floor(torch.log2(w.reshape(24, 2, 32).abs().amax(-1))) - 8)
    compressor = BaseCompressor.get_value_from_registry("mxfp8-quantized")
    stored = compressor.compress({"weight": w, "weight_scale": scale}, scheme)
    out = compressor.decompress(dict(stored), scheme)["weight"].float()
    save("ct_mxfp8", ct_config("mxfp8-quantized", [scheme]), named("a", stored), {"a.weight": out})

    # Two schemes, by pattern and by name, and experts one by one.
    four = scheme_of(num_bits=4, strategy="group", group_size=32)
    eight = scheme_of(num_bits=8, strategy="channel")
    four.targets = [r"re:.*layers\.0\.mlp\.experts\.\d+\.(gate|up|down)_proj$"]
    eight.targets = [r"re:.*self_attn\.[qkvo]_proj$", "model.language_model.layers.0.mlp.gate"]
    base, stored, out, parts = "model.language_model.layers.0.", {}, {}, {}
    for e in range(2):
        for name, shape in (("gate_proj", (16, 64)), ("up_proj", (16, 64)), ("down_proj", (64, 32))):
            shape = (32, 64) if name != "down_proj" else shape
            own, parts[e, name] = compress("pack-quantized", weight(*shape), four, bf16)
            stored |= named(f"{base}mlp.experts.{e}.{name}", own)
    out[base + "mlp.experts.gate_up_proj"] = torch.stack(
        [torch.cat([parts[e, "gate_proj"], parts[e, "up_proj"]]) for e in range(2)])  # fmt: skip
    out[base + "mlp.experts.down_proj"] = torch.stack([parts[e, "down_proj"] for e in range(2)])
    for name in ("self_attn.q_proj", "mlp.gate"):
        own, out[f"{base}{name}.weight"] = compress("int-quantized", weight(24, 64), eight, bf16)
        stored |= named(base + name, own)
    four.format, eight.format = "pack-quantized", "int-quantized"
    save("ct_mixed", ct_config("mixed-precision", [four, eight]), stored, out)


# GPTQ and AWQ


def pack_words(q, bits, axis):
    """Integers densely in words of 32 bits along an axis."""
    q = q.movedim(axis, 0).to(torch.int64)
    words = torch.zeros((q.shape[0] * bits + 31) // 32 + 1, *q.shape[1:], dtype=torch.int64)
    for i in range(q.shape[0]):
        word, bit = divmod(i * bits, 32)
        both = q[i] << bit
        words[word] |= both & 0xFFFFFFFF
        words[word + 1] |= both >> 32
    words = words[:-1]
    words = torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)
    return words.movedim(0, axis).contiguous()


def round_groups(w, bits, group, sym, g_idx):
    """Integers [rows, columns], scales and zero points [groups, rows]."""
    top = (1 << bits) - 1
    groups = int(g_idx.max()) + 1
    q = torch.empty(w.shape, dtype=torch.int64)
    scales, zeros = torch.empty(groups, w.shape[0]), torch.empty(groups, w.shape[0], dtype=torch.int64)
    for g in range(groups):
        part = w[:, g_idx == g]
        low, high = part.amin(1).clamp(max=0), part.amax(1).clamp(min=0)
        if sym:
            scale = 2 * torch.maximum(-low, high) / top
            zero = torch.full_like(scale, (top + 1) // 2)
        else:
            scale = (high - low) / top
            zero = torch.round(-low / scale).clamp(1, top)  # 0 cannot be stored less one
        scale = scale.half().float()
        scales[g], zeros[g] = scale, zero.long()
        q[:, g_idx == g] = (torch.round(part / scale[:, None]) + zero[:, None]).clamp(0, top).long()
    return q, scales, zeros


def widen_groups(q, scales, zeros, g_idx):
    return ((q - zeros[g_idx].t()).float() * scales[g_idx].t()).float()


def gptq(w, bits, group, sym, g_idx, v2=False):
    q, scales, zeros = round_groups(w, bits, group, sym, g_idx)
    stored = {
        "qweight": pack_words(q.t(), bits, 0),
        "qzeros": pack_words(zeros - (0 if v2 else 1), bits, 1),
        "scales": scales.half(),
        "g_idx": g_idx.to(torch.int32),
    }
    return stored, widen_groups(q, scales, zeros, g_idx)


def gptq_and_awq():
    def config(**more):
        return {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": True, "damp_percent": 0.1,
                "true_sequential": True, "checkpoint_format": "gptq", **more}  # fmt: skip

    usual = torch.arange(96) // 32
    for name, bits, columns, group, more in (
        ("gptq_4", 4, 96, 32, {}),
        ("gptq_4_zeros", 4, 96, 32, {"sym": False}),
        ("gptq_4_v2", 4, 96, 32, {"sym": False, "checkpoint_format": "gptq_v2"}),
        ("gptq_4_rows", 4, 96, -1, {"group_size": -1}),
        ("gptq_4_order", 4, 96, 32, {"desc_act": True, "sym": False}),
        ("gptq_8", 8, 96, 32, {"bits": 8}),
        ("gptq_3", 3, 96, 32, {"bits": 3, "sym": False}),
        ("gptq_2", 2, 96, 48, {"bits": 2, "sym": False, "group_size": 48}),
    ):
        g_idx = torch.arange(columns) // (group if group > 0 else columns)
        if more.get("desc_act"):
            g_idx = g_idx[torch.randperm(columns, generator=generator)]
        own = config(**more)
        stored, out = gptq(weight(32, columns), bits, group, own["sym"], g_idx, own["checkpoint_format"] == "gptq_v2")
        if name == "gptq_4_v2":
            del stored["g_idx"]  # which may be missing
        save(name, own, named("a", stored), {"a.weight": out})
    # GPTQModel's other sizes for some modules.
    four, out = gptq(weight(32, 96), 4, 32, True, usual)
    eight, other = gptq(weight(32, 96), 8, 48, True, torch.arange(96) // 48)
    dynamic = {r"+:.*\.down_proj": {"bits": 8, "group_size": 48}, r"-:.*visual.*": {}}
    save(
        "gptq_dynamic",
        config(dynamic=dynamic, meta={"quantizer": ["gptqmodel:5.0.0"]}, pack_dtype="int32", lm_head=False),
        named("layers.0.up_proj", four) | named("layers.0.down_proj", eight),
        {"layers.0.up_proj.weight": out, "layers.0.down_proj.weight": other},
    )

    from compressed_tensors.entrypoints.convert.converters.autoawq import AutoAWQConverter

    order_map = [0, 2, 4, 6, 1, 3, 5, 7]  # place i of a word has column order_map[i]
    q, scales, zeros = round_groups(weight(40, 96), 4, 32, False, usual)
    place = [8 * j + i for j in range(5) for i in order_map]
    stored = {
        "qweight": pack_words(q.t()[:, place], 4, 1),
        "qzeros": pack_words(zeros[:, place], 4, 1),
        "scales": scales.half(),
    }
    iweight, izeros = AutoAWQConverter.unpack_awq(stored["qweight"], stored["qzeros"], 4)
    iweight, izeros = AutoAWQConverter.reverse_awq_order(iweight, izeros, 4)
    assert torch.equal((iweight & 15).t().long(), q) and torch.equal((izeros & 15).long(), zeros)
    awq = {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm", "zero_point": True,
           "modules_to_not_convert": ["visual"], "backend": "autoawq", "do_fuse": False, "exllama_config": None}  # fmt: skip
    save("awq", awq, named("a", stored), {"a.weight": widen_groups(q, scales, zeros, usual)})


# bitsandbytes


def bnb_widen(packed, state):
    """By bitsandbytes' portable code: that of its library for CPUs takes wrong scales where rows are no whole blocks."""
    import bitsandbytes.functional as F
    from bitsandbytes.backends.default.ops import _dequantize_4bit_compute

    absmax = state.absmax
    if state.nested:
        absmax = F.dequantize_blockwise(state.absmax, state.state2) + state.offset
    compute = getattr(_dequantize_4bit_compute, "__wrapped__", _dequantize_4bit_compute)
    return compute(packed.view(torch.uint8).reshape(-1), absmax, state.code, state.blocksize, state.shape, torch.float32)


def bnb_4bit(w, kind, nested, blocksize=64, storage=torch.uint8):
    import bitsandbytes.functional as F

    packed, state = F.quantize_4bit(w, None, None, blocksize, nested, kind, storage)
    stored = {"weight": packed} | {f"weight.{key}": value for key, value in state.as_dict(packed=True).items()}
    return stored, bnb_widen(packed, state)


def bitsandbytes():
    import bitsandbytes.functional as F

    def config(**more):
        return {"quant_method": "bitsandbytes", "_load_in_4bit": True, "_load_in_8bit": False, "load_in_4bit": True,
                "load_in_8bit": False, "bnb_4bit_compute_dtype": "bfloat16", "bnb_4bit_quant_storage": "uint8",
                "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": False, "llm_int8_threshold": 6.0,
                "llm_int8_enable_fp32_cpu_offload": False, "llm_int8_has_fp16_weight": False,
                "llm_int8_skip_modules": ["lm_head"], **more}  # fmt: skip

    for name, kind, nested, shape, storage in (
        ("bnb_nf4", "nf4", False, (24, 64), torch.uint8),
        ("bnb_nf4_nested", "nf4", True, (150, 116), torch.uint8),  # blocks of blocks, that no row begins
        ("bnb_fp4", "fp4", False, (24, 37), torch.uint8),
        ("bnb_fp4_nested", "fp4", True, (24, 64), torch.bfloat16),
    ):
        stored, out = bnb_4bit(weight(*shape), kind, nested, storage=storage)
        more = {"bnb_4bit_quant_type": kind, "bnb_4bit_use_double_quant": nested}
        save(name, config(**more), named("a", stored), {"a.weight": out})
    q, scb, _ = F.int8_vectorwise_quant(weight(24, 40).half())
    stored = {"weight": q, "SCB": scb, "weight_format": torch.tensor(0, dtype=torch.uint8)}
    more = {"load_in_4bit": False, "load_in_8bit": True, "_load_in_4bit": False, "_load_in_8bit": True}
    save("bnb_int8", config(**more), named("a", stored), {"a.weight": F.int8_vectorwise_dequant(q, scb)})


# Whole checkpoints


def read_model(name):
    folder = HERE / "models" / name
    return json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")


def linears(tensors):
    """Names of the modules that are Linear, but the head."""
    kinds = ("_proj.weight", "qkv.weight", "attn.proj.weight", "linear_fc1.weight", "linear_fc2.weight")
    return [name.removesuffix(".weight") for name in tensors if name.endswith(kinds)]


def write_model(name, source, config, tensors, dense):
    """The checkpoint; a greedy answer of transformers about an image with the weights `dense`, which it is compared with where
    transformers reads the checkpoint itself."""
    import transformers

    target = HERE / "models" / name
    target.mkdir(exist_ok=True)
    (target / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    for file in ("generation_config.json", "preprocessor_config.json", "video_preprocessor_config.json"):
        (target / file).write_text((HERE / "models" / source / file).read_text())
    tensors = {key: value.detach().contiguous().clone() for key, value in tensors.items()}
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})

    kind = "Qwen3VLMoe" if "moe" in config["model_type"] else "Qwen3VL"
    model_class = getattr(transformers, kind + "ForConditionalGeneration")
    model = model_class.from_pretrained(HERE / "models" / source, dtype=torch.float32).eval()
    own = model.state_dict()
    for key, value in dense.items():
        if key.endswith(("experts.gate_up_proj", "experts.down_proj")):
            value = value.transpose(1, 2)
        assert own[key].shape == value.shape, (key, own[key].shape, value.shape)
        own[key].copy_(value)
    text, vision = config["text_config"], config["vision_config"]
    ids = torch.randint(1, 250, (9,), generator=generator).tolist()
    merge, grid = vision["spatial_merge_size"], (1, 4, 4)
    image = [config["image_token_id"]] * (grid[1] * grid[2] // merge**2)
    ids = ids[:4] + [config["vision_start_token_id"]] + image + [config["vision_end_token_id"]] + ids[4:]
    columns = 3 * vision["temporal_patch_size"] * vision["patch_size"] ** 2
    inputs = {
        "input_ids": torch.tensor([ids]),
        "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
        "mm_token_type_ids": torch.tensor([[int(i == config["image_token_id"]) for i in ids]]),
        "pixel_values": torch.randint(-64, 65, (16, columns), generator=generator).float() / 64,
        "image_grid_thw": torch.tensor([grid]),
    }

    def answer(model):
        options = {"do_sample": False, "max_new_tokens": 8, "eos_token_id": None, "pad_token_id": 0}
        with torch.no_grad():
            output = model.generate(**inputs, **options, return_dict_in_generate=True, output_logits=True)
        return output.sequences, torch.stack(output.logits, 1)

    sequences, logits = answer(model)
    best = logits.topk(2).values
    margin = (best[..., 0] - best[..., 1]).min().item()
    try:
        read = model_class.from_pretrained(target, dtype=torch.float32).eval()
        for parameter in read.parameters():  # bitsandbytes leaves some as they are stored
            if parameter.dtype == torch.bfloat16:
                parameter.data = parameter.data.float()
        if config["quantization_config"]["quant_method"] == "bitsandbytes":
            read.dequantize()  # its products on a CPU are bfloat16's where the processor has them
        with torch.no_grad():
            read(**inputs)  # compressed-tensors decompresses in forward(), which generate() may be too late for
        own_sequences, own_logits = answer(read)
        print(name, "read by transformers: largest difference of logits", (own_logits - logits).abs().max().item(),
              "same tokens", torch.equal(own_sequences, sequences))  # fmt: skip
    except Exception as error:
        print(name, "is not read by transformers:", type(error).__name__, str(error)[:300])
    stored = {f"in.{key}": value for key, value in inputs.items()}
    for key in ("attention_mask", "mm_token_type_ids"):
        stored["in." + key] = stored["in." + key].to(torch.uint8)
    stored["in.pixel_values"] = stored["in.pixel_values"].half()  # exact
    case = HERE / "cases" / "generation" / f"{name}_image"
    save_file(stored | {"out.sequences": sequences, "out.logits": logits}, case.with_suffix(".safetensors"))
    about = {"group": "generation", "name": case.name, "tolerance": 1e-4, "model": name, "kind": "generate",
             "options": {"max_new_tokens": 8}, "smallest_margin": margin}  # fmt: skip
    case.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n")


def plain(tensors, quantised):
    """What is not quantised, in bfloat16, and what the model has then."""
    rest = {key: value.bfloat16() for key, value in tensors.items() if key not in quantised}
    return rest, {key: value.float() for key, value in rest.items()}


def models():
    # compressed-tensors: int4 groups in the text model, int8 rows in the tower.
    config, tensors = read_model("dense_small")
    text = scheme_of(num_bits=4, strategy="group", group_size=32)
    tower = scheme_of(num_bits=8, strategy="channel")
    text.targets, tower.targets = ["re:.*language_model.*_proj$"], [r"re:.*visual\..*(qkv|proj|linear_fc\d)$"]
    text.format, tower.format = "pack-quantized", "int-quantized"
    names = linears(tensors)
    stored, dense = plain(tensors, {name + ".weight" for name in names})
    for name in names:
        scheme = text if "language_model" in name else tower
        own, dense[name + ".weight"] = compress(scheme.format, tensors[name + ".weight"], scheme)
        stored |= named(name, own)
    config["quantization_config"] = ct_config("mixed-precision", [text, tower])
    write_model("dense_small_w4a16", "dense_small", config, stored, dense)

    # bitsandbytes, as save_pretrained writes it.
    config, tensors = read_model("dense_small")
    names = [name for name in names if "language_model" in name]
    stored, dense = plain(tensors, {name + ".weight" for name in names})
    for name in names:
        own, dense[name + ".weight"] = bnb_4bit(tensors[name + ".weight"], "nf4", True)
        stored |= named(name, own)
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
                                     "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": "float32",
                                     "llm_int8_skip_modules": ["lm_head", "model.visual"]}  # fmt: skip
    write_model("dense_small_nf4", "dense_small", config, stored, dense)

    # FP8, experts as the Hub has them.
    config, tensors = read_model("moe_small")
    experts = [name for name in tensors if ".experts." in name]
    names = [name for name in linears(tensors) if "visual" not in name]
    stored, dense = plain(tensors, {name + ".weight" for name in names} | set(experts))
    for name in [name + ".weight" for name in names] + experts:
        stored[name], stored[name + "_scale_inv"] = fp8_blocks(tensors[name], 8, 8)
        dense[name] = widen_fp8(stored[name], stored[name + "_scale_inv"], 8, 8)
    config["quantization_config"] = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [8, 8],
                                     "modules_to_not_convert": ["lm_head", "model.visual"]}  # fmt: skip
    write_model("moe_small_fp8", "moe_small", config, stored, dense)


def main():
    if sys.argv[1:] == ["models"]:
        return models()
    FOLDER.mkdir(exist_ok=True)
    fp8()
    compressed_tensors()
    gptq_and_awq()
    bitsandbytes()
    (FOLDER / "configs.json").write_text(json.dumps(configs, indent=1) + "\n")


if __name__ == "__main__":
    main()

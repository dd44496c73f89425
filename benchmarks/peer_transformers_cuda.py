"""Times transformers on a GPU, with random weights made there, and prints one JSON object: tokens per second of prefill
and of decoding, and seconds of the vision tower.

usage: peer_transformers_cuda.py VARIANT [--device cpu] [--prompts 512,4096] [--sequences 1,8,64] [--context 512]
                                 [--steps 16] [--image 1024x768]                  VARIANT: 2b, 4b, 8b, 30b-a3b or tiny
"""
import argparse
import json
import time

import torch
import transformers

SMALL_TOWER = dict(depth=24, hidden_size=1024, intermediate_size=4096, num_heads=16, deepstack_visual_indexes=[5, 11, 17])
LARGE_TOWER = dict(depth=27, hidden_size=1152, intermediate_size=4304, num_heads=16, deepstack_visual_indexes=[8, 16, 24])
TINY_TOWER = dict(depth=2, hidden_size=32, intermediate_size=64, num_heads=2, deepstack_visual_indexes=[0])


def text(hidden, inner, layers, heads, kv_heads, **more):
    return dict(hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
                num_key_value_heads=kv_heads, head_dim=128, vocab_size=151936, max_position_embeddings=262144,
                rope_parameters=dict(rope_type="default", rope_theta=5e6, mrope_section=[24, 20, 20],
                                     mrope_interleaved=True), **more)


# As in include/qwen3vl/config/released.hpp.
VARIANTS = {
    "2b": (SMALL_TOWER, text(2048, 6144, 28, 16, 8), True),
    "4b": (SMALL_TOWER, text(2560, 9728, 36, 32, 8), True),
    "8b": (LARGE_TOWER, text(4096, 12288, 36, 32, 8), False),
    "30b-a3b": (LARGE_TOWER, text(2048, 6144, 48, 32, 4, num_experts=128, num_experts_per_tok=8,
                                  moe_intermediate_size=768, decoder_sparse_step=1, mlp_only_layers=[]), False),
    "tiny": (TINY_TOWER, text(64, 128, 2, 2, 1), True),
}


def make_model(variant, device):
    vision, words, tied = VARIANTS[variant]
    sparse = "num_experts" in words
    config_type = transformers.Qwen3VLMoeConfig if sparse else transformers.Qwen3VLConfig
    model_type = transformers.Qwen3VLMoeForConditionalGeneration if sparse else transformers.Qwen3VLForConditionalGeneration
    config = config_type(text_config=words, vision_config=dict(vision, out_hidden_size=words["hidden_size"]),
                         tie_word_embeddings=tied)
    reasons = []
    torch.set_default_dtype(torch.bfloat16)
    for attention in ("flash_attention_2", "sdpa"):
        try:
            with torch.device(device):
                return model_type._from_config(config, attn_implementation=attention, dtype=torch.bfloat16).eval(), attention
        except (ImportError, ValueError, RuntimeError) as error:
            reasons.append(f"{attention}: {error}")
    raise SystemExit("; ".join(reasons))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = lambda value: [int(word) for word in value.split(",")]  # noqa: E731
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--prompts", type=numbers, default=[512, 4096])
    parser.add_argument("--sequences", type=numbers, default=[1, 8, 64])
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--image", default="1024x768")
    options = parser.parse_args()
    model, attention = make_model(options.variant, options.device)
    figures = {"transformers": transformers.__version__, "torch": torch.__version__, "attention": attention}

    def wait():
        if options.device != "cpu":
            torch.cuda.synchronize()

    def timed(call, runs=2):
        """The last of so many runs: the first warms up."""
        for _ in range(runs):
            wait()
            start = time.perf_counter()
            result = call()
            wait()
            seconds = time.perf_counter() - start
        return seconds, result

    def note(name, measure):
        try:
            figures[name] = measure()
        except (RuntimeError, ValueError, TypeError) as error:  # out of memory, most often
            figures.setdefault("errors", {})[name] = str(error).splitlines()[0][:200]
            if options.device != "cpu":
                torch.cuda.empty_cache()

    def ids(batch, length):
        return torch.randint(0, 150000, (batch, length), device=options.device)

    def decode(batch):
        past = model(input_ids=ids(batch, options.context), use_cache=True, logits_to_keep=1).past_key_values
        token = ids(batch, 1)

        def steps():
            for _ in range(options.steps):
                model(input_ids=token, past_key_values=past, use_cache=True, logits_to_keep=1)

        return batch * options.steps / timed(steps)[0]

    def tower():
        vision = model.config.vision_config
        width, height = (int(side) // vision.patch_size for side in options.image.split("x"))
        pixels = torch.randn(width * height, vision.in_channels * vision.temporal_patch_size * vision.patch_size**2,
                             device=options.device)
        grid = torch.tensor([[1, height, width]], device=options.device)
        return timed(lambda: model.model.visual(pixels, grid_thw=grid), runs=3)[0]

    with torch.no_grad():
        for prompt in options.prompts:
            note(f"prefill_{prompt}", lambda: prompt / timed(
                lambda: model(input_ids=ids(1, prompt), use_cache=True, logits_to_keep=1))[0])
        for batch in options.sequences:
            note(f"decode_{batch}", lambda: decode(batch))
        note("vision_seconds", tower)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

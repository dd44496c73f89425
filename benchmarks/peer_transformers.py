"""Times transformers on a checkpoint and prints one JSON object: prefill, decode and the vision tower, in float32.

usage: peer_transformers.py CHECKPOINT THREADS PROMPT_TOKENS DECODE_TOKENS [WIDTHxHEIGHT...]
"""
import json
import resource
import sys
import time

import torch
from transformers import Qwen3VLForConditionalGeneration


def timed(call):
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def main():
    checkpoint, threads, prompt, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(threads)
    seconds, model = timed(lambda: Qwen3VLForConditionalGeneration.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="sdpa").eval())
    figures = {"load_seconds": seconds}
    vision = model.config.vision_config
    with torch.no_grad():
        ids = torch.randint(0, min(150000, model.config.text_config.vocab_size) // 2, (1, prompt))
        for _ in range(2):  # the first warms up
            seconds, output = timed(lambda: model(input_ids=ids, use_cache=True, logits_to_keep=1))
        figures["prefill_tokens_per_second"] = prompt / seconds
        past, token = output.past_key_values, output.logits[:, -1].argmax(-1, keepdim=True)
        model(input_ids=token, past_key_values=past, use_cache=True)

        def decode():
            for _ in range(steps):
                model(input_ids=token, past_key_values=past, use_cache=True)

        if steps > 0:
            figures["decode_tokens_per_second"] = steps / timed(decode)[0]
        for size in sys.argv[5:]:
            width, height = (int(side) // vision.patch_size for side in size.split("x"))
            pixels = torch.randn(width * height, vision.in_channels * vision.temporal_patch_size * vision.patch_size**2)
            grid = torch.tensor([[1, height, width]])
            for _ in range(2):
                seconds, _ = timed(lambda: model.model.visual(pixels, grid_thw=grid))
            figures["vision_seconds_" + size] = seconds
    figures["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

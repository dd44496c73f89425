"""Times transformers' tokenizer and image processor, one thread each, and prints one JSON object.

usage: peer_processing.py TOKENIZER_JSON IMAGE TEXT_FILE BYTES RUNS
"""
import json
import sys
import time

import torch
from PIL import Image
from tokenizers import Tokenizer
from transformers import Qwen2VLImageProcessor

CHUNK = 4000


def best_of(runs, call):
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def decode(path):
    image = Image.open(path).convert("RGB")
    image.load()
    return image


def main():
    tokenizer_file, image_file, text_file, size, runs = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
    torch.set_num_threads(1)
    tokenizer = Tokenizer.from_file(tokenizer_file)
    with open(text_file) as file:
        text = file.read()
    text = (text * (size // len(text) + 1))[:size]
    parts = [text[i:i + CHUNK] for i in range(0, len(text), CHUNK)]
    whole, tokens = best_of(runs, lambda: len(tokenizer.encode(text, add_special_tokens=False).ids))
    short, _ = best_of(runs, lambda: [tokenizer.encode(part, add_special_tokens=False).ids for part in parts])
    processor = Qwen2VLImageProcessor(patch_size=16, merge_size=2, temporal_patch_size=2, image_mean=[0.5] * 3,
                                      image_std=[0.5] * 3, size={"shortest_edge": 65536, "longest_edge": 16777216})
    decoding, image = best_of(runs, lambda: decode(image_file))
    processing, output = best_of(runs, lambda: processor(images=image, return_tensors="pt"))
    print(json.dumps({
        "tokens": tokens,
        "tokenizer_mbytes_per_second": len(text) * 1e-6 / whole,
        "tokenizer_short_mbytes_per_second": len(text) * 1e-6 / short,
        "patches": output["pixel_values"].shape[0],
        "image_decode_seconds": decoding,
        "image_process_seconds": processing,
    }))


if __name__ == "__main__":
    main()

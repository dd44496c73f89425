"""Calls of the official tokenizer with all its arguments: cases/tokenizer/call.json.

    python tests/golden/make_tokenizer_calls.py        (transformers 5.24; nothing is downloaded)
"""

import json
import os
import random
import shutil
import tempfile
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from transformers import AutoTokenizer  # noqa: E402

HERE = Path(__file__).resolve().parent
SETTINGS = {"tokenizer_class": "Qwen2Tokenizer", "pad_token": "<|endoftext|>", "eos_token": "<|im_end|>",
            "model_max_length": 12}
PIECES = ["a", " b", "Hello", " world", "\n", "  ", "é", "e\u0301", "o\u0308\u0304", "\u212b", "\u0344", "\u1112\u1161\u11ab",
          "x\u0323\u0301\u0315", "q\u0315\u0300", "日本", "😀", " 👩‍👩‍👧", "\u0958", "\u0301", "<|im_start|>", "<|im_end|>", "<think>",
          "</tool_call>", "don't", "123", "ﬁ", "\u0bc6\u0bbe", "Å\u0327", "ḋ\u0323", "\u00a0", "<|vision_pad|>"]


def call(tokenizer, texts, pairs, options):
    arguments = dict(options)
    tokenizer.truncation_side = arguments.pop("truncation_side", "right")
    case = {"texts": texts, "options": options}
    if pairs is not None:
        case["text_pairs"] = pairs
    try:
        result = tokenizer(texts, pairs, return_special_tokens_mask=True, return_offsets_mapping=True, **arguments)
        samples = result.get("overflow_to_sample_mapping", list(range(len(texts))))
        case["rows"] = [{"ids": result["input_ids"][i],
                         "mask": "".join(map(str, result["attention_mask"][i])),
                         "special": "".join(map(str, result["special_tokens_mask"][i])),
                         "sequences": "".join("-" if s is None else str(s) for s in result.sequence_ids(i)),
                         "offsets": [n for pair in result["offset_mapping"][i] for n in pair],
                         "sample": samples[i]} for i in range(len(result["input_ids"]))]
    except BaseException as error:  # a panic of tokenizers is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        case["error"] = str(error).splitlines()[0][:120]
    return case


def main():
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(HERE.parent / "assets" / "qwen3-tokenizer" / "tokenizer.json", folder)
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps(SETTINGS))
        tokenizer = AutoTokenizer.from_pretrained(folder)
    draw = random.Random(1)

    def text(most):
        return "".join(draw.choice(PIECES) for _ in range(draw.randrange(most + 1)))

    cases = [call(tokenizer, ["".join(PIECES)], None, {}),
             call(tokenizer, ["".join(PIECES)], None, {"split_special_tokens": True})]
    cases += [call(tokenizer, [piece, "k" + piece + piece], None, {}) for piece in PIECES]
    cases += [call(tokenizer, [text(12)], None, {}) for _ in range(20)]
    for _ in range(110):
        options = {}
        if draw.random() < 0.6:
            options["padding"] = draw.choice([True, "longest", "max_length", False])
        if draw.random() < 0.7:
            options["truncation"] = draw.choice([True, "longest_first", "only_first", "only_second", False])
        if draw.random() < 0.7:
            options["max_length"] = draw.choice([0, 1, 2, 3, 4, 5, 6, 8, 12])
        if options.get("truncation") and options.get("max_length", 12) > 1 and draw.random() < 0.5:
            # A stride as long as what a text is cut to is a panic there, which may hang; half of max_length, for pairs.
            options["stride"] = draw.randrange(max(1, options.get("max_length", 12) // 2))
        if draw.random() < 0.6:
            options["return_overflowing_tokens"] = True
        if options.get("padding") and draw.random() < 0.4:
            options["pad_to_multiple_of"] = draw.choice([1, 2, 4, 8])
        if draw.random() < 0.3:
            options["padding_side"] = draw.choice(["left", "right"])
        if draw.random() < 0.4:
            options["truncation_side"] = draw.choice(["left", "right"])
        if draw.random() < 0.2:
            options["split_special_tokens"] = True
        texts = [text(6) for _ in range(draw.choice([1, 1, 2, 3]))]
        pairs = [text(5) for _ in texts] if draw.random() < 0.4 else None
        cases.append(call(tokenizer, texts, pairs, options))
    lines = ",\n".join("  " + json.dumps(case, ensure_ascii=True, separators=(",", ":")) for case in cases)
    out = HERE / "cases" / "tokenizer" / "call.json"
    out.write_text(f'{{\n "settings": {json.dumps(SETTINGS)},\n "cases": [\n{lines}\n ]\n}}\n')


if __name__ == "__main__":
    main()

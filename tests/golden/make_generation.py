#!/usr/bin/env python3
"""Golden data of generation, from transformers 5.24 (with torch on a CPU):   make_generation.py   writes, beside itself,

  generation_fields.json              the fields of transformers' GenerationConfig
  cases/generation/processors_5.*     every logits processor, in the order of generate(), on random scores
  cases/generation/<model>_gen_*      whole runs of generate() with these options
  cases/tokenizer/stop_strings.json   where StopStringCriteria ends texts (official vocabulary)
"""
import json
import math
import pathlib
import random
import types

import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeForConditionalGeneration,
    SynthIDTextWatermarkingConfig,
    WatermarkDetector,
    WatermarkingConfig,
)
from transformers.generation import GenerationMixin
from transformers.generation.logits_process import SynthIDTextWatermarkLogitsProcessor
from transformers.generation.stopping_criteria import StopStringCriteria

HERE = pathlib.Path(__file__).resolve().parent
CASES = HERE / "cases"


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=True) + "\n")


# ---- the fields


def fields():
    # Less what a file says about itself.
    names = sorted(set(GenerationConfig().to_dict()) - {"transformers_version", "_from_model_config"})
    write_json(HERE / "generation_fields.json", {"transformers": transformers.__version__, "fields": names})


# ---- the processors

VOCAB = 64
PROMPT = 8  # of the sequences' 14 tokens; the first row has 3 pad tokens
PAD = 60

LISTS = {
    "typical_02": {"do_sample": True, "typical_p": 0.2},
    "typical_09": {"do_sample": True, "typical_p": 0.9},
    "typical_beams": {"do_sample": True, "typical_p": 0.05, "num_beams": 2, "eos_token_id": [5, 6, 7]},
    "epsilon": {"do_sample": True, "epsilon_cutoff": 0.02},
    "epsilon_strict": {"do_sample": True, "epsilon_cutoff": 0.9},
    "epsilon_beams": {"do_sample": True, "epsilon_cutoff": 0.9, "num_beams": 2, "eos_token_id": [5, 6]},
    "epsilon_off": {"do_sample": True, "epsilon_cutoff": 1.0, "eta_cutoff": 0.0},
    "eta": {"do_sample": True, "eta_cutoff": 0.1},
    "eta_small": {"do_sample": True, "eta_cutoff": 0.001},
    "eta_beams": {"do_sample": True, "eta_cutoff": 0.9, "num_beams": 3, "eos_token_id": 5},
    "top_h_03": {"do_sample": True, "top_h": 0.3},
    "top_h_08": {"do_sample": True, "top_h": 0.8},
    "top_h_tiny": {"do_sample": True, "top_h": 0.001},
    "warpers_greedy": {"typical_p": 0.2, "epsilon_cutoff": 0.1, "eta_cutoff": 0.1, "top_h": 0.5},
    "warpers_all": {
        "do_sample": True,
        "temperature": 1.3,
        "top_h": 0.95,
        "top_k": 30,
        "top_p": 0.97,
        "min_p": 0.01,
        "typical_p": 0.95,
        "epsilon_cutoff": 0.001,
        "eta_cutoff": 0.002,
        "renormalize_logits": True,
    },
    "encoder_repetition_15": {"encoder_repetition_penalty": 1.5},
    "encoder_repetition_07": {"encoder_repetition_penalty": 0.7},
    "encoder_ngram_1": {"encoder_no_repeat_ngram_size": 1},
    "encoder_ngram_2": {"encoder_no_repeat_ngram_size": 2},
    "encoder_ngram_3": {"encoder_no_repeat_ngram_size": 3},
    "bad_words": {"bad_words_ids": [[3], [9, 10], [7], [2, 3, 4]], "eos_token_id": [7, 8]},
    "sequence_bias": {"sequence_bias": [[[3], 2.5], [[9, 10], -3.0], [[9, 11], 4.0], [[2, 9, 10], 1.5], [[3], -1.0]]},
    "suppress": {"suppress_tokens": [1, 2, 40, 63], "begin_suppress_tokens": [3, 4]},
    "begin_suppress": {"begin_suppress_tokens": [3, 4, 5], "at_begin": True},
    "forced_eos": {"forced_eos_token_id": [5, 9], "max_length": 15, "bad_words_ids": [[5]]},
    "forced_eos_not_yet": {"forced_eos_token_id": 5, "max_length": 16},
    "decay": {"exponential_decay_length_penalty": [2, 1.5], "eos_token_id": [5, 6]},
    "decay_not_yet": {"exponential_decay_length_penalty": [6, 1.5], "eos_token_id": [5]},
    "invalid": {"remove_invalid_values": True, "suppress_tokens": [3], "scores": "in.broken"},
    "normalized": {"renormalize_logits": True, "suppress_tokens": [1, 2, 3]},
    "allowed": {"allowed": [[1, 2, 3], [4], [5, 6], [7, 8, 9]]},
    "allowed_unsatisfiable": {"allowed": [[1, 2], [3], [4], [5, 6]], "bad_words_ids": [[1], [2], [3], [4]]},
    "allowed_beams": {
        "num_beams": 2,
        "allowed": [[1, 2], [3], [4], [5, 6]],
        "bad_words_ids": [[1], [2], [3], [4]],
    },
    "watermark": {"watermarking_config": {"bias": 2.5}},
    "watermark_left": {
        "watermarking_config": {
            "greenlist_ratio": 0.5,
            "bias": 1.0,
            "hashing_key": 9007199254740881,
            "seeding_scheme": "lefthash",
            "context_width": 3,
        }
    },
    "watermark_self": {"watermarking_config": {"seeding_scheme": "selfhash", "bias": 3.0}},
    "watermark_self_wide": {
        "watermarking_config": {
            "seeding_scheme": "selfhash",
            "context_width": 4,
            "hashing_key": 123456789,
            "greenlist_ratio": 0.4,
        }
    },
    "synthid": {"synthid": {"ngram_len": 3, "keys": [654, 400, 836, 123, 340]}},
    "synthid_repeats": {"synthid": {"ngram_len": 2, "keys": [1, -2, 3], "context_history_size": 4}},
    "synthid_skip": {
        "synthid": {
            "ngram_len": 4,
            "keys": [9, 8],
            "sampling_table_seed": 7,
            "sampling_table_size": 1000,
            "skip_first_ngram_calls": True,
        }
    },
    "synthid_debug": {"synthid": {"ngram_len": 5, "keys": [30, 20, 10], "debug_mode": True}},
    "everything": {
        "do_sample": True,
        "temperature": 0.8,
        "top_k": 40,
        "top_p": 0.98,
        "repetition_penalty": 1.2,
        "no_repeat_ngram_size": 2,
        "encoder_repetition_penalty": 1.3,
        "encoder_no_repeat_ngram_size": 3,
        "sequence_bias": [[[3], 1.5]],
        "bad_words_ids": [[12]],
        "min_new_tokens": 20,
        "eos_token_id": [5, 6],
        "exponential_decay_length_penalty": [1, 1.1],
        "suppress_tokens": [14],
        "watermarking_config": {"bias": 0.5},
        "renormalize_logits": True,
        "remove_invalid_values": True,
    },
}


def processors():
    generator = torch.Generator().manual_seed(524)
    ids = torch.randint(1, 24, (4, 14), generator=generator)
    ids[1, 8:] = torch.tensor([9, 2, 9, 2, 9, 2])  # runs that occur again
    ids[2, :8] = torch.tensor([4, 2, 9, 10, 4, 2, 9, 11])
    ids[2, -2:] = torch.tensor([2, 9])
    ids[3, -1] = ids[3, 2]
    ids[0, :3] = PAD
    scores = torch.randn((4, VOCAB), generator=generator) * 2.5
    broken = scores.clone()
    broken[0, 3:6] = torch.tensor([math.nan, math.inf, -math.inf])
    broken[2, 60] = -math.inf
    tensors = {"in.input_ids": ids, "in.scores": scores, "in.broken": broken}
    model = types.SimpleNamespace(
        config=types.SimpleNamespace(
            is_encoder_decoder=False, get_text_config=lambda: types.SimpleNamespace(vocab_size=VOCAB)
        )
    )
    model._merge_criteria_processor_list = types.MethodType(GenerationMixin._merge_criteria_processor_list, model)
    lists = {}
    for name, given in LISTS.items():
        options = dict(given)
        source = options.pop("scores", "in.scores")
        allowed = options.pop("allowed", None)
        synthid = options.pop("synthid", None)
        # Options that are absent are off.
        config = GenerationConfig(**{"pad_token_id": PAD, "top_k": 0, **options, "at_begin": None})
        at_begin = options.pop("at_begin", False)
        for key, value in GenerationConfig._get_default_generation_params().items():
            if getattr(config, key, None) is None:
                setattr(config, key, value)
        if "max_length" not in options:
            config.max_length = 1000
        eos = options.get("eos_token_id")
        config._eos_token_tensor = None if eos is None else torch.tensor([eos] if isinstance(eos, int) else eos)
        if config.min_new_tokens is not None:
            config.min_length = config.min_new_tokens + PROMPT
        if synthid is not None:
            config.watermarking_config = SynthIDTextWatermarkingConfig(**synthid)
        used = ids[:, :PROMPT] if at_begin else ids
        row = {"n": 0}

        def allowed_tokens(batch, sentence):
            row["n"] += 1
            return allowed[row["n"] - 1]

        processors = GenerationMixin._get_logits_processor(
            model,
            config,
            input_ids_seq_length=PROMPT,
            encoder_input_ids=ids[:, :PROMPT],
            prefix_allowed_tokens_fn=allowed_tokens if allowed else None,
            device="cpu",
            model_kwargs={"attention_mask": (ids[:, :PROMPT] != PAD).long()},
        )
        input_scores = tensors[source]
        if synthid is not None:  # it remembers earlier calls
            for length in range(PROMPT, used.shape[1]):
                processors(used[:, :length], input_scores.clone())
        result = processors(used, input_scores.clone())
        order = [type(p).__name__ for p in processors]
        if "MinNewTokensLengthLogitsProcessor" in order:  # both lengths are one there
            order.remove("MinLengthLogitsProcessor")
        entry = {"options": options, "order": order}
        if source != "in.scores":
            entry["scores"] = source
        if allowed:
            entry["allowed"] = allowed
        if synthid is not None:
            entry["synthid"] = synthid
        if at_begin:
            entry["at_begin"] = True
        lists[name] = entry
        tensors["out." + name] = result

    detectors = []
    sequences = torch.randint(0, VOCAB, (3, 40), generator=generator)
    sequences[1, 1:] = sequences[1, :-1] * 7 % VOCAB
    sequences[2] = 3
    for config in (
        {"bias": 2.5},
        {"seeding_scheme": "selfhash", "context_width": 2, "greenlist_ratio": 0.5},
        {"context_width": 3, "hashing_key": 77},
    ):
        for ignore in (False, True):
            watermark = WatermarkingConfig(**config)
            detector = WatermarkDetector(
                types.SimpleNamespace(bos_token_id=3, is_encoder_decoder=False, vocab_size=VOCAB),
                "cpu",
                watermark,
                ignore_repeated_ngrams=ignore,
            )
            for one in sequences:
                found = detector(one[None], z_threshold=0.5, return_dict=True)
                detectors.append(
                    {
                        "config": config,
                        "ignore_repeated_ngrams": ignore,
                        "ids": one.tolist(),
                        "num_tokens_scored": int(found.num_tokens_scored[0]),
                        "num_green_tokens": int(found.num_green_tokens[0]),
                        "z_score": float(found.z_score[0]),
                        "p_value": float(found.p_value[0]),
                        "prediction": bool(found.prediction[0]),
                    }
                )
    synthid = {"ngram_len": 4, "keys": [654, 400, -836, 123]}
    g_values = SynthIDTextWatermarkLogitsProcessor(
        **synthid, sampling_table_size=2**16, sampling_table_seed=0, context_history_size=1024, device="cpu"
    ).compute_g_values(sequences)
    write_json(
        CASES / "generation/processors_5.json",
        {
            "group": "generation",
            "name": "processors_5",
            "kind": "processors",
            "prompt_length": PROMPT,
            "pad_token_id": PAD,
            "lists": lists,
            "detectors": detectors,
            "g_values": {"config": synthid, "ids": sequences.tolist(), "values": g_values.tolist()},
            "tolerance": 1e-05,
            "note": "removed tokens are -inf; absent options are off",
        },
    )
    save_file(tensors, CASES / "generation/processors_5.safetensors")


# ---- whole runs

EOS = [0, 1, 4, 5, 6, 9, 12, 17, 20, 22, 31, 36]
RUNS = {
    "encoder_repetition": {"encoder_repetition_penalty": 1.6, "max_new_tokens": 16},
    "encoder_ngram": {"encoder_no_repeat_ngram_size": 1, "max_new_tokens": 16},
    "bad_words": {"bad_words_from_plain": True, "max_new_tokens": 16},
    "bias_and_forced_eos": {
        "sequence_bias": [[[38], -2.0], [[17], 0.5], [[44, 38], -1.0]],
        "suppress_tokens": [221, 297],
        "begin_suppress_tokens": [217, 15, 44],
        "forced_eos_token_id": 77,
        "max_new_tokens": 12,
    },
    "decay": {"exponential_decay_length_penalty": [3, 1.4], "eos_token_id": [11, 12], "max_new_tokens": 24},
    "guidance": {"guidance_scale": 2.5, "max_new_tokens": 12},
    "guidance_negative": {"guidance_scale": 1.7, "negative": True, "max_new_tokens": 12},
    "guidance_beams": {"guidance_scale": 1.5, "num_beams": 2, "max_new_tokens": 8},
    "watermark": {"watermarking_config": {"bias": 1.0}, "max_new_tokens": 16},
    "watermark_self": {
        "watermarking_config": {"bias": 1.0, "seeding_scheme": "selfhash", "context_width": 2},
        "max_new_tokens": 16,
    },
    "allowed": {"same_remainder": 3, "max_new_tokens": 12},
    "allowed_beams": {"same_remainder": 3, "num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 8},
    "beams_mixed": {
        "num_beams": 3,
        "num_return_sequences": 3,
        "encoder_no_repeat_ngram_size": 2,
        "no_repeat_ngram_size": 2,
        "bad_words_ids": [[38], [44, 65]],
        "renormalize_logits": True,
        "eos_token_id": EOS,
        "length_penalty": 0.7,
        "max_new_tokens": 12,
    },
    "beams_outputs": {
        "num_beams": 3,
        "num_return_sequences": 2,
        "repetition_penalty": 1.3,
        "suppress_tokens": [38],
        "output_logits": True,
        "output_scores": True,
        "max_new_tokens": 5,
    },
    "outputs": {"repetition_penalty": 1.3, "output_logits": True, "output_scores": True, "max_new_tokens": 4},
    "layers": {"output_attentions": True, "output_hidden_states": True, "max_new_tokens": 4},
    "embeds": {
        "embeds": "alone",
        "repetition_penalty": 1.3,
        "output_logits": True,
        "output_attentions": True,
        "max_new_tokens": 5,
    },
    "embeds_and_ids": {"embeds": "with ids", "repetition_penalty": 1.3, "output_logits": True, "max_new_tokens": 5},
    "embeds_beams": {"embeds": "alone", "num_beams": 3, "no_repeat_ngram_size": 1, "max_new_tokens": 8},
    "embeds_image": {"image": True, "embeds": "alone", "output_logits": True, "max_new_tokens": 4},
    "embeds_image_and_ids": {"image": True, "embeds": "with ids", "output_logits": True, "max_new_tokens": 4},
    "positions": {"positions": 3, "output_logits": True, "max_new_tokens": 5},
    "positions_4_axes": {"positions": 4, "num_beams": 2, "max_new_tokens": 8},
    "beams_layers": {"num_beams": 3, "output_attentions": True, "output_hidden_states": True, "max_new_tokens": 3},
    "sampled_scores": {
        "do_sample": True,
        "temperature": 0.7,
        "top_h": 0.9,
        "top_k": 25,
        "typical_p": 0.95,
        "epsilon_cutoff": 0.001,
        "eta_cutoff": 0.001,
        "renormalize_logits": True,
        "output_scores": True,
        "max_new_tokens": 1,
    },
    "token_healing": {"token_healing": True, "token_names": True, "max_new_tokens": 6},
    "forced_bos": {"one_token": True, "forced_bos_token_id": 33, "begin_suppress_tokens": [44], "max_new_tokens": 6},
}


def named_tokens(vocab, pad):
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({f"t{i}": i for i in range(vocab)}))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token=f"t{pad + 1}", pad_token=f"t{pad}", padding_side="left"
    )


def runs(model_name, model_class, names):
    model = model_class.from_pretrained(HERE / "models" / model_name, dtype=torch.float32, attn_implementation="eager")
    model.eval()
    vocab = model.config.text_config.vocab_size
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(1, vocab - 30, (2, 12), generator=generator)
    mask = torch.ones_like(ids)
    pad = model.config.text_config.bos_token_id
    ids[0, :4] = pad
    mask[0, :4] = 0
    base = {"do_sample": False, "top_k": 0, "temperature": 1.0, "top_p": 1.0, "eos_token_id": None, "pad_token_id": pad}
    for name in names:
        given = dict(RUNS[name])
        tensors = {"in.input_ids": ids, "in.attention_mask": mask.to(torch.uint8)}
        options, extra, call = {}, {}, {}
        use_ids, use_mask = ids, mask
        if given.pop("image", False):  # the prompt of another case
            image = load_file(CASES / f"generation/{model_name}_image.safetensors")
            tensors = {name: x for name, x in image.items() if name.startswith("in.")}
            use_ids = tensors["in.input_ids"]
            use_mask = tensors.setdefault("in.attention_mask", torch.ones_like(use_ids).to(torch.uint8)).long()
            call["pixel_values"] = tensors["in.pixel_values"]
            call["image_grid_thw"] = tensors["in.image_grid_thw"]
            call["mm_token_type_ids"] = tensors["in.mm_token_type_ids"].long()
        if (embeds := given.pop("embeds", None)) is not None:
            x = model.get_input_embeddings()(use_ids).detach()
            noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(3)) * x.std() * 0.5
            x = torch.where((use_ids == model.config.image_token_id)[..., None], x, x + noise)
            call["inputs_embeds"] = tensors["in.inputs_embeds"] = x
            if embeds == "alone":
                use_ids = use_ids[:, :0]
                del tensors["in.input_ids"]
                call.pop("mm_token_type_ids", None)
                tensors.pop("in.mm_token_type_ids", None)
        if (axes := given.pop("positions", None)) is not None:
            steps = torch.randint(0, 3, (axes, *use_ids.shape), generator=torch.Generator().manual_seed(5))
            call["position_ids"] = tensors["in.position_ids"] = steps.cumsum(-1)
        if given.pop("one_token", False):
            use_ids, use_mask = ids[:, -1:].contiguous(), mask[:, -1:].contiguous()
            tensors = {"in.input_ids": use_ids, "in.attention_mask": use_mask.to(torch.uint8)}
        if given.pop("negative", False):
            negative = torch.randint(1, vocab - 30, (2, 5), generator=generator)
            call["negative_prompt_ids"] = negative
            tensors["in.negative_prompt_ids"] = negative
        if (modulus := given.pop("same_remainder", None)) is not None:
            extra["same_remainder"] = modulus
            call["prefix_allowed_tokens_fn"] = lambda batch, sentence: [
                i for i in range(vocab) if i % modulus == (int(sentence[-1]) + 1) % modulus
            ]
        if given.pop("bad_words_from_plain", False):  # what would be said without
            plain = model.generate(
                input_ids=ids, attention_mask=mask, **base, **{k: v for k, v in given.items()}
            )[:, ids.shape[1] :].tolist()
            given["bad_words_ids"] = [[plain[0][1]], plain[0][3:5], plain[1][2:5], [plain[1][6]]]
        if given.pop("token_names", False):  # token i is "t<i>", so that 12 can become 120 to 129
            use_ids = ids.clone()[1:].repeat(3, 1)
            use_ids[:, -1] = torch.tensor([2, 19, 255])
            use_mask = torch.ones_like(use_ids)
            tensors = {"in.input_ids": use_ids, "in.attention_mask": use_mask.to(torch.uint8)}
            extra["token_names"] = "t"
            call["tokenizer"] = named_tokens(vocab, pad)
            model.generation_config = GenerationConfig(pad_token_id=pad, do_sample=False)
        options.update(given)
        if "guidance_scale" in given:
            call["use_cache"] = False  # with a cache the reference fails
        output = model.generate(
            input_ids=use_ids if use_ids.numel() else None,
            attention_mask=use_mask,
            **{**base, **given, **call, "output_scores": True, "output_logits": True},
            return_dict_in_generate=True,
        )
        if not given.get("do_sample"):
            tensors["out.sequences"] = output.sequences
        if given.get("output_logits"):
            tensors["out.logits"] = torch.stack(output.logits, 1)
        if given.get("output_scores"):
            scores = torch.stack(output.scores, 1)
            removed = torch.isneginf(scores)
            tensors["out.scores"] = torch.where(removed, 0.0, scores)
            tensors["out.removed"] = removed.to(torch.uint8)
        real = use_mask.repeat_interleave(given.get("num_beams", 1), 0).bool()
        for what in ("attentions", "hidden_states"):
            for step, of_step in enumerate(getattr(output, what) or []):
                for layer, x in enumerate(of_step):
                    if given.get("num_beams", 1) > 1 and layer + 1 < len(of_step):
                        continue  # the last one is enough
                    if step == 0:  # rows of padding are of no meaning
                        x = x * (real[:, None, :, None] if what == "attentions" else real[:, :, None])
                    tensors[f"out.{what}.{step}.{layer}"] = x
        if given.get("num_beams", 1) > 1:
            tensors["out.sequences_scores"] = output.sequences_scores
            tensors["out.beam_indices"] = output.beam_indices.to(torch.int64)
        case = f"{model_name}_gen_{name}"
        write_json(
            CASES / f"generation/{case}.json",
            {
                "group": "generation",
                "name": case,
                "model": model_name,
                "kind": "generate",
                "tolerance": 0.0001,
                "options": options,
                **extra,
            },
        )
        save_file({k: v.contiguous() for k, v in tensors.items()}, CASES / f"generation/{case}.safetensors")
        print(case, output.sequences[:, use_ids.shape[1] :].tolist())


# ---- stop strings


def stop_strings():
    tokenizer = AutoTokenizer.from_pretrained(HERE.parent / "assets/qwen3-tokenizer")
    draw = random.Random(3)
    text = (
        'The quick brown fox\n\njumps over "the lazy dog".\n```python\nprint("\u00e9t\u00e9 \U0001f600!")\n```\n'
        "<|im_start|>user\nHello<|im_end|>\n\u4f60\u597d\uff0c\u4e16\u754c stopped topper Stop STOP. 12345\n\n\nEND"
    )
    rows = []
    for _ in range(60):
        begin = draw.randrange(len(text) - 20)
        own = text[begin : begin + draw.randrange(20, 120)]
        ids = tokenizer(own)["input_ids"]
        prompt = draw.randrange(1, max(2, len(ids) // 2))
        strings = []
        for _ in range(draw.choice([1, 1, 2, 3])):
            at = draw.randrange(len(own) - 1)
            strings.append(own[at : at + draw.choice([1, 1, 2, 3, 5, 9])])
        criterion = StopStringCriteria(tokenizer, strings)
        end = None
        for n in range(prompt + 1, len(ids) + 1):
            if bool(criterion(torch.tensor([ids[:n]]), None)):
                end = n - prompt
                break
        rows.append({"ids": ids, "prompt_tokens": prompt, "stop_strings": strings, "new_tokens": end})
    write_json(
        CASES / "tokenizer/stop_strings.json",
        {"group": "tokenizer", "name": "stop_strings", "kind": "stop_strings", "cases": rows},
    )


if __name__ == "__main__":
    fields()
    processors()
    runs("dense_small", Qwen3VLForConditionalGeneration, list(RUNS))
    runs("moe_small", Qwen3VLMoeForConditionalGeneration, ["guidance", "beams_outputs", "watermark", "layers", "embeds", "embeds_image"])
    stop_strings()

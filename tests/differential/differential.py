#!/usr/bin/env python3
"""Draws random conversations, options, images, videos and settings of generation, and compares the library with
transformers 5.24: prompts, tokens, grids, times, pixels, and the tokens of greedy and beam search.

    ninja -C build draw_inputs qwen3vl-tiny-shapes qwen3vl-tiny-shapes-moe
    tests/differential/differential.py --build build --draws 5000 --seed 1

needs Python with transformers 5.24, torch, torchvision, pillow, qwen-vl-utils 0.0.14 and av. A draw follows from the
seed and its number. One that differs is printed with the command that repeats it alone, and its folder is kept, with
its files, draw.json, what the reference says and what the library says. Exit code 1 if there were any.

Kinds of draws:  text    prompt and ids of a conversation, with a chat template and its options; errors, too
                 media   a batch of conversations with images and videos: ids, masks, token types, grids, times, pixels
                 answer  requests to the programs of the bundled checkpoints: what --inputs says, and answers
"""

import argparse
import collections
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile

import numpy as np

import draws
import reference

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
ASSETS = REPOSITORY / "examples" / "assets"
KINDS = ["text", "text", "media", "text", "answer", "media", "text", "answer", "media", "answer"]
PIXELS = 1e-5  # of values between about -2 and 3: far below a step of an 8-bit value (0.0078)
DOCUMENTED = [
    "the chat template drops some",
    "the chat template or a text adds some",
    "every text of the batch is empty",
    "no token is left to choose from",
    "give images and videos as parts of the message",
    "the weights or a logits processor are broken",
]
# How marks of control tokens look where a template shows them: as they are, in repr() and in JSON.
MARKS = ("\U000f0000", "\\U000f0000", "\\udb80\\udc00")
TIE = 2e-4  # scores of two tokens or beams that float32 cannot tell apart for sure


def templates():
    """Name to source: those of tests/golden/chat_templates, the bundled one, and the Instruct models'."""
    found = {
        path.stem: path.read_text() for path in sorted((REPOSITORY / "tests/golden/chat_templates").glob("*.jinja"))
    }
    found["tiny"] = (ASSETS / "tiny-shapes/chat_template.jinja").read_text()
    header = (REPOSITORY / "include/qwen3vl/processing/chat/instruct_template.hpp").read_text()
    found["instruct"] = re.search(r'R"jinja\((.*)\)jinja', header, re.S).group(1)
    return found


def lines(command, requests, folder):
    """One JSON object per line of what a command says to `requests`."""
    file = folder / "requests.jsonl"
    file.write_text("".join(json.dumps(request) + "\n" for request in requests))
    with open(file) as stdin:
        run = subprocess.run(command, stdin=stdin, capture_output=True, text=True)
    answers = [json.loads(line) for line in run.stdout.split("\n") if line]
    if len(answers) != len(requests):
        sys.exit(
            f"{command[0]}: {len(answers)} answers to {len(requests)} requests, exit code {run.returncode}: {run.stderr[-2000:]}"
        )
    return answers


def parting(name, said, ours):
    """Where two texts or lists part."""
    place = next((i for i, (a, b) in enumerate(zip(said, ours)) if a != b), min(len(said), len(ours)))
    begin = max(0, place - 40)
    return f"{name}, from {begin} on: {said[begin:place + 60]!r}, ours {ours[begin:place + 60]!r}"


def relative(a, b):
    """How far two scores are apart, for large ones by their size."""
    return abs(a - b) / max(1.0, abs(a))


def with_folder(messages, folder):
    """Names of files as paths."""
    messages = draws.strip(messages)
    for message in messages:
        for part in message["content"] if isinstance(message.get("content"), list) else []:
            for key in ("image", "video"):
                if isinstance(part.get(key), list):
                    part[key] = [str(folder / one) for one in part[key]]
                elif key in part:
                    part[key] = str(folder / part[key])
    return messages


class Differential:
    def __init__(self, arguments, work):
        self.arguments, self.work = arguments, work
        self.folder = arguments.checkpoint
        self.templates = templates()
        self.processors = {}
        self.models = {}
        self.count = collections.Counter()
        self.scenes = sorted((ASSETS / "tiny-shapes/expected/images").glob("*.*"))

    def processor(self, folder, backend=None):
        if (folder, backend) not in self.processors:
            self.processors[folder, backend] = reference.Processor(folder, backend)
        return self.processors[folder, backend]

    def draw(self, index):
        kind = KINDS[index % len(KINDS)]
        rng = random.Random(f"{self.arguments.seed}/{index}")
        folder = self.work / f"{kind}-{self.arguments.seed}-{index}"
        folder.mkdir()
        names = list(self.templates)
        if kind == "answer":
            draw = draws.answer_draw(rng, folder, names, self.scenes)
        else:
            draw = (draws.text_draw if kind == "text" else draws.media_draw)(rng, folder, names)
        draw.update(index=index, kind=kind)
        name = draw.get("chat", {}).get("chat_template")
        if name:
            draw["chat"]["chat_template"] = self.templates.get(name, name)
        draw["folder"] = str(self.folder)
        if "settings" in draw:
            draw["folder"] = str(reference.checkpoint_with(self.folder, draw["settings"], folder / "checkpoint"))
        draw["media"], draw["pixels"] = str(folder), f"{folder}/ours."
        (folder / "draw.json").write_text(json.dumps(draw, indent=1))
        return draw, folder, rng

    # ---- text and media

    def expected(self, draw, folder, rng):
        """What the reference says, or its error."""
        processor = self.processor(pathlib.Path(draw.get("save", draw["folder"])), draw["options"].get("backend"))
        try:
            said = {}
            said["prompts"] = [processor.render(messages, draw["chat"]) for messages in draw["conversations"]]
            if draw.get("render"):
                return said
            if draw["kind"] == "text":
                said["input_ids"] = [
                    processor.render(messages, draw["chat"], tokenize=True) for messages in draw["conversations"]
                ]
                return said
            rows = [processor.inputs(messages, draw, folder, rng) for messages in draw["conversations"]]
            said["input_ids"] = [row["input_ids"][0].tolist() for row, _ in rows]
            said["mm_token_type_ids"] = [row["mm_token_type_ids"][0].tolist() for row, _ in rows]
            said["timestamps"] = [times for _, all_times in rows for times in all_times]
            for grid, pixels in (("image_grid_thw", "pixel_values"), ("video_grid_thw", "pixel_values_videos")):
                said[grid] = [one for row, _ in rows if grid in row for one in row[grid].tolist()]
                values = [row[pixels].numpy() for row, _ in rows if pixels in row]
                if values:
                    np.save(folder / f"reference.{pixels}.npy", np.concatenate(values))
            return said
        except Exception as error:  # noqa: BLE001: whatever a template or a library raises
            return {"error": f"{type(error).__name__}: {error}"}

    def differences(self, draw, folder, said, ours):
        if "error" in said or "error" in ours:
            if ("error" in said) == ("error" in ours) or self.documented(said, ours):
                self.count["errors of both" if "error" in said and "error" in ours else "documented"] += 1
                return []
            return [f"error of one: {said.get('error')!r}, ours {ours.get('error')!r}"]
        # Where control tokens are marked, a template may show the marks; the tokens are what counts.
        sanitized = draw["chat"].get("sanitize_control_tokens", False)
        found = [parting("prompt", a, b) for a, b in zip(said["prompts"], ours["prompts"]) if a != b and not sanitized]
        if draw.get("render"):
            return found
        length = max(map(len, said["input_ids"]))
        right = draw["options"].get("padding_side") == "right"
        for name, fill in (("input_ids", None), ("attention_mask", 0), ("mm_token_type_ids", 0)):
            rows = said["input_ids"] if name == "attention_mask" else said.get(name)
            if rows is None:
                continue
            for b, (row, mine) in enumerate(zip(rows, ours[name])):
                row = [1] * len(row) if name == "attention_mask" else row
                pad = [self.processor(self.folder).processor.tokenizer.pad_token_id if fill is None else fill] * (
                    length - len(row)
                )
                row = row + pad if right else pad + row
                if row != mine:
                    found.append(parting(f"{name}[{b}]", row, mine))
        for name in ("image_grid_thw", "video_grid_thw", "timestamps"):
            if name in said and said[name] != ours[name]:
                found.append(f"{name}: {said[name]}, ours {ours[name]}")
        for name in ("pixel_values", "pixel_values_videos"):
            file = folder / f"reference.{name}.npy"
            if not found and file.exists():
                found += self.pixel_differences(name, np.load(file), np.load(folder / f"ours.{name}.npy"))
        return found

    @staticmethod
    def pixel_differences(name, said, ours):
        if said.shape != ours.shape:
            return [f"{name}: {said.shape}, ours {ours.shape}"]
        off = np.abs(said.astype(np.float64) - ours)
        wrong = off > PIXELS * max(1.0, float(np.abs(said).max()))
        return (
            [
                f"{name}: {wrong.sum()} of {wrong.size} differ, by up to {off.max()}, first at {np.argwhere(wrong)[0].tolist()}"
            ]
            if wrong.any()
            else []
        )

    @staticmethod
    def documented(said, ours):
        """Whether an error of the library, where transformers has none, is one of docs/from-transformers.md."""
        return any(words in ours.get("error", "") for words in DOCUMENTED)

    def compare_inputs(self, some):
        made = [self.draw(index) for index in some]
        answers = lines([self.arguments.build / "tests/draw_inputs"], [draw for draw, _, _ in made], self.work)
        for (draw, folder, rng), ours in zip(made, answers):
            said = self.expected(draw, folder, rng)
            self.report(draw, folder, said, ours, self.differences(draw, folder, said, ours))

    # ---- answers

    def compare_answers(self, some):
        programs = collections.defaultdict(list)  # by checkpoint: a program has one, with one template
        for index in some:
            made = self.draw(index)
            name = "tiny-shapes-moe" if made[0]["moe"] else "tiny-shapes"
            programs[name, made[0]["chat"].get("chat_template")].append(made)
        for (name, template), made in programs.items():
            self.compare_program(name, template, made)

    def compare_program(self, name, template, made):
        """Draws that one start of a program answers."""
        folder = ASSETS / name
        if template is not None:
            folder = pathlib.Path(tempfile.mkdtemp(prefix="checkpoint-", dir=self.work))
            for file in (ASSETS / name).iterdir():
                (folder / file.name).symlink_to(file)
            (folder / "chat_template.jinja").unlink()
            (folder / "chat_template.jinja").write_text(template)
        requests = []
        for n, (draw, own, _) in enumerate(made):
            asked = {
                key: value
                for key, value in draw["chat"].items()
                if key not in ("chat_template", "sanitize_control_tokens")
            }
            for c, messages in enumerate(draw["conversations"]):
                requests.append({"id": [n, c], "messages": with_folder(messages, own), **asked, **draw["generate"]})
        program = [self.arguments.build / f"examples/qwen3vl-{name}", "--model", folder, "--threads", "1"]
        program += ["--batch", "-", "--ignore-unknown"]
        rows = collections.defaultdict(list)
        inputs, answers = lines([*program, "--inputs"], requests, self.work), lines(program, requests, self.work)
        for request, about, answer in zip(requests, inputs, answers):
            rows[request["id"][0]].append({"inputs": about, "answer": answer})
        if name not in self.models:
            self.models[name] = reference.Model(ASSETS / name), self.processor(ASSETS / name)
        for n, (draw, own, rng) in enumerate(made):
            said, found = [], []
            for messages, ours in zip(draw["conversations"], rows[n]):
                one, differing = self.answer_differences(draw, own, rng, messages, ours, *self.models[name])
                said.append(one)
                found += differing
            self.report(draw, own, said, rows[n], found)

    def answer_differences(self, draw, folder, rng, messages, ours, model, processor):
        try:
            inputs, times = processor.inputs(
                messages, {"chat": draw["chat"], "options": {}, "keys": False}, folder, rng
            )
            said = {"input_ids": inputs["input_ids"][0].tolist(), "timestamps": times}
            said["prompt"] = processor.render(messages, draw["chat"])
            for grid in ("image_grid_thw", "video_grid_thw"):
                said[grid] = inputs[grid].tolist() if grid in inputs else []
            said["answers"], said["scores"] = model.answers(inputs, draw["generate"])
        except Exception as error:  # noqa: BLE001
            said = {"error": f"{type(error).__name__}: {error}"}
        about, answer = ours["inputs"], ours["answer"]
        if "error" in said or "error" in answer:
            both, documented = "error" in said and "error" in answer, self.documented(said, answer)
            self.count["errors of both"] += both
            self.count["documented"] += documented and not both
            one = f"error of one: {said.get('error')!r}, ours {answer.get('error')!r}"
            return said, [] if both or documented else [one]
        names = ["input_ids", "image_grid_thw", "video_grid_thw", "timestamps"]
        if not any(mark in about["prompt"] for mark in MARKS):
            names.append("prompt")
        found = [parting(name, said[name], about[name]) for name in names if said[name] != about[name]]
        many = answer.get("answers", [answer])
        for i, (theirs, mine) in enumerate(zip(said["answers"], [one["token_ids"] for one in many])):
            if theirs == mine:
                continue
            if said["scores"] is None:
                margin = model.margin(inputs, draw["generate"], mine, theirs)
            else:  # of two beams that are as good, either may be first
                mine_score = many[i].get("score")
                margin = float("inf") if mine_score is None else relative(said["scores"][i], mine_score)
            if abs(margin) < TIE:
                self.count["ties"] += 1
                break
            found.append(f"answer {i}: {theirs}, ours {mine} ({margin} less likely)")
        if len(said["answers"]) != len(many):
            found.append(f"{len(said['answers'])} answers, ours {len(many)}")
        elif said["scores"] is not None and not found and "score" in many[0]:
            if max(relative(a, one["score"]) for a, one in zip(said["scores"], many)) > TIE:
                found.append(f"scores: {said['scores']}, ours {[one['score'] for one in many]}")
        return said, found

    # ---- all

    def report(self, draw, folder, said, ours, found):
        self.count[draw["kind"]] += 1
        (folder / "reference.json").write_text(json.dumps(said))
        (folder / "ours.json").write_text(json.dumps(ours))
        if not found and not self.arguments.keep:
            subprocess.run(["rm", "-r", folder], check=True)
            return
        if not found:
            return
        self.count["findings"] += 1
        print(
            f"\n{draw['kind']} draw {draw['index']} (--seed {self.arguments.seed} --only {draw['index']}), kept in {folder}:"
        )
        for one in found[:4]:
            print("  " + (one if len(one) < 1500 else one[:1500] + " ..."))

    def run(self):
        some = (
            [self.arguments.only]
            if self.arguments.only is not None
            else range(self.arguments.first, self.arguments.first + self.arguments.draws)
        )
        some = [index for index in some if KINDS[index % len(KINDS)] in self.arguments.kinds]
        for begin in range(0, len(some), 100):
            part = some[begin : begin + 100]
            is_answer = lambda index: KINDS[index % len(KINDS)] == "answer"  # noqa: E731
            self.compare_inputs([index for index in part if not is_answer(index)])
            self.compare_answers([index for index in part if is_answer(index)])
            print(f"{min(begin + 100, len(some))} of {len(some)}: {dict(self.count)}", flush=True)
        return 1 if self.count["findings"] else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--build", type=pathlib.Path, default=REPOSITORY / "build", help="build folder with the programs"
    )
    parser.add_argument(
        "--checkpoint",
        type=pathlib.Path,
        default=ASSETS / "tiny-shapes",
        help="folder whose processor text and media draws use",
    )
    parser.add_argument("--draws", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0, help="number of the first draw")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--only", type=int, help="one draw by its number")
    parser.add_argument("--kinds", nargs="+", choices=sorted(set(KINDS)), default=sorted(set(KINDS)))
    parser.add_argument("--keep", action="store_true", help="keep all folders, not only those of draws that differ")
    parser.add_argument("--work", type=pathlib.Path, help="folder for the draws (default: a new one)")
    arguments = parser.parse_args()
    arguments.build = arguments.build.resolve()
    if arguments.work is not None:
        arguments.work.mkdir(parents=True, exist_ok=True)
    work = pathlib.Path(tempfile.mkdtemp(prefix="differential-", dir=arguments.work))
    sys.exit(Differential(arguments, work).run())


if __name__ == "__main__":
    main()

"""Runs this library and its peers in turn on the same weights and prints the comparison as Markdown.

compare_peers.sh prepares everything and calls this; see docs/performance/method.md. A peer that is not given is left out, and
its cells say so. Every sample is kept in --samples, so that a run that was cut off goes on where it was.
"""
import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time

NONE = "not available"


class Comparison:
    def __init__(self, options):
        self.options = options
        self.samples = {}  # "side/figure" -> list of numbers, one a round
        self.packed = False  # whether packed weights are in a file
        self.problems = {}  # side -> why there is no figure
        if options.samples and os.path.exists(options.samples):
            with open(options.samples) as file:
                kept = json.load(file)
            self.samples = kept["samples"]

    # --- Running ---

    def run(self, command, environment=None):
        """Standard output, standard error, seconds, peak memory in bytes. Raises RuntimeError with a reason."""
        print("  $ " + " ".join(command), file=sys.stderr, flush=True)
        with tempfile.TemporaryFile("w+", errors="replace") as errors:
            start = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, errors="replace",
                                       env={**os.environ, **(environment or {})})
            output = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            errors.seek(0)
            messages = errors.read()
        if process.returncode != 0:
            last = (output + messages).strip().splitlines()[-1:] or ["no output"]
            raise RuntimeError(f"exit code {process.returncode}: {last[0][:200]}")
        return output, messages, seconds, usage.ru_maxrss * 1024

    @staticmethod
    def json_in(output):
        """The JSON value that a program printed, possibly behind warnings of its libraries."""
        for found in re.finditer(r"^[\[{]", output, re.M):
            try:
                return json.JSONDecoder().raw_decode(output[found.start():])[0]
            except json.JSONDecodeError:
                continue
        raise RuntimeError("printed no JSON")

    def take(self, side, count, call):
        """One round of one side: call() gives its figures. `count` rounds are wanted in all."""
        done = max([len(v) for k, v in self.samples.items() if k.split("/")[0] == side] or [0])
        if done >= count or side in self.problems:
            return
        print(f"{side}, round {done + 1} of {count}", file=sys.stderr, flush=True)
        try:
            for figure, value in call().items():
                self.samples.setdefault(f"{side}/{figure}", []).append(value)
        except (RuntimeError, OSError, KeyError, IndexError) as error:
            self.problems[side] = str(error)
            print(f"  {side} failed: {error}", file=sys.stderr, flush=True)
        if self.options.samples:
            with open(self.options.samples, "w") as file:
                json.dump({"samples": self.samples}, file, indent=1)

    # --- The sides ---

    def ours(self, weights, prompt=0, decode=0, context=0, image=None, gguf=None):
        """`gguf`: with that file of llama.cpp's instead of the checkpoint."""
        o = self.options
        model = f"{o.gguf}-{gguf}.gguf" if gguf else o.checkpoint
        command = [os.path.join(o.programs, f"bench-model-{o.variant}"), "--model", model, "--weights", weights,
                   "--prompt-tokens", str(prompt), "--decode-tokens", str(decode), "--context", str(context), "--threads",
                   str(o.threads), "--roof", "--json"]
        if image:
            command += ["--image", image]
        if o.quick:
            command += ["--quick"]
        figures = self.json_in(self.run(command)[0])
        roof = figures.pop("roof")
        figures["fma_gflops"], figures["read_gbytes_per_second"] = roof["fma_gflops"], roof["read_gbytes_per_second"]
        figures["int8_gops"] = roof["int8_dot_gops"]
        figures["line_nanoseconds"] = roof["line_round_trip_nanoseconds"]
        return {key: value for key, value in figures.items() if isinstance(value, (int, float)) and value > 0}

    def ours_load(self):
        """Mapping and packing a checkpoint that `cat` has just read, so that it is in the page cache. Twice: of a virtual machine,
        the host may have taken back what memory is free, and finding it again can take ten times as long as all the rest.
        What the first run gave back it still has for the second."""
        o = self.options
        command = [os.path.join(o.programs, f"bench-model-{o.variant}"), "--model", o.checkpoint, "--weights", "bf16",
                   "--prompt-tokens", "0", "--decode-tokens", "0", "--threads", str(o.threads), "--json"]
        first, second = (self.json_in(self.run(command)[0])["load_seconds"] for _ in range(2))
        return {"load_seconds": second, "first_load_seconds": first}

    def ours_load_gguf(self, gguf):
        """As ours_load, of a GGUF file whose blocks are kept as they are stored."""
        o = self.options
        command = [os.path.join(o.programs, f"bench-model-{o.variant}"), "--model", f"{o.gguf}-{gguf}.gguf", "--weights",
                   "stored", "--prompt-tokens", "0", "--decode-tokens", "0", "--threads", str(o.threads), "--json"]
        first, second = (self.json_in(self.run(command)[0])["load_seconds"] for _ in range(2))
        return {"load_seconds": second, "first_load_seconds": first}

    def ours_packed(self):
        """Loading from the file of packed weights that the first start wrote."""
        o = self.options
        command = [os.path.join(o.programs, f"bench-model-{o.variant}"), "--model", o.checkpoint, "--weights", "bf16",
                   "--packed-cache", os.path.join(os.path.dirname(o.checkpoint), "packed"), "--prompt-tokens", "0",
                   "--decode-tokens", "0", "--threads", str(o.threads), "--json"]
        if not self.packed:
            self.run(command)
            self.packed = True
        return {"load_seconds": self.json_in(self.run(command)[0])["load_seconds"]}

    def llama_bench(self, weights, prompt=0, decode=0, depth=0):
        o = self.options
        command = [os.path.join(o.llama, "llama-bench"), "-m", f"{o.gguf}-{weights}.gguf", "-t", str(o.threads), "-p",
                   str(prompt), "-n", str(decode), "-d", str(depth), "-fa", "on", "-r", "1", "-o", "json"]
        (test,) = self.json_in(self.run(command)[0])
        return {("prefill" if prompt else "decode") + "_tokens_per_second": test["avg_ts"]}

    def llama_image(self, image):
        """To the first token: the image's encoding and the evaluation of the whole prompt, without loading."""
        o = self.options
        command = [os.path.join(o.llama, "llama-mtmd-cli"), "-m", f"{o.gguf}-Q8_0.gguf", "--mmproj", f"{o.gguf}-mmproj.gguf",
                   "--image", image, "-p", "Describe this image.", "-n", "1", "-t", str(o.threads), "--temp", "0", "-c", "4096",
                   "-fa", "on", "-v"]
        output, messages, _, memory = self.run(command)
        output += messages
        encoding = [int(ms) for ms in re.findall(r"(?:batch encoding done in|slice encoded in) (\d+) ms", output)]
        evaluation = re.search(r"prompt eval time = *([\d.]+) ms / *(\d+) tokens", output)
        if not encoding or not evaluation:
            raise RuntimeError("llama-mtmd-cli printed no times; its output has changed")
        vision = max(encoding) * 1e-3
        return {"vision_seconds": vision, "time_to_first_token_seconds": vision + float(evaluation[1]) * 1e-3,
                "prompt_tokens": int(evaluation[2]), "peak_memory_bytes": memory}

    def transformers(self):
        o = self.options
        output, *_ = self.run([o.python, here("peer_transformers.py"), o.checkpoint, str(o.threads), str(o.prompt), "8",
                                 *o.sizes], {"HF_HUB_OFFLINE": "1"})
        return self.json_in(output)

    def cat(self, path=None):
        path = path or os.path.join(self.options.checkpoint, "model.safetensors")
        return {"seconds": self.run(["sh", "-c", 'cat "$0" >/dev/null', path])[2]}

    def our_processing(self):
        o = self.options
        return self.json_in(self.run([
            os.path.join(o.programs, "bench-processing"), "--tokenizer", self.tokenizer(), "--image", o.photo, "--text", o.text,
            "--bytes", str(o.bytes), "--json"])[0])

    def their_processing(self):
        o = self.options
        return self.json_in(self.run([o.python, here("peer_processing.py"), self.tokenizer(), o.photo, o.text, str(o.bytes),
                                      "3"], {"HF_HUB_OFFLINE": "1"})[0])

    def tokenizer(self):
        return os.path.join(self.options.checkpoint, "tokenizer.json")

    # --- Everything, A B A B ---

    def measure(self):
        o = self.options
        for number in range(1, o.runs + 1):
            repeats = range((number - 1) * o.repeats + 1, number * o.repeats + 1)
            for weights, gguf in (("bf16", "bf16"), ("q8", "Q8_0"), ("q4", "Q4_0")):
                self.take("ours " + weights, number, lambda: self.ours(weights, o.prompt))
                if o.llama:
                    self.take("llama " + gguf, number, lambda: self.llama_bench(gguf, prompt=o.prompt))
                for repeat in repeats:
                    self.take(f"ours {weights} decode", repeat, lambda: self.ours(weights, 0, o.decode, o.contexts[0]))
                    if o.llama:
                        self.take(f"llama {gguf} decode", repeat,
                                  lambda: self.llama_bench(gguf, decode=o.decode, depth=o.contexts[0]))
            if o.llama:  # both read the same file
                for gguf in o.stored:
                    self.take(f"stored {gguf}", number, lambda: self.ours("stored", o.prompt, gguf=gguf))
                    self.take(f"llama {gguf}", number, lambda: self.llama_bench(gguf, prompt=o.prompt))
                    for repeat in repeats:
                        self.take(f"stored {gguf} decode", repeat,
                                  lambda: self.ours("stored", 0, o.decode, o.contexts[0], gguf=gguf))
                        self.take(f"llama {gguf} decode", repeat,
                                  lambda: self.llama_bench(gguf, decode=o.decode, depth=o.contexts[0]))
                        self.take(f"cat {gguf}", repeat, lambda: self.cat(f"{o.gguf}-{gguf}.gguf"))
                        self.take(f"stored {gguf} load", repeat, lambda: self.ours_load_gguf(gguf))
            if o.bf16_dot:
                self.take("ours bf16-dot", number, lambda: self.ours("bf16-dot", o.prompt))
            for weights in o.byte_activations:
                self.take("ours " + weights, number, lambda: self.ours(weights, o.prompt))
                for repeat in repeats:
                    self.take(f"ours {weights} decode", repeat, lambda: self.ours(weights, 0, o.decode, o.contexts[0]))
            if o.python:
                self.take("transformers", number, self.transformers)
            for context in o.contexts[1:]:
                # Filling its cache takes llama.cpp minutes, so that the longest context is measured less often.
                rounds = 1 if context > 8192 else number
                self.take(f"ours q8 at {context}", number, lambda: self.ours("q8", 0, o.decode, context))
                if o.llama:
                    self.take(f"llama Q8_0 at {context}", rounds,
                              lambda: self.llama_bench("Q8_0", decode=o.decode, depth=context))
            for size, image in zip(o.sizes, o.images):
                for repeat in repeats:
                    self.take(f"ours vision {size}", repeat, lambda: self.ours("bf16", prompt=8, image=image))
                    if o.bf16_dot:
                        self.take(f"ours dot vision {size}", repeat, lambda: self.ours("bf16-dot", prompt=8, image=image))
                    if o.llama:
                        self.take(f"llama image {size}", repeat, lambda: self.llama_image(image))
            # As many words as llama.cpp's prompt has around the image.
            self.take("ours question", number, lambda: self.ours("q8", prompt=12, decode=1, image=o.images[0]))
            for repeat in repeats:
                self.take("cat", repeat, self.cat)
                self.take("ours load", repeat, self.ours_load)
                self.take("ours packed", repeat, self.ours_packed)
            if o.photo:
                self.take("ours processing", number, self.our_processing)
                if o.python:
                    self.take("transformers processing", number, self.their_processing)

    # --- The page ---

    def values(self, key):
        return self.samples.get(key, [])

    def cell(self, key, scale=1.0, unit=""):
        values = sorted(value * scale for value in self.values(key))
        if not values:
            return "failed, see below" if key.split("/")[0] in self.problems else NONE
        text = f"{statistics.median(values):.4g}"
        if len(values) > 1:
            text += f" ({values[0]:.4g} to {values[-1]:.4g})"
        return text + unit

    def row(self, name, ours, peer, peer_name, wanted, faster_is_more=True, at_most=False, scale=1.0, unit=""):
        """`wanted`: the least ratio of speeds, or, with `at_most`, the greatest ratio of ours to the peer's."""
        a, b = self.values(ours), self.values(peer)
        ratio, met = "", ""
        if a and b:
            value = statistics.median(a) / statistics.median(b)
            if not at_most and not faster_is_more:
                value = 1.0 / value
            ratio = f"{value:.2f}"
            met = "yes" if (value <= wanted if at_most else value >= wanted) else "**no**"
        goal = f"{'at most' if at_most else 'at least'} {wanted:g}"
        return (f"| {name} | {self.cell(ours, scale, unit)} | {peer_name} | {self.cell(peer, scale, unit)} | {ratio} | {goal} | "
                f"{met} |")

    def share(self, name, key, wanted):
        values = self.values(key)
        met = "" if not values else "yes" if statistics.median(values) >= wanted else "**no**"
        return f"| {name} | {self.cell(key, unit=' %')} | at least {wanted:g} % | {met} |"

    def rows(self):
        o, row = self.options, self.row
        first = o.contexts[0]
        prefill, decode, vision = "/prefill_tokens_per_second", "/decode_tokens_per_second", "/vision_seconds"
        speed = dict(unit=" tok/s")
        yield row(f"prefill {o.prompt} tokens, bf16", "ours bf16" + prefill, "llama bf16" + prefill, "llama.cpp bf16", 1.5, **speed)
        yield row(f"prefill {o.prompt} tokens, bf16", "ours bf16" + prefill, "transformers" + prefill, "transformers f32", 1.35,
                  **speed)
        if o.bf16_dot:
            yield row(f"prefill {o.prompt} tokens, bf16-dot", "ours bf16-dot" + prefill, "llama bf16" + prefill, "llama.cpp bf16",
                      1.5, **speed)
        yield row(f"prefill {o.prompt} tokens, 8-bit", "ours q8" + prefill, "llama Q8_0" + prefill, "llama.cpp Q8_0", 1.3, **speed)
        yield row(f"prefill {o.prompt} tokens, 4-bit", "ours q4" + prefill, "llama Q4_0" + prefill, "llama.cpp Q4_0", 1.2, **speed)
        for weights, gguf, bits, wanted in (("bf16", "bf16", "bf16", 1.1), ("q8", "Q8_0", "8-bit", 1.15), ("q4", "Q4_0", "4-bit", 1.2)):
            yield row(f"decode at {first} tokens, {bits}", f"ours {weights} decode" + decode, f"llama {gguf} decode" + decode,
                      "llama.cpp " + gguf, wanted, **speed)
        for weights in o.byte_activations:
            gguf = {"q8-dot": "Q8_0", "q4-dot": "Q4_0"}[weights]
            yield row(f"prefill {o.prompt} tokens, {weights}", f"ours {weights}{prefill}", f"llama {gguf}{prefill}",
                      "llama.cpp " + gguf, 1.5, **speed)
            yield row(f"decode at {first} tokens, {weights}", f"ours {weights} decode{decode}", f"llama {gguf} decode{decode}",
                      "llama.cpp " + gguf, 1.15, **speed)
        for gguf in o.stored:
            yield row(f"prefill {o.prompt} tokens, {gguf}.gguf", f"stored {gguf}{prefill}", f"llama {gguf}{prefill}",
                      "llama.cpp, the same file", 1.0, **speed)
            yield row(f"decode at {first} tokens, {gguf}.gguf", f"stored {gguf} decode{decode}", f"llama {gguf} decode{decode}",
                      "llama.cpp, the same file", 1.0, **speed)
            yield row(f"map and pack {gguf}.gguf", f"stored {gguf} load/load_seconds", f"cat {gguf}/seconds",
                      "`cat FILE >/dev/null`", 1.5, at_most=True, unit=" s")
        for context, wanted in zip(o.contexts[1:], (1.7, 2.0)):
            yield row(f"decode at {context} tokens, 8-bit", f"ours q8 at {context}" + decode, f"llama Q8_0 at {context}" + decode,
                      "llama.cpp Q8_0", wanted, **speed)
        seconds = dict(faster_is_more=False, unit=" s")
        for size in o.sizes:
            yield row(f"vision tower, {size}, bf16", f"ours vision {size}" + vision, f"transformers{vision}_{size}", "transformers f32",
                      1.15, **seconds)
            yield row(f"vision tower, {size}, bf16", f"ours vision {size}" + vision, f"llama image {size}" + vision,
                      "llama.cpp, f16 tower", 1.4, **seconds)
            if o.bf16_dot:
                yield row(f"vision tower, {size}, bf16-dot", f"ours dot vision {size}" + vision, f"llama image {size}" + vision,
                          "llama.cpp, f16 tower", 1.4, **seconds)
        token = "/time_to_first_token_seconds"
        yield row(f"time to first token, {o.sizes[0]} and a question, 8-bit", "ours question" + token,
                  f"llama image {o.sizes[0]}" + token, "llama.cpp Q8_0", 0.65, at_most=True, unit=" s")
        yield row("map and pack the checkpoint, bf16", "ours load/load_seconds", "cat/seconds", "`cat FILE >/dev/null`", 2.5,
                  at_most=True, unit=" s")
        yield row("the same, the first of each two runs", "ours load/first_load_seconds", "cat/seconds", "`cat FILE >/dev/null`",
                  2.5, at_most=True, unit=" s")
        yield row("load from a packed cache file, bf16", "ours packed/load_seconds", "cat/seconds", "`cat FILE >/dev/null`", 1.2,
                  at_most=True, unit=" s")
        memory = "/peak_memory_bytes"
        yield row(f"peak memory, {o.sizes[0]} and a question, 8-bit", "ours question" + memory, f"llama image {o.sizes[0]}" + memory,
                  "llama.cpp Q8_0", 1.0, at_most=True, scale=1e-9, unit=" GB")
        text = "/tokenizer_mbytes_per_second"
        for name, figure in (("one text", text), ("texts of 4000 bytes", "/tokenizer_short_mbytes_per_second")):
            yield row(f"tokenizer, {name}, one thread", "ours processing" + figure, "transformers processing" + figure,
                      "tokenizers", 2.0, unit=" MB/s")
        yield row("image processor, 12 megapixels, one thread", "ours processing/image_process_seconds",
                  "transformers processing/image_process_seconds", "transformers, torchvision", 2.0, **seconds)
        yield row("decoding the JPEG, one thread", "ours processing/image_decode_seconds", "transformers processing/image_decode_seconds",
                  "Pillow", 1.0, **seconds)

    def page(self):
        o = self.options
        roof = [key for key in self.samples if key.startswith("ours ") and key.endswith("/fma_gflops")]
        best = {figure: max((v for key in self.samples if key.endswith("/" + figure) for v in self.values(key)), default=0.0)
                for figure in ("fma_gflops", "int8_gops", "read_gbytes_per_second")}
        yield f"# Qwen3-VL {o.variant}: this library and its peers"
        yield ""
        yield from describe_machine(o)
        yield ""
        if roof:
            yield (f"Roof, the best of all runs: {best['fma_gflops']:.1f} GFLOP/s of f32 multiply-adds, "
                   f"{best['int8_gops']:.1f} Gop/s of 8-bit dot products, {best['read_gbytes_per_second']:.1f} GB/s of memory reads.")
            line = sorted(v for key in self.samples if key.endswith("/line_nanoseconds") for v in self.values(key))
            if line:
                yield (f"A line of the cache took {line[0]:.0f} to {line[-1]:.0f} ns to another thread and back "
                       f"(median {statistics.median(line):.0f}).")
            yield ""
        yield "Weights are random and the same for all. Medians of runs in turn, in brackets the lowest and the highest. A ratio is the"
        yield "speed of this library divided by the peer's; where 'at most' is wanted, its time or memory divided by the peer's."
        yield ""
        if o.bf16_dot:
            yield ("Rows of bf16 round nothing but weights here; llama.cpp rounds activations to bf16 for these products, too. Rows of "
                   "bf16-dot do the same.")
            yield ""
        if o.byte_activations:
            yield ("Rows of q8-dot and q4-dot round activations to 8 bits in groups of 32, as llama.cpp does; those of 8-bit and 4-bit "
                   "to 16 bits.")
            yield ""
        yield "| | this library | peer | peer's figure | ratio | wanted | met |"
        yield "|---|---|---|---|---|---|---|"
        yield from self.rows()
        yield ""
        yield "| share of the roof, measured in the same run | | wanted | met |"
        yield "|---|---|---|---|"
        yield self.share("prefill, bf16: of the multiply-adds", "ours bf16/prefill_percent_of_fma_peak", 80)
        for weights, bits, wanted in (("bf16", "bf16", 90), ("q8", "8-bit", 90), ("q4", "4-bit", 80)):
            yield self.share(f"decode at {o.contexts[0]} tokens, {bits}: of memory reads",
                             f"ours {weights} decode/decode_percent_of_read_bandwidth", wanted)
        if self.problems:
            yield ""
            yield "Not measured:"
            yield from (f"- {side}: {problem}" for side, problem in sorted(self.problems.items()))


def here(name):
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), name)


def describe_machine(options):
    """Processor and the flags that kernels look at, memory, and versions of the peers."""
    name, flags = platform.processor() or platform.machine(), []
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as file:
            info = file.read()
        found = re.search(r"^model name\s*: (.*)$", info, re.M)
        name = found[1] if found else name
        found = re.search(r"^flags\s*: (.*)$", info, re.M)
        flags = [flag for flag in (found[1].split() if found else []) if re.match(r"avx|fma|f16c|bmi2|amx", flag)]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    yield f"{name}, {os.cpu_count()} processors, {options.threads} threads used, {memory:.0f} GB of memory; flags: `{' '.join(flags)}`."
    for note in options.note:
        yield note


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", required=True, help="folder of bench-model-<variant> and bench-processing")
    parser.add_argument("--variant", default="2b")
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--gguf", help="path of the converted files up to -bf16.gguf, -Q8_0.gguf, ...")
    parser.add_argument("--llama", help="folder of llama-bench and llama-mtmd-cli")
    parser.add_argument("--python", help="a python that has torch and transformers")
    parser.add_argument("--images", nargs=2, required=True, help="two images")
    parser.add_argument("--sizes", nargs=2, default=["512x512", "1024x768"], help="their sizes")
    parser.add_argument("--photo", help="a large JPEG for the image processor")
    parser.add_argument("--text", help="a text for the tokenizer")
    parser.add_argument("--bytes", type=int, default=4_000_000, help="so much of it")
    parser.add_argument("--runs", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--repeats", type=int, default=3,
                        help="pairs of a round, in turn, of what takes seconds: decoding, vision, loading (default: 3)")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--decode", type=int, default=32)
    parser.add_argument("--contexts", type=int, nargs="+", default=[512, 4096, 16384], help="one, two or three")
    parser.add_argument("--stored", nargs="*", default=[], metavar="TYPE",
                        help="types of GGUF files, such as Q8_0 Q4_K_M, that this library reads, too (precision stored)")
    parser.add_argument("--samples", help="keep all samples in this file, and go on from it")
    parser.add_argument("--bf16-dot", action="store_true", help="also with bf16 products (precision bf16-dot)")
    parser.add_argument("--byte-activations", nargs="*", default=[], choices=["q8-dot", "q4-dot"],
                        help="also with activations of 8 bits (these precisions)")
    parser.add_argument("--note", action="append", default=[], help="a line for the page, such as versions")
    parser.add_argument("--quick", action="store_true", help="measure the roof in a hurry, to see that all works")
    return parser.parse_args()


def main():
    comparison = Comparison(arguments())
    comparison.measure()
    print("\n".join(comparison.page()))


if __name__ == "__main__":
    main()

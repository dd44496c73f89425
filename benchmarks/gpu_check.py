"""The steps of gpu_check.sh, each with a time limit, and their table."""
import argparse
import concurrent.futures
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

from gpu_check_table import Table

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(HERE)
TESTS = ["operations_test", "attention_test", "bf16_attention_test", "gemv_test", "linear_test", "f8_test",
         "f8_blocks_test", "f8_cache_test", "f8_experts_test", "stored_test", "sampling_test", "handle_test", "random_test",
         "checkpoint_test_tiny-shapes", "checkpoint_test_tiny-shapes-moe"]
PARITY = ["dense_small", "moe_small"]
# The part of a test that compute-sanitizer gets: it makes kernels a hundred times slower.
SANITIZED = {"operations_test": "experts", "attention_test": "causal", "bf16_attention_test": "causal",
             "gemv_test": "narrow", "sampling_test": "*"}
TOOLS = ["memcheck", "racecheck", "initcheck", "synccheck"]
STEPS = ["tests", "sanitizer", "layers", "models", "transformers"]
SANITIZER_FAILED = 9


class Check:
    def __init__(self, options):
        self.options = options
        self.start = time.monotonic()
        self.end = self.start + 60 * options.minutes
        self.measuring = self.start + 0.6 * 60 * options.minutes  # benchmarks begin then at the latest
        self.table = Table()
        self.lock = threading.Lock()
        self.broken = set()  # targets that did not build
        self.pool = concurrent.futures.ThreadPoolExecutor(max_workers=4)
        self.begun, self.pending = set(), []
        self.logs = 0

    def say(self, text):
        print(f"[{time.monotonic() - self.start:5.0f} s] {text}", file=sys.stderr, flush=True)

    def note(self, *cells, failed=False):
        with self.lock:
            self.table.add(*cells, failed=failed)
            if self.options.output and not self.options.dry_run:
                with open(self.options.output, "w") as file:
                    file.write(self.table.markdown())

    def run(self, command, limit, until=None):
        """Exit code (None: cut off), output, seconds. The whole process group goes when time is up."""
        code, output, seconds = self.run_unlogged(command, limit, until)
        if self.options.logs and not self.options.dry_run:
            with self.lock:
                self.logs += 1
                name = f"{self.logs:02}-{re.sub(r'[^A-Za-z0-9]+', '-', ' '.join([os.path.basename(command[0]), *command[1:]]))[:80]}.log"
                with open(os.path.join(self.options.logs, name), "w") as file:
                    file.write(f"$ {' '.join(command)}\n{output}\nexit code {code}, {seconds:.1f} s\n")
        return code, output, seconds

    def run_unlogged(self, command, limit, until):
        self.say("$ " + " ".join(command if len(command) < 12 else command[:11] + ["..."]))
        if self.options.dry_run:
            return 0, "", 0.0
        limit = min(limit, (until or self.end) - time.monotonic())
        begin = time.monotonic()
        if limit < 1:
            return None, "no time was left", 0.0
        try:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                       errors="replace", start_new_session=True)
        except OSError as error:
            return 127, str(error), 0.0
        try:
            output, _ = process.communicate(timeout=limit)
            code = process.returncode
        except subprocess.TimeoutExpired:
            kill_group(process.pid)
            output, code = process.communicate()[0], None
        return code, output, time.monotonic() - begin

    @staticmethod
    def why(code, output, seconds):
        if code is None:
            return f"cut off after {seconds:.0f} s" if seconds else "no time was left"
        lines = [line for line in output.strip().splitlines() if re.search(r"rror|FAIL|no CUDA", line)]
        return f"exit code {code}: " + (lines or output.strip().splitlines()[-1:] or ["no output"])[0].strip()[:160]

    def program(self, folder, name):
        return os.path.join(self.options.build, folder, name)

    # --- Building, and tests as soon as they are there ---

    def targets(self):
        variants = self.options.variants
        layers = [v for v in self.options.layers if v in variants]
        return (["device_" + test for test in TESTS] + ["device_parity-" + model for model in PARITY] +
                [f"bench-model-{v}-cuda" for v in variants] + [f"bench-layers-{v}-cuda" for v in layers])

    def build(self):
        build = self.options.build
        configure = ["cmake", "-S", SOURCE, "-B", build, "-DCMAKE_BUILD_TYPE=Release", "-DQWEN3VL_CUDA_DEVICE_TESTS=ON",
                     "-DQWEN3VL_BUILD_BENCHMARKS=ON", "-DQWEN3VL_BENCHMARK_VARIANTS=", "-DQWEN3VL_VARIANTS=",
                     "-DQWEN3VL_CUDA_BENCHMARK_VARIANTS=" + ";".join(self.options.variants)]
        configure += [f"-DQWEN3VL_CUDA_BENCHMARK_PRECISIONS_{variant}=bf16;fp8;fp8-blocks" for variant in self.fp8_variants()]
        if shutil.which("ninja"):
            configure += ["-G", "Ninja"]
        code, output, seconds = self.run(configure, 120, self.measuring)
        if code != 0:
            self.broken.update(self.targets())
            return self.note("build", "configuring: " + self.why(code, output, seconds), failed=True)
        command = ["cmake", "--build", build, "--parallel", str(self.options.jobs), "--target", *self.targets()]
        if shutil.which("ninja"):
            command += ["--", "-k", "0"]
        self.say("$ " + " ".join(command))
        if self.options.dry_run:
            return self.note("build", "not run")
        begin = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   errors="replace", start_new_session=True)
        late = threading.Timer(max(1.0, self.measuring - time.monotonic()), kill_group, (process.pid,))
        late.start()
        first_error = ""
        for line in process.stdout:
            if found := re.match(r"FAILED: .*?CMakeFiles/([^/]+)\.dir/", line):
                self.broken.add(found[1])
            elif found := re.search(r"Linking C\w+ executable \S*?device_(\S+)$", line.strip()):
                self.test(found[1])
            if not first_error and "error" in line:
                first_error = ": " + line.strip()[:160]
        code = process.wait()
        late.cancel()
        seconds = time.monotonic() - begin
        missing = [t for t in self.targets() if t in self.broken or not self.built(t)]
        self.broken.update(missing)
        words = f"{len(self.targets()) - len(missing)} of {len(self.targets())} programs in {seconds:.0f} s"
        self.note("build", words + (first_error if missing else ""), failed=bool(missing) or code != 0)

    def fp8_variants(self):
        return [v for v in self.options.fp8 if v in self.options.variants]

    def built(self, target):
        return os.access(self.program("tests" if target.startswith("device_") else "benchmarks", target), os.X_OK)

    def test(self, name):
        """Begins a test, and its parts under compute-sanitizer."""
        if name in self.begun:
            return
        self.begun.add(name)
        if "tests" in self.options.steps:
            self.pending.append(self.pool.submit(self.run_test, name))
        if name in SANITIZED and self.options.sanitizer:
            for tool in TOOLS:
                self.pending.append(self.pool.submit(self.sanitize, tool, name))

    def run_test(self, name):
        command = [self.program("tests", "device_" + name)]
        if name.startswith("parity-"):
            cases = os.path.join(SOURCE, "tests", "golden", "cases")
            model = name.removeprefix("parity-")
            command += sorted(os.path.join(folder, file) for folder, _, files in os.walk(cases) for file in files
                              if file.startswith(model + "_") and file.endswith(".json"))
        code, output, seconds = self.run(command, 90, self.measuring)
        self.result("test " + name, "passed", code, output, seconds)

    def sanitize(self, tool, name):
        part = SANITIZED[name]
        command = [self.options.sanitizer, "--tool", tool, "--error-exitcode", str(SANITIZER_FAILED),
                   self.program("tests", "device_" + name), "--run_test=" + part]
        code, output, seconds = self.run(command, 60, self.measuring)
        summary = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: .*", output)
        self.result(f"{tool} {name} ({part})", "clean", code, summary[-1] if summary else output, seconds)

    def result(self, what, good, code, output, seconds):
        words = f"{good}, {seconds:.1f} s" if code == 0 else self.why(code, output, seconds)
        self.note(what, "not run" if self.options.dry_run else words, failed=code != 0)

    def tests(self):
        for name in TESTS + ["parity-" + model for model in PARITY]:
            if "device_" + name in self.broken or not (self.options.dry_run or self.built("device_" + name)):
                self.note("test " + name, "not built", failed=True)
            else:
                self.test(name)
        if not self.options.sanitizer and "sanitizer" in self.options.steps:
            self.note("compute-sanitizer", "not installed")
        concurrent.futures.wait(self.pending)
        for done in self.pending:
            done.result()

    # --- Benchmarks, one after another ---

    def figures(self, what, command, limit):
        """The JSON object that a program prints, or None with a line in the table."""
        code, output, seconds = self.run(command, limit)
        if self.options.dry_run:
            return self.note(what, "not run")
        if code == 0 and (begin := re.search(r"^\{", output, re.M)):
            try:
                return json.JSONDecoder().raw_decode(output[begin.start():])[0]
            except json.JSONDecodeError as error:
                output, code = f"error: no JSON: {error}", 1
        self.note(what, self.why(code, output, seconds), failed=True)
        return None

    def benchmark(self, target, what, arguments, limit=60):
        if target in self.broken or not (self.options.dry_run or self.built(target)):
            return self.note(what, "not built", failed=True)
        return self.figures(what, [self.program("benchmarks", target), "--json", *arguments], limit)

    def layers(self, variant):
        arguments = ["--filter", "moe", "--tokens", "1,8,64,512,4096"] if variant == "30b-a3b" else []
        found = self.benchmark(f"bench-layers-{variant}-cuda", f"{variant} layers", arguments, 90)
        if found:
            self.table.layers(variant, found)
            self.note()

    def model(self, variant, weights="bf16"):
        target = f"bench-model-{variant}-cuda"
        runs = [["--prompt-tokens", "512", "--context", "512", "--sequences", "1", "--decode-tokens", "64"],
                ["--prompt-tokens", "4096", "--prefill-chunk", "4096", "--context", "512", "--sequences", "8",
                 "--decode-tokens", "32"],
                ["--prompt-tokens", "0", "--context", "512", "--sequences", "64", "--decode-tokens", "32"],
                ["--image", "1024x768", "--prompt-tokens", "32", "--decode-tokens", "0", "--prefill-chunk", "4096"]]
        name = variant
        if weights != "bf16":  # the vision tower is the same
            name, runs = f"{variant} {weights}", runs[:-1]
        for arguments in runs:
            what = f"{name} " + " ".join(arguments[:2])
            found = self.benchmark(target, what, ["--random", "--runs", "3", "--weights", weights, *arguments])
            if found:
                self.table.model(name, found)
                self.note()

    def peer(self, variant):
        command = [self.options.python, os.path.join(HERE, "peer_transformers_cuda.py"), variant]
        found = self.figures(f"{variant} transformers", command, 75)
        if found:
            self.table.peer(variant, found)
            self.note()

    def has_torch(self):
        code, _, _ = self.run([self.options.python, "-c", "import torch, transformers; assert torch.cuda.is_available()"], 60)
        return code == 0

    def everything(self):
        if self.options.no_build:
            self.note("build", "as it was found")
        else:
            self.build()
        steps = self.options.steps
        if "tests" in steps or "sanitizer" in steps:
            self.tests()
        if "layers" in steps:
            for variant in self.options.layers:
                if variant in self.options.variants:
                    self.layers(variant)
        if "models" in steps:
            for variant in self.options.variants:
                self.model(variant)
            for variant in self.fp8_variants():
                for weights in ("fp8", "fp8-blocks"):
                    self.model(variant, weights)
        if "transformers" not in steps:
            return
        if self.options.dry_run or self.has_torch():
            for variant in self.options.peers or self.options.variants:
                self.peer(variant)
        else:
            self.note("transformers", "torch with CUDA and transformers are not installed")


def kill_group(group):
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it ended by itself


def gpu():
    """Name, memory, compute capability and driver of the first GPU, or why there is none."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,compute_cap,driver_version", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    lines = found.stdout.strip().splitlines()
    if found.returncode != 0 or not lines:
        return None, ((found.stdout + found.stderr).strip().splitlines() or ["nvidia-smi lists none"])[-1]
    return lines[0].strip(), ""


def main():
    parser = argparse.ArgumentParser(prog="gpu_check.sh", description=__doc__)
    words = lambda value: [word for word in value.replace(",", " ").split() if word]  # noqa: E731
    parser.add_argument("--build", default=os.path.join(SOURCE, "build-gpu"), help="build folder")
    parser.add_argument("--no-build", action="store_true", help="run what is in the build folder")
    parser.add_argument("--minutes", type=float, default=10, help="for everything (default: 10)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 4, help="compilers at once, up to 3 GB each")
    parser.add_argument("--variants", type=words, default=words("2b 4b 8b 30b-a3b"))
    parser.add_argument("--layers", type=words, default=words("8b 30b-a3b"), help="variants whose layers are measured")
    parser.add_argument("--fp8", type=words, default=words("8b"), help="variants that are measured in fp8, too")
    parser.add_argument("--peers", type=words, default=[], help="variants of transformers (default: --variants)")
    parser.add_argument("--steps", type=words, default=STEPS, help="some of " + ", ".join(STEPS) + " (default: all)")
    parser.add_argument("--logs", help="a folder for all that each step printed")
    parser.add_argument("--python", default=sys.executable, help="a Python with torch and transformers")
    parser.add_argument("--sanitizer", default=shutil.which("compute-sanitizer") or "", help="compute-sanitizer")
    parser.add_argument("--output", help="also write the table into this file, after each step")
    parser.add_argument("--dry-run", action="store_true", help="only show the steps")
    options = parser.parse_args()
    if unknown := set(options.steps) - set(STEPS):
        parser.error(f"--steps has no {', '.join(sorted(unknown))}; there are {', '.join(STEPS)}")
    if options.logs:
        os.makedirs(options.logs, exist_ok=True)
    if "sanitizer" not in options.steps:
        options.sanitizer = ""
    elif options.dry_run:
        options.sanitizer = options.sanitizer or "compute-sanitizer"
    name, why = gpu()
    if name is None and not options.dry_run:
        print(f"gpu_check.sh: no GPU here: {why}", file=sys.stderr)
        return 3
    check = Check(options)
    check.table.device = name or "no GPU: a dry run"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        check.everything()
    finally:
        check.pool.shutdown(wait=False, cancel_futures=True)
        print(check.table.markdown(), flush=True)
    return 1 if check.table.failed else 0


if __name__ == "__main__":
    sys.exit(main())

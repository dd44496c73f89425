"""benchmarks/gpu_check.sh without a GPU: its dry run, its word where there is none, and its table from programs that
only pretend. usage: gpu_check_test.py [BENCH_LAYERS]     (the emulated bench-layers, whose JSON is then in the table)"""
import json
import os
import stat
import subprocess
import sys
import tempfile
import time
import unittest

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
SCRIPT = os.path.join(SOURCE, "benchmarks", "gpu_check.sh")
LAYERS = sys.argv.pop() if len(sys.argv) > 1 else ""

# A run of bench-model: half of what it says is read off its arguments.
MODEL = """
import json, sys
def of(name, default): return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default
sequences, prompt, image = int(of("--sequences", 1)), int(of("--prompt-tokens", 512)), "--image" in sys.argv
if "4b" in sys.argv[0]: sys.exit("error: out of device memory: 5 bytes more are needed")
print("a warning")
print(json.dumps({"decode_tokens": int(of("--decode-tokens", 32)), "sequences": sequences, "context": 512,
                  "decode_tokens_per_second": 700.0 * sequences, "decode_gbytes_per_second": 2514.0,
                  "image_tokens": 768 if image else 0, "vision_seconds": 0.01, "vision_gflops": 4e5,
                  "time_to_first_token_seconds": 0.05, "prompt_tokens": prompt + (770 if image else 0),
                  "prefill_tokens_per_second": 50000.0, "prefill_gflops": 4.945e5, "device_bytes": 5e9}, indent=2))
"""
LAYER = {"name": "text/attention/sequences:1/tokens:16384/context:0", "seconds": 1e-3, "gbytes_per_second": 100.0,
         "tflops": 494.5, "limited_by": "arithmetic"}
PEAKS = {"gbytes_per_second": 3016.8, "tflops": 791.2, "nominal_gbytes_per_second": 3352, "product": 8192}
# torch and transformers, as far as gpu_check.py sees them.
PYTHON = """
import json, sys
if sys.argv[1] == "-c": sys.exit(0)
print(json.dumps({"transformers": "5.0", "torch": "2.9", "attention": "sdpa", "prefill_512": 25000.0, "decode_1": 35.0,
                  "vision_seconds": 0.03, "errors": {"decode_64": "out of memory"}}))
"""


class GpuCheck(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def program(self, path, text, interpreter=sys.executable):
        path = os.path.join(self.folder.name, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(f"#!{interpreter}\n{text}\n")
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
        return path

    def check(self, *arguments, gpu=None):
        """Exit code, standard output, standard error; nvidia-smi is what `gpu` says, or not there."""
        links = os.path.join(self.folder.name, "bin")
        os.makedirs(links, exist_ok=True)
        for name in ("bash", "dirname", "python3"):
            target = os.path.join(links, name)
            if not os.path.exists(target):
                os.symlink(sys.executable if name == "python3" else f"/usr/bin/{name}", target)
        if gpu is not None:
            self.program("bin/nvidia-smi", gpu)
        done = subprocess.run(["/usr/bin/env", "bash", SCRIPT, *arguments], capture_output=True, text=True,
                              env={"PATH": links, "PYTHONDONTWRITEBYTECODE": "1"}, timeout=120)
        return done.returncode, done.stdout, done.stderr

    def test_without_gpu(self):
        code, output, errors = self.check()
        self.assertEqual((code, output), (3, ""))
        self.assertRegex(errors, r"^gpu_check\.sh: no GPU here: [^\n]+\n$")
        code, output, errors = self.check(gpu="import sys; print('No devices were found'); sys.exit(6)")
        self.assertEqual((code, output, errors), (3, "", "gpu_check.sh: no GPU here: No devices were found\n"))

    def test_dry_run(self):
        code, output, errors = self.check("--dry-run", "--variants", "2b 8b")
        self.assertEqual(code, 0, errors)
        for step in ("-DQWEN3VL_CUDA_DEVICE_TESTS=ON", "--target device_operations_test", "bench-model-8b-cuda",
                     "--tool racecheck", "device_parity-moe_small", "bench-layers-8b-cuda --json",
                     "peer_transformers_cuda.py 2b", "bench-model-8b-cuda --json --random --runs 3 --weights fp8",
                     "bench-model-8b-cuda --json --random --runs 3 --weights fp8-blocks"):
            self.assertIn(step, errors)
        self.assertNotIn("4b", errors)
        self.assertIn("| test operations_test | not run |", output)
        self.assertNotIn("passed", output)

    def test_steps(self):
        code, output, errors = self.check("--dry-run", "--variants", "2b 8b", "--steps", "tests,models,transformers",
                                          "--peers", "8b")
        self.assertEqual(code, 0, errors)
        for step in ("device_parity-moe_small", "bench-model-2b-cuda --json", "peer_transformers_cuda.py 8b"):
            self.assertIn(step, errors)
        for step in ("--tool racecheck", "bench-layers-8b-cuda --json", "peer_transformers_cuda.py 2b"):
            self.assertNotIn(step, errors)
        code, output, errors = self.check("--dry-run", "--steps", "tests,flowers")
        self.assertEqual((code, output), (2, ""))
        self.assertIn("--steps has no flowers; there are tests, ", errors)

    def fake_build(self):
        build = os.path.join(self.folder.name, "build")
        for test in ("operations_test", "attention_test", "bf16_attention_test", "linear_test", "sampling_test",
                     "handle_test", "random_test", "checkpoint_test_tiny-shapes", "parity-dense_small",
                     "parity-moe_small"):  # no gemv_test
            self.program(f"build/tests/device_{test}", "")
        self.program("build/tests/device_linear_test", "import sys; sys.exit('cuda_linear_test.cpp(5): error: wrong')")
        self.program("build/tests/device_handle_test", "import time; time.sleep(600)")
        for variant in ("2b", "4b", "8b"):
            self.program(f"build/benchmarks/bench-model-{variant}-cuda", MODEL)
        if LAYERS:
            self.program("build/benchmarks/bench-layers-8b-cuda",
                         f"exec {LAYERS} --quick --json --tokens 1,9 --context 70 --sequences 2 --prompt-tokens 20 "
                         "--image 64x64", "/bin/sh")
        else:
            self.program("build/benchmarks/bench-layers-8b-cuda", f"print('''{json.dumps({'peaks': PEAKS, 'layers': [LAYER]})}''')")
        return build

    def test_table(self):
        output_file = os.path.join(self.folder.name, "table.md")
        sanitizer = self.program("sanitizer", "import sys\n"
                                 "if 'racecheck' in sys.argv and 'sampling' in sys.argv[-2]:\n"
                                 "  print('========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)'); sys.exit(9)")
        begin = time.monotonic()
        code, table, errors = self.check(
            "--no-build", "--build", self.fake_build(), "--minutes", "0.25", "--variants", "2b,4b,8b", "--layers", "8b",
            "--sanitizer", sanitizer, "--logs", os.path.join(self.folder.name, "logs"), "--python", self.program("python", PYTHON), "--output", output_file,
            gpu="print('NVIDIA H100 80GB HBM3, 81559 MiB, 9.0, 580.1')")
        self.assertLess(time.monotonic() - begin, 30)
        self.assertEqual(code, 1, errors)
        logs = os.path.join(self.folder.name, "logs")
        with open(os.path.join(logs, next(name for name in os.listdir(logs) if "linear" in name))) as file:
            self.assertRegex(file.read(), r"^\$ \S+device_linear_test\n(?s:.*)error: wrong(?s:.*)exit code 1, ")
        with open(output_file) as file:
            self.assertEqual(file.read().strip(), table.strip())
        self.assertIn("### NVIDIA H100 80GB HBM3, 81559 MiB, 9.0, 580.1", table)
        for line in (
                r"\| test operations_test \| passed, ",
                r"\| memcheck operations_test \(experts\) \| clean, ",
                r"\| racecheck sampling_test \(\*\) \| \*\*failed\*\*: exit code 9: .*1 hazard",
                r"\| test gemv_test \| \*\*failed\*\*: not built",
                r"\| test linear_test \| \*\*failed\*\*: exit code 1: .*error: wrong",
                r"\| test handle_test \| \*\*failed\*\*: cut off after \d+ s",
                r"\| 2b decode, 1 sequence behind 512 tokens \| 700\.0 tokens/s \| 2514 GB/s, 75 % of the data sheet's 3352 \|"
                r" 75 % of the bandwidth, 730 tokens/s \| 35\.0 tokens/s: 20\.00 times as fast \|",
                r"\| 2b decode, 64 sequences behind 512 tokens \| 44800\.0 tokens/s \|",
                r"\| 8b prefill, 4096 tokens \| 50000 tokens/s \| 494 TFLOP/s, 50 % of the data sheet's 989 \| 60 % of the peak \|",
                r"\| 8b fp8 prefill, 4096 tokens \| 50000 tokens/s \| 494 TFLOP/s, 50 % of the data sheet's 989 \| +\|",
                r"\| 2b prefill, 512 tokens \| .* \| 25000\.0 tokens/s: 2\.00 times as fast \|",
                r"\| 8b vision tower, 1024x768 \| 10\.0 ms \| .* \| 30\.0 ms: 3\.00 times as fast \|",
                r"\| 4b --prompt-tokens 512 \| \*\*failed\*\*: exit code 1: error: out of device memory",
                r"\| 2b transformers decode_64 \| out of memory \|",
                r"Beside: transformers 5\.0, torch 2\.9, sdpa\."):
            self.assertRegex(table, line)
        self.assertRegex(table, r"\| memory, copied or read \| \d+ GB/s")
        if LAYERS:
            for layer in ("qkv/tokens:1", "mlp/tokens:9", "attention/sequences:2/tokens:1/context:70",
                          "attention/sequences:1/tokens:20/context:0", "norm/tokens:9"):
                self.assertRegex(table, rf"\| 8b text/{layer} \| [\d.]+ us \|")
            for layer in ("patch_embed", "attention", "mlp", "block", "merger"):
                self.assertRegex(table, rf"\| 8b vision/{layer}/patches:16 \| [\d.]+ us \|")
        else:
            self.assertRegex(table, r"16384/context:0 \| 1000\.0 us \| 494 TFLOP/s, 50 % .* \| 50 % of the peak \|")


if __name__ == "__main__":
    unittest.main()

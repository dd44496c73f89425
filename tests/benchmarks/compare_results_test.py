"""benchmarks/compare_results.py on results that bench-layers gave twice on one machine, five repetitions of each, and on
changes made to them."""
import contextlib
import copy
import io
import json
import os
import pathlib
import random
import sys
import tempfile
import unittest

root = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(root.parent.parent / "benchmarks"))
import compare_results  # noqa: E402

FIRST, AGAIN = (str(root / "results" / f"layers_{name}.json") for name in ("first", "again"))


def run(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = compare_results.main([str(one) for one in arguments])
    return code, out.getvalue(), err.getvalue()


class Comparison(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def file(self, content, name="result.json"):
        path = os.path.join(self.folder.name, name)
        pathlib.Path(path).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    def changed(self, change, name="result.json"):
        result = json.loads(pathlib.Path(FIRST).read_text(encoding="utf-8"))
        for one in result["benchmarks"]:
            change(one)
        return self.file(result, name)

    def test_recorded(self):
        """Two runs of the same program differ by up to tenfold in a repetition: nobody is faster."""
        code, out, err = run(FIRST, AGAIN)
        self.assertEqual(code, 0, err)
        self.assertIn("| bf16/text/qkv/tokens:8 | ", out)
        self.assertEqual(out.count("no difference shown"), 3)
        self.assertIn("0 faster, 0 slower, 3 without a difference", out)
        self.assertEqual(err, "")

    def test_clear_changes(self):
        def change(one):
            if "norm" in one["run_name"]:
                one["real_time"] /= 8.0
            elif one["run_name"].endswith("tokens:8"):
                one["real_time"] *= 16.0
        code, out, _ = run(FIRST, self.changed(change), "--fail-if-slower")
        self.assertEqual(code, 2)
        rows = {line.split(" | ")[0].strip("| "): line for line in out.splitlines() if line.startswith("| bf16")}
        self.assertIn("8.000 | 0.0079 | **faster**", rows["bf16/text/norm/tokens:8"])
        self.assertIn("**slower**", rows["bf16/text/qkv/tokens:8"])
        self.assertIn("no difference shown", rows["bf16/text/qkv/tokens:1"])
        self.assertEqual(run(FIRST, self.changed(change))[0], 0)
        self.assertEqual(run(FIRST, self.changed(change), "--filter", "norm", "--fail-if-slower")[0], 0)

    def test_small_differences_and_few_repetitions(self):
        def exact(seconds):
            return {"runs": {"decode_seconds": seconds}, "variant": "2b"}
        old = self.file(exact([1.0, 1.0001, 1.0002, 1.0003, 1.0004]), "old.json")
        new = self.file(exact([0.99, 0.9901, 0.9902, 0.9903, 0.9904]), "new.json")
        self.assertIn("no difference shown", run(old, new)[1])  # certain, but below 2 %
        self.assertIn("**faster**", run(old, new, "--least", "0.5")[1])
        few = self.file(exact([0.5, 0.5, 0.5]), "few.json")
        self.assertIn("too few repetitions to say", run(old, few)[1])

    def test_chance(self):
        self.assertAlmostEqual(compare_results.chance([1, 2, 3, 4], [5, 6, 7, 8]), 2 / 70)
        self.assertAlmostEqual(compare_results.chance([5, 6, 7, 8], [1, 2, 3, 4]), 2 / 70)
        self.assertAlmostEqual(compare_results.chance([1, 3], [2, 4]), 4 / 6)
        self.assertEqual(compare_results.chance([1, 4], [2, 3]), 1.0)
        # Samples of the same distribution look different as rarely as p says.
        numbers = random.Random(1)
        false = sum(compare_results.chance([numbers.random() for _ in range(5)], [numbers.random() for _ in range(5)]) < 0.05
                    for _ in range(2000))
        self.assertLess(false, 2000 * 0.05)
        self.assertGreater(false, 2000 * 0.015)

    def test_other_conditions_are_said(self):
        other = json.loads(pathlib.Path(AGAIN).read_text(encoding="utf-8"))
        other["context"]["isa"] = "AVX2"
        other["benchmarks"] = copy.deepcopy([one for one in other["benchmarks"] if "norm" in one["run_name"]])
        _, _, err = run(FIRST, self.file(other))
        self.assertIn("note: isa was AVX-512 and is AVX2", err)
        self.assertIn("note: bf16/text/qkv/tokens:1 is only in", err)

    def test_bad_files(self):
        def negative(one):
            one["real_time"] = -1.0
        for bad, words in (("{", "Expecting"), ("[]", "no result of"), ("{\"a\": 1}", "no result of"),
                           ("{\"benchmarks\": []}", "no times"), ("{\"benchmarks\": [{\"name\": 1}]}", "no result of"),
                           ("{\"runs\": {\"a\": [0]}}", "not a positive number"),
                           ("{\"runs\": {\"a\": [1]}}", "no benchmark in common")):
            code, out, err = run(FIRST, self.file(bad))
            self.assertEqual((code, out), (1, ""), bad)
            self.assertIn(words, err)
            self.assertEqual(err.count("\n"), 1, err)
        self.assertIn("not a positive number", run(FIRST, self.changed(negative))[2])
        self.assertEqual(run(FIRST, "/nonexistent.json")[0], 1)
        self.assertIn("that --filter matches", run(FIRST, AGAIN, "--filter", "nothing")[2])


if __name__ == "__main__":
    unittest.main()

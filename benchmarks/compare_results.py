#!/usr/bin/env python3
"""Compares two results of bench-layers --json or bench-model --json: is the new one faster, or is it only noise?

usage: compare_results.py OLD.json NEW.json [--least PERCENT] [--alpha P] [--filter REGEX] [--fail-if-slower]

For each time it prints both medians with the lowest and highest repetition, the ratio old / new (above 1: faster), and a
verdict. A difference counts if it is larger than --least (default 2 %) and if the repetitions of the two would fall apart
like this by chance with a probability below --alpha (default 0.05; the exact two-sided Mann-Whitney test, which assumes
nothing about how times are distributed). That takes at least four repetitions of each: --repetitions 5 of bench-layers,
--runs 5 of bench-model. With fewer, the verdict is that there is none.
"""
import argparse
import json
import math
import re
import statistics
import sys

# What must be the same for a comparison to mean something.
CONTEXT = ("variant", "isa", "threads", "weights", "num_cpus", "prompt_tokens", "image_tokens", "context", "decode_tokens",
           "roof_threads")


class ResultError(Exception):
    pass


def read(path):
    """The samples in seconds by name, and the conditions, of a result file."""
    try:
        with open(path, encoding="utf-8") as file:
            result = json.load(file)
    except (OSError, ValueError) as error:
        raise ResultError(f"{path}: {error}") from error
    samples = {}
    try:
        if "benchmarks" in result:  # Google Benchmark's layout
            units = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
            for one in result["benchmarks"]:
                if one.get("run_type", "iteration") != "iteration":
                    continue  # medians and deviations of the others
                name = one.get("run_name", one["name"])
                samples.setdefault(name, []).append(float(one["real_time"]) * units[one["time_unit"]])
            conditions = result.get("context", {})
        else:  # bench-model
            for name, values in result["runs"].items():
                samples[name] = [float(value) for value in values]
            conditions = result
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ResultError(f"{path}: this is no result of bench-layers --json or bench-model --json ({error!r})") from error
    samples = {name: values for name, values in samples.items() if values}
    if not samples:
        raise ResultError(f"{path}: there are no times in it")
    for name, values in samples.items():
        if not all(math.isfinite(value) and value > 0 for value in values):
            raise ResultError(f"{path}: {name} has a time that is not a positive number")
    return samples, {key: str(conditions[key]) for key in CONTEXT if key in conditions}


def chance(first, second):
    """The two-sided p of the exact Mann-Whitney test: how often ranks as far apart as these occur if nothing differs.

    Ties count half; the distribution is the one without ties, which is close enough for times."""
    n, m = len(first), len(second)
    u = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a in first for b in second)
    # ways[k]: how many of the orders of n and m values have U = k; by the recurrence over which sample is largest.
    table = {}

    def ways(i, j, k):
        if k < 0:
            return 0
        if i == 0 or j == 0:
            return 1 if k == 0 else 0
        key = (i, j, k)
        if key not in table:
            table[key] = ways(i - 1, j, k - j) + ways(i, j - 1, k)
        return table[key]

    tail = math.floor(min(u, n * m - u))
    return min(1.0, 2.0 * sum(ways(n, m, k) for k in range(tail + 1)) / math.comb(n + m, n))


def verdict(old, new, least, alpha):
    """One of 'faster', 'slower', 'same' (no difference shown) and 'too few', with ratio and p."""
    ratio = statistics.median(old) / statistics.median(new)
    if min(len(old), len(new)) < 4:
        return "too few", ratio, None
    p = chance(old, new)
    if p >= alpha or abs(math.log(ratio)) <= math.log1p(least / 100.0):
        return "same", ratio, p
    return ("faster" if ratio > 1 else "slower"), ratio, p


def in_words(values):
    middle = statistics.median(values)
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)):
        if middle * factor >= 1 or unit == "ns":
            break
    return f"{middle * factor:.4g} ({min(values) * factor:.4g} to {max(values) * factor:.4g}) {unit}"


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Compares two results of bench-layers --json or bench-model --json.")
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--least", type=float, default=2.0, help="smaller differences do not count (default: 2 percent)")
    parser.add_argument("--alpha", type=float, default=0.05, help="probability of chance that is taken (default: 0.05)")
    parser.add_argument("--filter", type=re.compile, default=re.compile(""), help="only names that this matches")
    parser.add_argument("--fail-if-slower", action="store_true", help="exit code 2 if anything is slower")
    options = parser.parse_args(arguments)
    try:
        (old, old_context), (new, new_context) = read(options.old), read(options.new)
        names = [name for name in old if name in new and options.filter.search(name)]
        if not names:
            raise ResultError("the two have no benchmark in common" +
                              (" that --filter matches" if options.filter.pattern else ""))
    except ResultError as error:
        print(f"compare_results.py: error: {error}", file=sys.stderr)
        return 1
    for key in sorted(old_context.keys() | new_context.keys()):
        was, now = old_context.get(key, "not said"), new_context.get(key, "not said")
        if was != now:
            print(f"note: {key} was {was} and is {now}", file=sys.stderr)
    for name in sorted((old.keys() ^ new.keys())):
        print(f"note: {name} is only in {options.old if name in old else options.new}", file=sys.stderr)
    words = {"faster": "**faster**", "slower": "**slower**", "same": "no difference shown",
             "too few": "too few repetitions to say"}
    counts = dict.fromkeys(words, 0)
    print("| | old | new | old / new | p | verdict |")
    print("|---|---|---|---|---|---|")
    for name in names:
        what, ratio, p = verdict(old[name], new[name], options.least, options.alpha)
        counts[what] += 1
        print(f"| {name} | {in_words(old[name])} | {in_words(new[name])} | {ratio:.3f} | "
              f"{'-' if p is None else f'{p:.2g}'} | {words[what]} |")
    print(f"\n{counts['faster']} faster, {counts['slower']} slower, {counts['same']} without a difference, "
          f"{counts['too few']} with too few repetitions")
    return 2 if options.fail_if_slower and counts["slower"] else 0


if __name__ == "__main__":
    sys.exit(main())

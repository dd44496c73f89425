"""The table of gpu_check.sh: what was measured, the share of the GPU's limits, the target, and transformers beside it."""

# What a GPU's data sheet says: GB/s of its memory, TFLOP/s of dense bf16 products.
DATA_SHEETS = [("H100 PCIe", 2039, 756), ("H100 NVL", 3938, 835), ("H100", 3352, 989), ("H200", 4800, 989),
               ("A100-PCIE-40GB", 1555, 312), ("A100-SXM4-40GB", 1555, 312), ("A100", 2039, 312), ("B200", 8000, 2250)]
# Tokens per second of one sequence, and shares in percent, on one H100.
DECODE_TARGETS = {"2b": 730, "4b": 310, "8b": 165}
BANDWIDTH_TARGET, PREFILL_TARGET, ATTENTION_TARGET, VISION_TARGET = 75, 60, 50, 2.0


class Table:
    def __init__(self):
        self.device = ""
        self.rows = []  # [what, result, share, target, transformers, key]
        self.failed = False
        self.measured = None  # peaks: GB/s, TFLOP/s
        self.peers = {}

    def add(self, what=None, result="", share="", target="", peer="", key=None, failed=False):
        if what is None:
            return
        self.failed = self.failed or failed
        self.rows.append([what, ("**failed**: " if failed else "") + result, share, target, peer, key])

    def peak(self, which):
        """GB/s (0) or TFLOP/s (1), with the word for where it is from."""
        for name, *figures in DATA_SHEETS:
            if name in self.device:
                return figures[which], "of the data sheet's"
        return (self.measured[which], "of the measured") if self.measured else (None, "")

    def share(self, value, which):
        peak, words = self.peak(which)
        unit = ("GB/s", "TFLOP/s")[which]
        return f"{value:.0f} {unit}" + (f", {100 * value / peak:.0f} % {words} {peak:.0f}" if peak else "")

    def layers(self, variant, found):
        peaks = found["peaks"]
        if self.measured is None:
            self.measured = (peaks["gbytes_per_second"], peaks["tflops"])
            self.add("memory, copied or read", f"{self.measured[0]:.0f} GB/s", self.share(self.measured[0], 0))
            self.add(f"bf16 product of {peaks['product']}^3", f"{self.measured[1]:.0f} TFLOP/s",
                     self.share(self.measured[1], 1))
        for layer in found["layers"]:
            memory = layer["limited_by"] == "memory"
            target = ""
            if not memory and "text/attention" in layer["name"] and "tokens:16384" in layer["name"]:
                target = f"{ATTENTION_TARGET} % of the peak"
            value = layer["gbytes_per_second"] if memory else layer["tflops"]
            self.add(f"{variant} {layer['name']}", f"{layer['seconds'] * 1e6:.1f} us", self.share(value, 0 if memory else 1),
                     target)

    def model(self, variant, found):
        """The figures of a run of bench-model."""
        if found["decode_tokens"] > 0:
            sequences = found["sequences"]
            one = sequences == 1
            target = ""
            if one:
                target = f"{BANDWIDTH_TARGET} % of the bandwidth"
                if variant in DECODE_TARGETS:
                    target += f", {DECODE_TARGETS[variant]} tokens/s"
            self.add(f"{variant} decode, {sequences} sequence{'' if one else 's'} behind {found['context']} tokens",
                     f"{found['decode_tokens_per_second']:.1f} tokens/s",
                     self.share(found["decode_gbytes_per_second"], 0), target, key=(variant, f"decode_{sequences}"))
        if found["image_tokens"] > 0:
            self.add(f"{variant} vision tower, 1024x768", f"{found['vision_seconds'] * 1e3:.1f} ms",
                     self.share(found["vision_gflops"] * 1e-3, 1), f"{VISION_TARGET:.0f} times transformers",
                     key=(variant, "vision_seconds"))
            self.add(f"{variant} time to first token, 1024x768, the first time",
                     f"{found['time_to_first_token_seconds'] * 1e3:.0f} ms")
        elif found["prompt_tokens"] > 0:
            prompt = found["prompt_tokens"]
            target = f"{PREFILL_TARGET} % of the peak" if (variant, prompt) == ("8b", 4096) else ""
            self.add(f"{variant} prefill, {prompt} tokens", f"{found['prefill_tokens_per_second']:.0f} tokens/s",
                     self.share(found["prefill_gflops"] * 1e-3, 1), target, key=(variant, f"prefill_{prompt}"))
            self.add(f"{variant} time to first token, {prompt} tokens, the first time",
                     f"{found['time_to_first_token_seconds'] * 1e3:.0f} ms")
            if found.get("device_bytes"):
                self.add(f"{variant} device memory in use", f"{found['device_bytes'] * 1e-9:.2f} GB")

    def peer(self, variant, found):
        about = f"transformers {found['transformers']}, torch {found['torch']}, {found['attention']}"
        self.peers[variant] = dict(found, about=about)
        for key, why in found.get("errors", {}).items():
            self.add(f"{variant} transformers {key}", why)

    def beside(self, key, result):
        """transformers' figure of the same thing, and how many times faster this library is."""
        if key is None or key[1] not in self.peers.get(key[0], {}):
            return ""
        theirs, ours = self.peers[key[0]][key[1]], float(result.split()[0])
        if key[1] == "vision_seconds":
            return f"{theirs * 1e3:.1f} ms: {theirs * 1e3 / ours:.2f} times as fast"
        return f"{theirs:.1f} tokens/s: {ours / theirs:.2f} times as fast"

    def markdown(self):
        lines = [f"### {self.device}", ""]
        for about in sorted({peer["about"] for peer in self.peers.values()}):
            lines += [f"Beside: {about}.", ""]
        lines += ["| what | result | share of the GPU's limit | target (one H100) | transformers |", "|---|---|---|---|---|"]
        for what, result, share, target, peer, key in self.rows:
            cells = [what, result, share, target, peer or self.beside(key, result)]
            lines.append("| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |")
        return "\n".join(lines) + "\n"

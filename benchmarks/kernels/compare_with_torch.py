#!/usr/bin/env python3
"""Times the kernels beside PyTorch's in one process: same timer, same memory, rounds interleaved.

    compare_with_torch.py libreprefill_kernels_c.so [--json FILE]

Attention: FlashAttention-2 as torch ships it (GQA, causal suffix aligned to the end) and cuDNN through SDPA (GQA,
without the suffix's causal mask, which it has no aligned form of: at most 1/2 of the suffix's share more work), both on
contiguous K and V; ours on 16-token pages in random order. Needs PyTorch 2.5 or later and a GPU; exits 77 without one.
"""
import argparse
import ctypes
import json
import math
import statistics
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

QUERY_HEADS, KV_HEADS, HEAD_DIM, PAGE_TOKENS = 28, 4, 128, 16
ROTATED_BYTES = 128 << 20  # more than twice an H100's second-level cache
ROUNDS, REPLAYS = 5, 8


class Shape(ctypes.Structure):
    _fields_ = [("num_queries", ctypes.c_uint32), ("num_slots", ctypes.c_uint32), ("page_tokens", ctypes.c_uint32),
                ("num_query_heads", ctypes.c_int32), ("num_kv_heads", ctypes.c_int32), ("head_dim", ctypes.c_int32),
                ("num_splits", ctypes.c_int32)]


def pointer(tensor):
    return ctypes.c_void_p(tensor.data_ptr())


def stream():
    return ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)


def checked(status):
    if status != 0:
        raise RuntimeError("a kernel was refused; its reason is on stderr")


class GraphTimer:
    """One captured graph of at least 20 runs over all sets of buffers."""

    def __init__(self, runs):
        self.num_runs = max(20, len(runs))
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for run in runs[:2]:
                run()
        side.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            for i in range(self.num_runs):
                runs[i % len(runs)]()
        self.graph.replay()
        torch.cuda.synchronize()

    def samples_us(self):
        samples = []
        for _ in range(REPLAYS):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            self.graph.replay()
            end.record()
            end.synchronize()
            samples.append(begin.elapsed_time(end) * 1e3 / self.num_runs)
        return samples


def time_together(candidates):
    """Median microseconds of each candidate; rounds interleave them, since GPUs drift."""
    timers = {}
    for name, runs in candidates.items():
        try:
            timers[name] = GraphTimer(runs)
        except (RuntimeError, TypeError) as error:
            print(f"{name}: not available here: {str(error).splitlines()[0]}", file=sys.stderr)
    samples = {name: [] for name in timers}
    for _ in range(ROUNDS):
        for name, timer in timers.items():
            samples[name] += timer.samples_us()
    return {name: statistics.median(values) for name, values in samples.items()}


class AttentionSet:
    """Contiguous K and V of prefix and suffix, and the same prefix in pages in random order."""

    def __init__(self, num_queries, num_slots):
        total = num_slots + num_queries
        options = {"device": "cuda", "dtype": torch.bfloat16}
        self.q = torch.randn(1, num_queries, QUERY_HEADS, HEAD_DIM, **options)
        self.k = torch.randn(1, total, KV_HEADS, HEAD_DIM, **options)
        self.v = torch.randn(1, total, KV_HEADS, HEAD_DIM, **options)
        num_pages = num_slots // PAGE_TOKENS
        page_elements = PAGE_TOKENS * KV_HEADS * HEAD_DIM
        self.kept = []  # what raw pointers refer to

        def paged(rows):
            order = torch.randperm(num_pages, device="cuda")
            memory = torch.empty(num_pages, page_elements, **options)
            memory[order] = rows[0, :num_slots].reshape(num_pages, page_elements)
            self.kept.append(memory)
            return memory.data_ptr() + order * page_elements * 2

        self.key_pages, self.value_pages = paged(self.k), paged(self.v)
        self.own_k, self.own_v = self.k[:, num_slots:].contiguous(), self.v[:, num_slots:].contiguous()
        self.out = torch.empty_like(self.q)


def attention_runs(library, shape, sets, workspace):
    def ours(s):
        checked(library.reprefill_attention(
            ctypes.byref(shape), pointer(s.q), pointer(s.key_pages), pointer(s.value_pages), pointer(s.own_k),
            pointer(s.own_v), pointer(s.out), pointer(workspace), ctypes.c_uint64(workspace.numel()), stream()))
        return s.out

    def flash(s):
        return torch.ops.aten._flash_attention_forward(
            s.q, s.k, s.v, None, None, s.q.shape[1], s.k.shape[1], 0.0, True, False,
            scale=1 / math.sqrt(HEAD_DIM))[0]

    def cudnn(s):
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            return F.scaled_dot_product_attention(s.q.transpose(1, 2), s.k.transpose(1, 2), s.v.transpose(1, 2),
                                                  enable_gqa=True)

    return ours, flash, cudnn


def compare_attention(library, rows):
    ratios = []
    print("| queries | stored | ours us | FA2 us | cuDNN us | better | ratio to better | to FA2 | to cuDNN | error |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for num_queries in (16, 64, 128, 512):
        for num_slots in (320, 1200, 6144, 32768):
            shape = Shape(num_queries, num_slots, PAGE_TOKENS, QUERY_HEADS, KV_HEADS, HEAD_DIM, 0)
            set_bytes = (num_slots + num_queries) * 2 * KV_HEADS * HEAD_DIM * 2
            sets = [AttentionSet(num_queries, num_slots) for _ in range(max(2, min(48, ROTATED_BYTES // set_bytes + 1)))]
            needed = library.reprefill_attention_workspace(ctypes.byref(shape))
            workspace = torch.empty(max(needed, 16), dtype=torch.uint8, device="cuda")
            ours, flash, cudnn = attention_runs(library, shape, sets, workspace)
            expected, found = flash(sets[0]).float(), ours(sets[0]).float()
            error = ((found - expected).norm() / expected.norm()).item()
            times = time_together({"ours": [lambda s=s: ours(s) for s in sets],
                                   "FA2": [lambda s=s: flash(s) for s in sets],
                                   "cuDNN": [lambda s=s: cudnn(s) for s in sets]})
            others = {name: value for name, value in times.items() if name != "ours"}
            better = min(others, key=others.get)
            ratio = others[better] / times["ours"]
            ratios.append(ratio)
            shown = [f"{times[name]:.1f}" if name in times else "-" for name in ("ours", "FA2", "cuDNN")]
            speedups = [f"{times[name] / times['ours']:.2f}" if name in times else "-" for name in ("FA2", "cuDNN")]
            print(f"| {num_queries} | {num_slots} | {' | '.join(shown)} | {better} | {ratio:.2f} | "
                  f"{' | '.join(speedups)} | {error:.1e} |", flush=True)
            rows.append({"kernel": "chunk_attention", "queries": num_queries, "stored": num_slots, "us": times,
                         "better": better, "ratio": ratio, "relative_error": error})
            del sets, workspace
            torch.cuda.empty_cache()
    geometric_mean = math.exp(statistics.mean(math.log(ratio) for ratio in ratios))
    print(f"\ngeometric mean of the ratio to the better: {geometric_mean:.3f} (1.0 is asked)\n")
    rows.append({"kernel": "chunk_attention", "geometric_mean": geometric_mean})


def measured_rates():
    """Bytes/s of a large copy (read + written), FLOP/s of a large bf16 product, exponentials/s from the clock."""
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    times = time_together({"copy": [lambda: target.copy_(source)], "gemm": [lambda: a @ a]})
    properties = torch.cuda.get_device_properties(0)
    clock_hz = getattr(properties, "clock_rate", 1755000) * 1e3
    return (2 * source.numel() / times["copy"] * 1e6, 2 * 8192**3 / times["gemm"] * 1e6,
            16 * properties.multi_processor_count * clock_hz)


def compare_scoring(library, rows):
    bandwidth, flops, exponentials = measured_rates()
    print(f"copy {bandwidth / 1e12:.2f} TB/s, bf16 product {flops / 1e12:.0f} TFLOP/s, "
          f"exponentials {exponentials / 1e12:.2f} T/s\n")
    print("| score_chunks | ours us | floor us | allowed us | error |\n|---|---|---|---|---|")
    for num_slots in (6144, 32768):
        shape = Shape(64, num_slots, PAGE_TOKENS, QUERY_HEADS, KV_HEADS, HEAD_DIM, 0)
        key_bytes = num_slots * KV_HEADS * HEAD_DIM * 2
        sets = [AttentionSet(64, num_slots) for _ in range(ROTATED_BYTES // key_bytes + 1)]
        workspace = torch.zeros(library.reprefill_score_workspace(ctypes.byref(shape)), dtype=torch.uint8, device="cuda")
        tokens = torch.empty(KV_HEADS, num_slots, device="cuda")
        chunks = torch.empty(num_slots // PAGE_TOKENS, device="cuda")

        def ours(s):
            checked(library.reprefill_score(ctypes.byref(shape), pointer(s.q), pointer(s.key_pages), pointer(s.own_k),
                                            pointer(tokens), pointer(chunks), pointer(workspace),
                                            ctypes.c_uint64(workspace.numel()), stream()))

        ours(sets[0])
        error = ((chunks - expected_scores(sets[0], num_slots)).norm() / chunks.norm()).item()
        times = time_together({"ours": [lambda s=s: ours(s) for s in sets]})
        pairs = 64 * QUERY_HEADS * num_slots
        floor_us = max(key_bytes / bandwidth, 4 * pairs * HEAD_DIM / flops, 2 * pairs / exponentials) * 1e6
        print(f"| 64 x {num_slots} | {times['ours']:.1f} | {floor_us:.1f} | {1.5 * floor_us + 5:.1f} | {error:.1e} |")
        rows.append({"kernel": "score_chunks", "queries": 64, "stored": num_slots, "us": times, "floor_us": floor_us,
                     "relative_error": error})
    print()


def expected_scores(s, num_slots):
    num_queries = s.q.shape[1]
    group = QUERY_HEADS // KV_HEADS
    q = s.q[0].float().view(num_queries, KV_HEADS, group, HEAD_DIM)
    scores = torch.zeros(num_slots, device="cuda")
    visible = torch.ones(num_queries, s.k.shape[1], dtype=torch.bool, device="cuda").tril(num_slots)
    for head in range(KV_HEADS):
        logits = torch.einsum("qgd,kd->qgk", q[:, head], s.k[0, :, head].float()) / math.sqrt(HEAD_DIM)
        probabilities = logits.masked_fill(~visible[:, None, :], -math.inf).softmax(-1)
        scores += probabilities.sum((0, 1))[:num_slots]
    return scores.view(-1, PAGE_TOKENS).sum(1)


def compare_selection(library, rows):
    print("| select_chunks | ours us | torch.topk us | topk + sort us |\n|---|---|---|---|")
    for num_units in (384, 2048, 8192):
        scores = [torch.rand(num_units, device="cuda") for _ in range(16)]
        k = num_units // 20
        indices = torch.empty(k, dtype=torch.int32, device="cuda")
        words = torch.empty(2, dtype=torch.int32, device="cuda")

        def ours(s):
            checked(library.reprefill_select(pointer(s), ctypes.c_uint32(num_units), ctypes.c_uint32(k),
                                             pointer(indices), pointer(words[0:]), pointer(words[1:]), stream()))

        ours(scores[0])
        expected = torch.topk(scores[0], k).indices.sort().values.int()
        if not torch.equal(indices, expected):
            raise RuntimeError(f"selection of {k} of {num_units} differs from torch.topk")
        times = time_together({"ours": [lambda s=s: ours(s) for s in scores],
                               "topk": [lambda s=s: torch.topk(s, k) for s in scores],
                               "topk + sort": [lambda s=s: torch.topk(s, k).indices.sort() for s in scores]})
        print(f"| {k} of {num_units} | {times['ours']:.2f} | {times['topk']:.2f} | {times['topk + sort']:.2f} |")
        rows.append({"kernel": "select_chunks", "units": num_units, "us": times})
    print()


def load(path):
    library = ctypes.CDLL(path)
    for name in ("reprefill_attention_workspace", "reprefill_score_workspace"):
        getattr(library, name).restype = ctypes.c_uint64
    return library


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", help="libreprefill_kernels_c.so of the build")
    parser.add_argument("--json", help="also write all figures to this file")
    parser.add_argument("--only", choices=["attention", "score", "select"])
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("compare_with_torch: no GPU", file=sys.stderr)
        return 77
    torch.manual_seed(1)
    library = load(arguments.library)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}\n")
    rows = []
    for name, compare in (("select", compare_selection), ("score", compare_scoring), ("attention", compare_attention)):
        if arguments.only in (None, name):
            compare(library, rows)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())

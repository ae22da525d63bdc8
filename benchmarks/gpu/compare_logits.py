#!/usr/bin/env python3
"""Logits and greedy tokens of the CUDA executor beside Hugging Face transformers on the same checkpoint, GPU and ids.

    benchmarks/gpu/compare_logits.py MODEL --program build/cuda/benchmarks/gpu/benchmark_forward

Transformers in fp32 is taken as right; the error of a row of logits is the root mean square of the differences over that of
the row. Ours may be at most 1.5 times the error of transformers in bf16 (the median over the rows, and the worst one), and a
greedy token must be fp32's wherever fp32's margin is more than twice the largest difference in that row. A checkpoint of 7B
takes 31 GB of GPU memory in fp32. Exit codes: 0, 1 outside the bound.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy
import torch
import transformers

MOST_OVER_TRANSFORMERS = 1.5


def ours(options, work):
    path = pathlib.Path(work) / "logits.bin"
    done = subprocess.run([options.program, "logits", options.model, path], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    ids = json.loads(done.stdout)
    return ids, torch.from_numpy(numpy.fromfile(path, dtype=numpy.float32)).view(len(ids["generated"]), -1)


def theirs(model, dtype, ids):
    """Rows of logits that follow the suffix and each generated token but the last; the prefix is prefilled first, as ours is."""
    loaded = transformers.Qwen2ForCausalLM.from_pretrained(model, dtype=dtype, device_map="cuda").eval()
    cache = transformers.DynamicCache()
    rows = len(ids["generated"])
    with torch.inference_mode():
        loaded(input_ids=torch.tensor([ids["prefix"]]).cuda(), past_key_values=cache, use_cache=True, logits_to_keep=1)
        rest = torch.tensor([ids["suffix"] + ids["generated"][:-1]]).cuda()
        logits = loaded(input_ids=rest, past_key_values=cache, use_cache=True, logits_to_keep=rows).logits[0].float().cpu()
    del loaded, cache
    torch.cuda.empty_cache()
    return logits


def errors(rows, right):
    return [float((row - true).square().mean().sqrt() / true.square().mean().sqrt()) for row, true in zip(rows, right)]


def wrong_tokens(rows, right):
    wrong = decided = 0
    for row, true in zip(rows, right):
        first, second = true.topk(2).values.tolist()
        if first - second > 2 * float((row - true).abs().max()):
            decided += 1
            wrong += int(row.argmax()) != int(true.argmax())
    return wrong, decided


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--program", default="build/cuda/benchmarks/gpu/benchmark_forward")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    with tempfile.TemporaryDirectory() as work:
        ids, rows = ours(options, work)
    half = theirs(options.model, torch.bfloat16, ids)
    right = theirs(options.model, torch.float32, ids)
    own_errors, half_errors = errors(rows, right), errors(half, right)
    wrong, decided = wrong_tokens(rows, right)
    same = sum(int(row.argmax()) == int(true.argmax()) for row, true in zip(rows, right))
    print("| logits beside transformers in fp32 | median error | worst error | greedy tokens equal |\n| --- | ---: | ---: | ---: |")
    print(f"| this executor, bf16 | {statistics.median(own_errors):.5f} | {max(own_errors):.5f} | {same} of {len(rows)} |")
    half_same = sum(int(row.argmax()) == int(true.argmax()) for row, true in zip(half, right))
    print(f"| transformers {transformers.__version__}, bf16 | {statistics.median(half_errors):.5f} | {max(half_errors):.5f} | "
          f"{half_same} of {len(rows)} |")
    print(f"\nOf the {decided} tokens that the margin decides {wrong} differ.")
    within = (statistics.median(own_errors) <= MOST_OVER_TRANSFORMERS * statistics.median(half_errors)
              and max(own_errors) <= MOST_OVER_TRANSFORMERS * max(half_errors))
    if wrong or not within:
        sys.exit("outside the bound")


if __name__ == "__main__":
    main()

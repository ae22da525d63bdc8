#!/usr/bin/env python3
"""Re-Prefill by Hugging Face transformers with everything resident: a prefix's KV in a DynamicCache, the suffix computed, the
first token's id on the host. Prints medians as JSON.

    benchmarks/gpu/compare_with_transformers.py MODEL [--prefix 6144] [--suffix 64] [--runs 15]
"""
import argparse
import copy
import json
import statistics
import time

import torch
import transformers


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--prefix", type=int, default=6144)
    parser.add_argument("--suffix", type=int, default=64)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    model = transformers.Qwen2ForCausalLM.from_pretrained(options.model, dtype=torch.bfloat16, device_map="cuda").eval()
    generator = torch.Generator().manual_seed(1)
    ids = lambda count: torch.randint(0, 2000, (1, count), generator=generator)
    milliseconds = []
    with torch.inference_mode():
        cache = transformers.DynamicCache()
        model(input_ids=ids(options.prefix).cuda(), past_key_values=cache, use_cache=True, logits_to_keep=1)
        for _ in range(options.runs + 3):
            stored, suffix = copy.deepcopy(cache), ids(options.suffix)
            torch.cuda.synchronize()
            start = time.perf_counter()
            out = model(input_ids=suffix.cuda(), past_key_values=stored, use_cache=True, logits_to_keep=1)
            int(out.logits[0, -1].argmax())
            milliseconds.append((time.perf_counter() - start) * 1e3)
    timed = sorted(milliseconds[3:])
    print(json.dumps({"what": f"transformers {transformers.__version__}, torch {torch.__version__}", "prefix": options.prefix,
                      "suffix": options.suffix, "median_ms": statistics.median(timed), "least_ms": timed[0],
                      "most_ms": timed[-1]}))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Records an importance trace (docs: traces/importance/importance_trace.hpp) with Hugging Face transformers.

For users whose GPU fits only a quantised model, or who want the scores of a model that the engine does not run. The
file is what `reprefill run --record-importance FILE --record-mode full` writes: per request, layer and head the
attention mass that the suffix's queries give to each token of the stored prefix, under full KV.

  scripts/record_importance.py --model Qwen/Qwen2.5-7B-Instruct --requests task.jsonl --out task.rimp [--load-in-4bit]

Needs torch, transformers (4.48 or later) and xxhash. Requests are lines of {"prefix", "suffix"} (or "ids" and
"stored_tokens"); the stored length is the prefix in whole blocks, as in the engine.
"""
import argparse
import json
import math
import os
import struct
import sys

MAGIC, VERSION = b"RPFIMPT\n", 1
HEADER, SCORES, END = 1, 2, 4


class TraceWriter:
    """Writes to a temporary name beside `path`, which gets the final name in `finish`."""

    def __init__(self, path, channels):
        import xxhash

        self._hash = xxhash.xxh3_64_intdigest
        self._path, self._temporary, self._count = path, f"{path}.tmp-{os.getpid()}", 0
        self._file = open(self._temporary, "wb")
        self._file.write(MAGIC + struct.pack("<II", VERSION, 0))
        self._record(HEADER, json.dumps({"channels": channels, "layers_per_period": 1}).encode())

    def add(self, request, layer, channel, span_tokens, scores):
        """scores: one list of floats per head, over all tokens of the spans."""
        payload = struct.pack("<QIIIIQ", request, layer, channel, len(span_tokens), len(scores), len(scores[0]))
        payload += struct.pack(f"<{len(span_tokens)}I", *span_tokens) + b"\0" * (4 * (len(span_tokens) % 2))
        codes = b""
        for head in scores:
            largest = max(head)
            exponent = math.frexp(largest)[1] if largest > 0 else 0  # largest in [2^(e-1), 2^e)
            payload += struct.pack("<ff", 2.0**exponent, 0.0)
            codes += struct.pack(f"<{len(head)}e", *(math.ldexp(value, -exponent) for value in head))
        self._record(SCORES, payload + codes)

    def finish(self):
        self._record(END, struct.pack("<Q", self._count))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.rename(self._temporary, self._path)

    def _record(self, kind, payload):
        head = struct.pack("<IIQ", kind, 0, len(payload))
        checksum = self._hash(head + payload, seed=self._count)
        self._file.write(head + struct.pack("<Q", checksum) + payload + b"\0" * (-len(payload) % 8))
        self._count += 1


def channels_of(kv_heads, probe_heads):
    name = "probe:" + ",".join(map(str, probe_heads))
    return [
        {"name": "keys", "num_heads": kv_heads, "granularity_tokens": 1, "encoding": "fp16"},
        {"name": name, "num_heads": len(probe_heads), "granularity_tokens": 1, "encoding": "fp16"},
    ]


class Recorder:
    """An attention function that also sums, column by column, what the suffix's queries give to the prefix."""

    def __init__(self, writer, probe_heads):
        self.writer, self.probe_heads = writer, probe_heads
        self.request, self.stored = 0, 0

    def __call__(self, module, query, key, value, attention_mask, scaling=None, dropout=0.0, **kwargs):
        import torch

        groups = query.shape[1] // key.shape[1]
        scaling = scaling or query.shape[-1] ** -0.5
        own = query[0, :, self.stored :, :].float()
        mass = torch.zeros(query.shape[1], self.stored, dtype=torch.float32, device=query.device)
        position = torch.arange(key.shape[2], device=query.device)
        for first in range(0, own.shape[1], 64):  # rows at a time: a long suffix must not need a square of memory
            rows = own[:, first : first + 64]
            keys = key[0].float().repeat_interleave(groups, dim=0)
            logits = rows @ keys.transpose(1, 2) * scaling
            visible = position[None, :] <= (self.stored + first + torch.arange(rows.shape[1], device=query.device))[:, None]
            logits.masked_fill_(~visible, float("-inf"))
            mass += torch.softmax(logits, dim=-1)[:, :, : self.stored].sum(dim=1)
        per_kv_head = mass.view(key.shape[1], groups, -1).sum(dim=1)
        self.writer.add(self.request, module.layer_idx, 0, [self.stored], per_kv_head.tolist())
        self.writer.add(self.request, module.layer_idx, 1, [self.stored], mass[self.probe_heads].tolist())
        out = torch.nn.functional.scaled_dot_product_attention(
            query, key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1), is_causal=True, scale=scaling
        )
        return out.transpose(1, 2).contiguous(), None


def read_request(line, number, tokenizer, block):
    request = json.loads(line)
    if "ids" in request:
        ids, stored = request["ids"], request["stored_tokens"]
    else:
        ids = tokenizer(request["prefix"] + request["suffix"])["input_ids"]
        stored = len(tokenizer(request["prefix"])["input_ids"])
    stored = min(stored, len(ids) - 1) // block * block
    if stored == 0:
        sys.exit(f"request {number}: the prefix has no whole block of {block} tokens")
    return ids, stored


def record(options):
    import torch
    from transformers import AttentionInterface, AutoModelForCausalLM, AutoTokenizer

    keywords = {"dtype": torch.bfloat16, "device_map": "auto"}
    if options.load_in_4bit:
        from transformers import BitsAndBytesConfig

        keywords["quantization_config"] = BitsAndBytesConfig(load_in_4bit=True)
    model = AutoModelForCausalLM.from_pretrained(options.model, **keywords).eval()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    probe_heads = [int(head) for head in options.probe_heads.split(",")]
    writer = TraceWriter(options.out, channels_of(model.config.num_key_value_heads, probe_heads))
    recorder = Recorder(writer, probe_heads)
    AttentionInterface.register("reprefill_record", recorder)
    model.set_attn_implementation("reprefill_record")
    with open(options.requests, encoding="utf-8") as lines, torch.inference_mode():
        for number, line in enumerate(line for line in lines if line.strip()):
            ids, recorder.stored = read_request(line, number, tokenizer, options.store_block_tokens)
            recorder.request = number
            model(torch.tensor([ids], device=model.device), use_cache=False, logits_to_keep=1)
            print(f"request {number}: {len(ids)} tokens, {recorder.stored} stored", file=sys.stderr)
    writer.finish()


def self_test(path):
    """A small trace without a model: what the C++ reader's test reads."""
    writer = TraceWriter(path, channels_of(2, [0, 1, 2]))
    for request in range(2):
        for layer in range(3):
            for channel, heads in ((0, 2), (1, 3)):
                scores = [[(request + layer + head + token) % 7 / 8 for token in range(96)] for head in range(heads)]
                writer.add(request, layer, channel, [64, 32], scores)
    writer.finish()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="checkpoint folder or Hugging Face name")
    parser.add_argument("--requests", help="JSONL of requests")
    parser.add_argument("--out", help="importance trace to write")
    parser.add_argument("--probe-heads", default="0,1,2", help="query heads of the probe channel (default 0,1,2)")
    parser.add_argument("--store-block-tokens", type=int, default=64)
    parser.add_argument("--load-in-4bit", action="store_true", help="quantise with bitsandbytes")
    parser.add_argument("--self-test", metavar="FILE", help="write a small trace without a model, and stop")
    options = parser.parse_args()
    if options.self_test:
        return self_test(options.self_test)
    if not (options.model and options.requests and options.out):
        parser.error("--model, --requests and --out are needed")
    return record(options)


if __name__ == "__main__":
    main()

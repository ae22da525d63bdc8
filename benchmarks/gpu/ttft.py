#!/usr/bin/env python3
"""TTFT of systems on a real checkpoint through `reprefill run`: medians, bytes and time classes as a Markdown table.

    benchmarks/gpu/ttft.py --reprefill PROGRAM --model DIR --work DIR [--device cuda] [--prefixes 4096,6144] [--suffix 64]
        [--budgets 0.05,0.1,0.25,0.5] [--systems ...] [--paths direct,prototype] [--requests 5] [--cold] [--json FILE]

Builds a store of `requests` prefixes of each length (random tokens) under --work unless it is there. Every system then
serves one request on each prefix: none is in a cache, so the first tier reads come from the disk. `resident` has its
prefixes in GPU memory; its first request loads them and is not counted. Selections come from --selections
(a preset of `reprefill trace importance`): the attention of random weights selects noise.
"""
import argparse
import json
import pathlib
import random
import statistics
import subprocess
import sys

BUDGETED = {"contiguous_kv", "impress", "as_h2o"}


def run(options, *arguments):
    done = subprocess.run([options.reprefill, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")
    return done.stdout


def write_requests(path, prefixes, suffix_tokens, seed):
    draw = random.Random(seed)
    with open(path, "w") as file:
        for number, prefix in enumerate(prefixes):
            ids = prefix + [draw.randrange(2000) for _ in range(suffix_tokens)]
            file.write(json.dumps({"id": number, "ids": ids, "max_tokens": 1}) + "\n")


def median(values):
    return statistics.median(values) if values else float("nan")


def row_of(label, requests):
    mean = lambda key: statistics.mean(request["time_ms"][key] for request in requests)
    bytes_of = lambda key: statistics.mean(request["bytes"][key] for request in requests) / 2**20
    return {
        "label": label, "ttft_ms": median([request["ttft_ms"] for request in requests]),
        "least_ms": min(request["ttft_ms"] for request in requests),
        "gpu_ms": mean("gpu_compute"), "scoring_ms": mean("scoring"), "ssd_ms": mean("ssd"), "link_ms": mean("link"),
        "host_ms": mean("host"), "identification_mib": bytes_of("identification_requested_bytes"),
        "payload_mib": bytes_of("payload_requested_bytes"),
    }


def measure(options, prefix_tokens, path, systems, budget):
    """One process, so that the weights are loaded once: a row for each system."""
    work = options.work / f"{prefix_tokens}"
    warm = systems == ["resident"]
    arguments = ["run", "--model", options.model, "--device", options.device, "--store", work / "store", "--system",
                 ",".join(systems), "--path", path, "--json", "--requests", work / ("resident.jsonl" if warm else "cold.jsonl")]
    if BUDGETED & set(systems):
        arguments += ["--set", f"budget={budget}", "--selections", options.selections]
    reports = json.loads(run(options, *arguments))
    for system, report in zip(systems, reports if len(systems) > 1 else [reports]):
        requests = report["requests"]
        counted = requests[len(requests) // 2:] if warm else requests[1:]
        yield row_of(f"{prefix_tokens} {path} {system}{' ' + budget if system in BUDGETED else ''}", counted)


def prepare(options, prefix_tokens):
    work = options.work / f"{prefix_tokens}"
    work.mkdir(parents=True, exist_ok=True)
    draw = random.Random(prefix_tokens)
    prefixes = [[draw.randrange(2000) for _ in range(prefix_tokens)] for _ in range(options.requests + 1)]
    write_requests(work / "cold.jsonl", prefixes, options.suffix, 1)
    write_requests(work / "resident.jsonl", prefixes[:1] * 24, options.suffix, 2)
    if not (work / "store").exists():
        with open(work / "prefixes.jsonl", "w") as file:
            for prefix in prefixes:
                file.write(json.dumps({"ids": prefix}) + "\n")
        run(options, "store", "build", "--quiet", "--model", options.model, "--device", options.device, "--store",
            work / "store", "--prefixes", work / "prefixes.jsonl")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reprefill", default="build/cuda/reprefill")
    parser.add_argument("--model", required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--prefixes", default="4096,6144")
    parser.add_argument("--suffix", type=int, default=64)
    parser.add_argument("--budgets", default="0.05,0.1,0.25,0.5")
    parser.add_argument("--systems", default="resident,recompute,attention_store,as_h2o,impress,contiguous_kv")
    parser.add_argument("--paths", default="direct,prototype")
    parser.add_argument("--requests", type=int, default=5)
    parser.add_argument("--selections", default="preset:paper-5pct")
    parser.add_argument("--json", help="also write the rows here")
    options = parser.parse_args()
    rows = []
    columns = ["ttft_ms", "least_ms", "gpu_ms", "scoring_ms", "ssd_ms", "link_ms", "host_ms", "identification_mib", "payload_mib"]
    print("| prefix, path, system | " + " | ".join(columns) + " |\n| --- |" + " ---: |" * len(columns), flush=True)
    for prefix_tokens in map(int, options.prefixes.split(",")):
        prepare(options, prefix_tokens)
        wanted = options.systems.split(",")
        runs = [("direct", [system], "") for system in wanted if system == "resident"]
        for path in options.paths.split(","):
            for number, budget in enumerate(options.budgets.split(",")):
                # What has no budget is measured with the first one; `recompute` does the same on both paths.
                runs.append((path, [system for system in wanted if system in BUDGETED or
                                    (number == 0 and system != "resident" and (system != "recompute" or path == "direct"))],
                             budget))
        for path, systems, budget in runs:
            for row in measure(options, prefix_tokens, path, systems, budget):
                rows.append(row)
                print(f"| {row['label']} | " + " | ".join(f"{row[key]:.2f}" for key in columns) + " |", flush=True)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

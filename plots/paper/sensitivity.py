"""What the headline would be if one assumption were another: one short sweep each, on TREC and the prototype path."""
import json

import result_rows as data
from paper.contiguous_kv import BASELINES, NAMES, TTFT
from paper.panels import ratio_point
from paper.sweeps import Sweep

SETS = ("workload.preset=trec", "repeats=2", "workload.measured_requests=50")


def path(**changes):
    """The prototype path with changes, in one value: the scenario's axis over paths would replace a key inside of it."""
    return ("software_path=" + json.dumps({"kind": "prototype", **changes}),)


# name -> (what is assumed otherwise, assignments). Ids are those of reference 9.
VARIANTS = {
    "as-assumed": ("all parameters at their defaults", ()),
    "object-cost-halved": ("A4: 42.5 us software time an object, not 85", path(object_fixed_cost_ns=42500)),
    "object-cost-doubled": ("A4: 170 us software time an object", path(object_fixed_cost_ns=170000)),
    "queue-depth-4": ("A4: four reads in flight, not one", path(queue_depth=4)),
    "no-framework-time": ("A4: no framework time a request, not 40 ms", path(compute_overhead_per_request_ns=0)),
    "merged-reads": ("A3: adjacent pieces are read as one", path(merge_reads=True)),
    "suffix-32": ("A15: 32 own tokens a request, not 48", ("workload.suffix_tokens=32",)),
    "probe-per-kv-head": ("A5: probe heads in three KV heads, not one", ("systems.impress.probe_heads=[0,7,14]",)),
    "real-importance": ("A21: importance as on one real request (qwen7b-fewshot)", ("importance.preset=qwen7b-fewshot",)),
    "kept-attention": ("A16: all attend over kept tokens only", ("systems.impress.attention_over=kept", "systems.as_h2o.attention_over=kept")),
    "no-look-ahead": ("A17: AttentionStore reads no layer ahead", ("systems.attention_store.lookahead_layers=0",)),
    "separate-k-and-v": ("A2: ContiguousKV's K and V are two objects", ("systems.contiguous_kv.kv_layout.kv=apart",)),
    "no-inter-prefetch": ("A9, A10: no prefetch across periods", ("systems.contiguous_kv.inter_prefetch=false",)),
    "gpu-half-speed": ("A19: 25 % of peak compute, not 50 %", ("profile.gpu.gemm_efficiency=0.25",)),
    "slow-link": ("A20: 12.5 GB/s to the GPU, not 25", ("profile.link.copy_bandwidth=12.5 GB/s", "profile.link.gather_bandwidth=11 GB/s")),
    "slow-ssd": ("A4: an SSD of 3.7 GB/s, not 7.45", ("profile.ssd.read_bandwidth=3.7 GB/s",)),
}


def run(runner):
    for name, (_, sets) in VARIANTS.items():
        on_path = () if any(one.startswith("software_path=") for one in sets) else path()
        runner.sweep("headline", f"sensitivity/{name}", SETS + on_path + sets)


def speed_ups(runner, name, inputs):
    sweep = Sweep(runner.result_folder(f"sensitivity/{name}"))
    inputs[name] = {row.get("inputs") for row in sweep.rows}
    ours = sweep.where(label="contiguous_kv")
    return [ratio_point(baseline, name, sweep.where(label=baseline), ours, TTFT).value for baseline in BASELINES]


def table(runner):
    """Markdown: every assumption that moves a speed-up by more than 10 %, and those that do not."""
    inputs = {}
    before = speed_ups(runner, "as-assumed", inputs)
    lines = ["| if instead | " + " | ".join("over " + NAMES[baseline] for baseline in BASELINES) + " | largest move |", "| --- | ---: | ---: | ---: | ---: |"]
    lines.append("| " + VARIANTS["as-assumed"][0] + " | " + " | ".join(f"{value:.2f}" for value in before) + " | |")
    quiet, moved = [], []
    for name, (text, _) in VARIANTS.items():
        if name == "as-assumed":
            continue
        after = speed_ups(runner, name, inputs)
        if name in inputs and inputs[name] == inputs["as-assumed"]:
            raise data.InputError(f"sensitivity/{name}: has the inputs of as-assumed: its assumption was not changed")
        move = max((abs(value / base - 1), value / base - 1) for value, base in zip(after, before))[1]
        if abs(move) > 0.10:
            moved.append((abs(move), f"| {text} | " + " | ".join(f"{value:.2f}" for value in after) + f" | {100 * move:+.0f} % |"))
        else:
            quiet.append(f"{text} ({100 * move:+.1f} %)")
    lines += [line for _, line in sorted(moved, key=lambda entry: -entry[0])]
    return "\n".join(lines), "; ".join(quiet)

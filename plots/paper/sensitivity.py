"""What the headline would be if one assumption were another: one short sweep each, on TREC and the prototype path."""
from paper.contiguous_kv import BASELINES, NAMES, TTFT
from paper.panels import ratio_point
from paper.sweeps import Sweep

SETS = ("workload.preset=trec", "software_path=prototype", "repeats=2", "workload.measured_requests=50")
# name -> (what is assumed otherwise, assignments). Ids are those of reference 9.
VARIANTS = {
    "as-assumed": ("all parameters at their defaults", ()),
    "object-cost-halved": ("A4: 42.5 us software time an object, not 85", ("software_path.object_fixed_cost_ns=42500",)),
    "object-cost-doubled": ("A4: 170 us software time an object", ("software_path.object_fixed_cost_ns=170000",)),
    "queue-depth-4": ("A4: four reads in flight, not one", ("software_path.queue_depth=4",)),
    "no-framework-time": ("A4: no framework time a request, not 40 ms", ("software_path.compute_overhead_per_request_ns=0",)),
    "merged-reads": ("A3: adjacent pieces are read as one", ("software_path.merge_reads=true",)),
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
        runner.sweep("headline", f"sensitivity/{name}", SETS + sets)


def speed_ups(runner, name):
    sweep = Sweep(runner.result_folder(f"sensitivity/{name}"))
    ours = sweep.where(label="contiguous_kv")
    return [ratio_point(baseline, name, sweep.where(label=baseline), ours, TTFT).value for baseline in BASELINES]


def table(runner):
    """Markdown: every assumption that moves a speed-up by more than 10 %, and those that do not."""
    before = speed_ups(runner, "as-assumed")
    lines = ["| if instead | " + " | ".join("over " + NAMES[baseline] for baseline in BASELINES) + " | largest move |", "| --- | ---: | ---: | ---: | ---: |"]
    lines.append("| " + VARIANTS["as-assumed"][0] + " | " + " | ".join(f"{value:.2f}" for value in before) + " | |")
    quiet, moved = [], []
    for name, (text, _) in VARIANTS.items():
        if name == "as-assumed":
            continue
        after = speed_ups(runner, name)
        move = max((abs(value / base - 1), value / base - 1) for value, base in zip(after, before))[1]
        if abs(move) > 0.10:
            moved.append((abs(move), f"| {text} | " + " | ".join(f"{value:.2f}" for value in after) + f" | {100 * move:+.0f} % |"))
        else:
            quiet.append(f"{text} ({100 * move:+.1f} %)")
    lines += [line for _, line in sorted(moved, key=lambda entry: -entry[0])]
    return "\n".join(lines), "; ".join(quiet)

"""The figures of ContiguousKV (arXiv 2601.13631), each from result rows only."""
from paper.panels import Figure, Panel, Point, point_of, present, ratio_point

NAMES = {"impress": "IMPRESS", "attention_store": "AS+LRU", "as_h2o": "AS+H2O+LRU"}
PATHS = ("prototype", "direct")
SETS = {"sst2": "SST-2", "subj": "SubJ", "trec": "TREC", "rte": "RTE"}
MODELS = {"qwen2.5-7b": "7B", "qwen2.5-14b": "14B", "qwen2.5-32b": "32B"}
BASELINES = ("impress", "attention_store", "as_h2o")
SYSTEMS = ("attention_store", "as_h2o", "impress", "contiguous_kv")
JUDGED = ("sst2", "subj", "trec")  # semantics 4: RTE is what one would fit on
TTFT = "ttft__mean_ttft_ms"
PRESET = "workload.preset"


def rows_of(sweep, system, **axes):
    """A system that does not declare the budget has one row for all of them."""
    rows = sweep.where(label=system, **axes)
    if not rows and "budget" in axes:
        rows = sweep.where(label=system, **{**axes, "budget": None})
    return rows


def percent(budget):
    return f"{100 * budget:g} %"


def headline(sweeps):
    """Mean over SST-2, SubJ and TREC of the speed-up over each baseline."""
    sweep, panels = sweeps["headline"], []
    for path in PATHS:
        points = []
        for baseline in BASELINES:
            ratios = [ratio_point(baseline, name, rows_of(sweep, baseline, software_path=path, budget=0.05, **{PRESET: name}),
                                  rows_of(sweep, "contiguous_kv", software_path=path, budget=0.05, **{PRESET: name}), TTFT) for name in JUDGED]
            points.append(mean_of(baseline, "over " + NAMES[baseline], present(ratios)))
        panels.append(Panel(f"{path} path", "speed-up of ContiguousKV at 5 %", present(points)))
    return Figure("contiguouskv-headline", "ContiguousKV's speed-up, as reported and as simulated (Qwen2.5-7B, mean of SST-2, SubJ, TREC)",
                  panels, ["every request on a prefix not used before; nothing fitted"])


def mean_of(system, x, points):
    """Of points that are ratios themselves; the range is theirs."""
    if not points:
        return None
    values = [point.value for point in points]
    return Point(system, x, sum(values) / len(values), min(point.low for point in points), max(point.high for point in points),
                 [row for point in points for row in point.rows])


def model_panels(sweep, metric, y, budgets):
    panels = []
    for path in PATHS:
        for model, short in MODELS.items():
            points = []
            for name, title in SETS.items():
                for budget in budgets:
                    x = title if len(budgets) == 1 else f"{title} {percent(budget)}"
                    points += [point_of(system, x, rows_of(sweep, system, software_path=path, model=model, budget=budget, **{PRESET: name}), metric)
                               for system in SYSTEMS]
            panels.append(Panel(f"{short}, {path} path", y, present(points)))
    return panels


def figure10(sweeps):
    sweep = sweeps["figure10"]
    return Figure("contiguouskv-figure10", "ContiguousKV figure 10: mean TTFT",
                  model_panels(sweep, TTFT, "mean TTFT (ms)", sorted(sweep.values("budget"))),
                  ["the paper gives no absolute TTFT; every request on a prefix not used before"])


def figure11(sweeps):
    sweep = sweeps["figure11"]
    return Figure("contiguouskv-figure11", "ContiguousKV figure 11: P95 TTFT at 5 %",
                  model_panels(sweep, "ttft__p95_ttft_ms", "P95 TTFT (ms)", [0.05]),
                  ["one request in flight, the profile's assumed residual noise"],
                  provisional=sweep.num_seeds < 10 or sweep.requests[0] < 1000)


def set_panels(sweep, metric, y, systems, title=""):
    return [Panel(f"{title}{path} path", y, present(
        [point_of(system, label, rows_of(sweep, system, software_path=path, budget=0.05, **{PRESET: name}), metric)
         for name, label in SETS.items() for system in systems])) for path in PATHS]


def tokens_loaded(sweeps):
    sweep, panels = sweeps["headline"], []
    for title, metric in (("K and V read", "bytes_per_request__payload_read_bytes"), ("with keys for scoring", "bytes_per_request__logical_bytes")):
        for path in PATHS:
            points = []
            for name, label in SETS.items():
                axes = {"software_path": path, "budget": 0.05, PRESET: name}
                below = rows_of(sweep, "impress", **axes)
                points += [ratio_point(system, label, rows_of(sweep, system, **axes), below, metric) for system in SYSTEMS]
            panels.append(Panel(f"{title}, {path} path", "bytes from SSD / IMPRESS's", present(points)))
    return Figure("contiguouskv-tokens-loaded", "Loaded from SSD, relative to IMPRESS (5 %)", panels,
                  ["reported: 16.33 times fewer tokens, 0.061 (what is counted is not stated)"], columns=2)


def amplification(sweeps):
    systems = ("as_h2o", "impress", "contiguous_kv")
    panels = []
    for metric, title in (("amplification_payload", "K and V objects, "), ("amplification_with_identification", "with keys, "),
                          ("tokens_loaded_per_token_selected", "tokens, ")):
        panels += set_panels(sweeps["headline"], f"efficiency__{metric}", metric.replace("_", " "), systems, title)
    # Paths across would separate the definitions: one definition a column, one path a row.
    return Figure("contiguouskv-amplification", "Read amplification by its three definitions (5 %)", panels[0::2] + panels[1::2],
                  ["reported for IMPRESS: about 12 on average, up to 52, definition unknown"])


def breakdown(sweeps):
    sweep, panels = sweeps["headline"], []
    classes = ("gpu_compute", "scoring", "ssd", "link", "queueing", "host")
    for name, label in (("sst2", "SST-2"), ("rte", "RTE")):
        for path in PATHS:
            points = [point_of(part, system, rows_of(sweep, system, software_path=path, budget=0.05, **{PRESET: name}), f"time_ms__{part}")
                      for system in SYSTEMS for part in classes]
            panels.append(Panel(f"{label}, {path} path", "mean TTFT (ms)", present(points), kind="stack"))
    return Figure("contiguouskv-breakdown", "Where TTFT goes (5 %; each nanosecond charged to one class)", panels,
                  ["reported for IMPRESS: I/O over 65 %, compute under 35 %"], columns=2)


def ablation(sweeps):
    sweep, panels = sweeps["ablation"], []
    steps = ("impress", "aligned", "aligned_prefetch", "contiguous_kv")
    for path in PATHS:
        for model, short in MODELS.items():
            points = [point_of(step, label, sweep.where(label=step, software_path=path, model=model, **{PRESET: name}), TTFT)
                      for name, label in (("sst2", "SST-2"), ("rte", "RTE")) for step in steps]
            panels.append(Panel(f"{short}, {path} path", "mean TTFT (ms)", present(points)))
    return Figure("contiguouskv-ablation", "Ablation: IMPRESS, + alignment, + prefetch, + cache policy (= ContiguousKV), 5 %", panels,
                  ["reported order: alignment, then prefetch (more on large models), then the policy; no numbers"])


def prefix_length(sweeps):
    sweep, panels, axis = sweeps["prefix-length"], [], "workload.prefix_tokens"
    lengths = sorted(sweep.values(axis))
    for path in PATHS:
        panels.append(Panel(f"{path} path", "mean TTFT (ms, log scale)", present(
            [point_of(system, tokens, rows_of(sweep, system, software_path=path, budget=0.05, **{axis: tokens}), TTFT)
             for system in ("recompute",) + SYSTEMS for tokens in lengths]), x="prefix tokens", kind="lines", log=True))
    for path in PATHS:
        points = []
        for baseline in ("recompute",) + BASELINES:
            for tokens in lengths:
                axes = {"software_path": path, "budget": 0.05, axis: tokens}
                points.append(ratio_point(baseline, tokens, rows_of(sweep, baseline, **axes), rows_of(sweep, "contiguous_kv", **axes), TTFT))
        panels.append(Panel(f"speed-up, {path} path", "TTFT / ContiguousKV's (log scale)", present(points), x="prefix tokens", kind="lines", log=True))
    return Figure("contiguouskv-prefix-length", "Prefix length (Qwen2.5-7B, 5 %)", panels,
                  ["reported at 10k tokens: 2.6 times, growing with length, baseline not stated"], columns=2)


def over_axis(sweep, axis, labels, metrics, x):
    """One panel a path and metric; a series for each (name, row filter)."""
    panels = []
    for metric, y in metrics:
        for path in PATHS:
            points = [point_of(name, value, sweep.where(software_path=path, **{axis: value}, **wanted), metric)
                      for name, wanted in labels for value in sorted(sweep.values(axis))]
            panels.append(Panel(f"{y.split(' (')[0]}, {path} path", y, present(points), x=x, kind="lines"))
    return panels


def chunk_size(sweeps):
    sweep = sweeps["chunk-size"]
    budgets = [(f"budget {percent(budget)}", {"budget": budget}) for budget in sorted(sweep.values("budget"))]
    return Figure("contiguouskv-chunk-size", "ContiguousKV: chunk size (Qwen2.5-7B, RTE)",
                  over_axis(sweep, "chunk_tokens", budgets, ((TTFT, "mean TTFT (ms)"), ("efficiency__amplification_with_identification", "read amplification with keys"),
                                                             ("attention_mass_kept__mean", "attention mass kept")), "tokens a chunk"),
                  ["the paper chooses 16 tokens; attention mass is a proxy for accuracy, from synthetic importance"], columns=2)


def period(sweeps):
    sweep = sweeps["period"]
    metrics = ((TTFT, "mean TTFT (ms)"), ("attention_mass_kept__mean", "attention mass kept"))
    return Figure("contiguouskv-period", "ContiguousKV: period and subperiod (Qwen2.5-7B, RTE, 5 %)",
                  over_axis(sweep, "period_layers", [("period", {"label": "period"})], metrics, "layers a period")
                  + over_axis(sweep, "subperiod_layers", [("subperiod", {"label": "subperiod"})], metrics[:1], "layers a subperiod (period 8)"),
                  ["the paper chooses 8 and 4"], columns=2)


def cache_budget(sweeps):
    sweep, panels = sweeps["cache-budget"], []
    for metric, y in ((TTFT, "mean TTFT (ms)"), ("bytes_per_request__requested_bytes", "MB read a request")):
        for path in PATHS:
            points = [point_of(system, float(size.split()[0]), rows_of(sweep, system, software_path=path, gpu_cache=size), metric,
                               1e-6 if "bytes" in metric else 1.0) for system in SYSTEMS for size in sweep.values("gpu_cache")]
            panels.append(Panel(f"{y.split(' (')[0]}, {path} path", y, present(points), x="GPU cache (GB); host cache 2.4 times that", kind="lines"))
    return Figure("contiguouskv-cache-budget", "Cache budget (Qwen2.5-7B, RTE, 5 %, 60 prefixes = 20 GB, warm)", panels, columns=2)


def coverage(statistics):
    """From the importance generator's own statistics: what adjacent periods share."""
    points = []
    for preset, numbers in statistics.items():
        for entry in numbers:
            if entry["statistic"] == "coverage_between_periods":
                points.append(Point(preset, percent(float(entry["budget"])), entry["mean"], entry["mean"], entry["mean"], [], source=f"importance/{preset}.json"))
    return Figure("contiguouskv-coverage", "Chunks that a period shares with the one before",
                  [Panel("by importance preset", "share of chosen chunks", points)],
                  ["reported: 52 to 64 % (paper), one real request in the independent reproduction: 47, 42, 41, 64 % at 5, 10, 25, 50 %"])


def figure9(reported):
    """Accuracy is not simulated: this is what the independent reproduction measured."""
    panels = []
    for label in SETS.values():
        points = [Point(one.system, float(one.x), one.value, one.value, one.value, [], source=one.source)
                  for one in reported if one.quantity == "accuracy" and one.panel == label]
        panels.append(Panel(label, "accuracy (%)", points, x="budget (%)", kind="lines"))
    return Figure("contiguouskv-figure9", "Accuracy against budget, as the independent reproduction measured it (not ours)", panels,
                  ["Qwen2.5-7B-Instruct; values reported by reference 5, nothing here is simulated; AS+LRU keeps all KV at every budget"], columns=2)


SWEEP_FIGURES = {
    "contiguouskv-headline": (headline, ("headline",)),
    "contiguouskv-figure10": (figure10, ("figure10",)),
    "contiguouskv-figure11": (figure11, ("figure11",)),
    "contiguouskv-tokens-loaded": (tokens_loaded, ("headline",)),
    "contiguouskv-amplification": (amplification, ("headline",)),
    "contiguouskv-breakdown": (breakdown, ("headline",)),
    "contiguouskv-ablation": (ablation, ("ablation",)),
    "contiguouskv-prefix-length": (prefix_length, ("prefix-length",)),
    "contiguouskv-chunk-size": (chunk_size, ("chunk-size",)),
    "contiguouskv-period": (period, ("period",)),
    "contiguouskv-cache-budget": (cache_budget, ("cache-budget",)),
}

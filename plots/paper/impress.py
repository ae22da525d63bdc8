"""The figures of IMPRESS (FAST '25). Its data sets differ here by budget only: their lengths are not known one by one."""
import json

import result_rows as data
from paper.contiguous_kv import PATHS, TTFT, over_axis, percent, rows_of
from paper.drawing import name_of
from paper.panels import Figure, Panel, Point, point_of, present, ratio_point

SYSTEMS = ("recompute", "attention_store", "as_h2o", "as_h2o_lfu", "impress")
SHORT = {"opt-6.7b": "OPT-6.7B", "opt-13b": "OPT-13B", "opt-30b": "OPT-30B", "llama-2-7b": "Llama-2-7B", "llama-2-13b": "Llama-2-13B"}


def by_model(sweep, metric, y):
    return [Panel(f"{path} path", y, present([point_of(system, SHORT[model], rows_of(sweep, system, software_path=path, model=model, budget=0.25), metric)
                                              for model in sweep.values("model") for system in SYSTEMS])) for path in PATHS]


def figure16(sweeps):
    return Figure("impress-figure16", "IMPRESS figure 16: TTFT by model (25 %)", by_model(sweeps["impress-ttft"], TTFT, "mean TTFT (ms)"),
                  ["reported: 1.2 to 2.8 times faster than the best alternative"], columns=2)


def figure17(sweeps):
    return Figure("impress-figure17", "IMPRESS figure 17: time in which only SSD reads are waited for (25 %)",
                  by_model(sweeps["impress-ttft"], "time_ms__ssd", "ms of TTFT charged to the SSD"), ["reported: I/O time 1.5 to 3.8 times less"], columns=2)


def policy_panels(sweep, labels, metric, y):
    return [Panel(f"{y.split(' (')[0]}, {path} path", y, present(
        [point_of(label, SHORT[model], sweep.where(label=label, software_path=path, model=model), metric)
         for model in sweep.values("model") for label in labels])) for path in PATHS]


STEPS = (("as_h2o_lfu", ""), ("impress_lfu", "probing"), ("impress_reordered", "reordering"), ("impress_score", "cache policy"))


def contributions(sweep, **wanted):
    """What each step gives of the gain from AS+H2O+LFU to IMPRESS, [(name, percent, rows)]. Steps that the sweep does not have are
    left out; [] where there is nothing to compare, or no gain to share."""
    steps = [(part, sweep.where(label=label, **wanted)) for label, part in STEPS]
    steps = [(part, point_of(part, "", rows, TTFT)) for part, rows in steps if rows]
    if len(steps) < 2 or steps[0][0] or None in [point for _, point in steps]:
        return []
    gain = steps[0][1].value - steps[-1][1].value
    if gain <= 0:
        return []
    return [(part, 100 * (before.value - after.value) / gain, before.rows + after.rows) for (_, before), (part, after) in zip(steps, steps[1:])]


def figure18(sweeps):
    sweep = sweeps["impress-policies"]
    labels = [label for label, _ in STEPS if sweep.where(label=label)]
    panels = policy_panels(sweep, labels, TTFT, "mean TTFT (ms)")
    for path in PATHS:
        points = [Point(part, SHORT[model], share, share, share, rows) for model in sweep.values("model")
                  for part, share, rows in contributions(sweep, software_path=path, model=model)]
        panels.append(Panel(f"share of the gain, {path} path", "share of the gain over AS+H2O+LFU (%)", points, if_empty="no gain to share"))
    missing = "" if "impress_reordered" in labels else "; reordering is not in it"
    return Figure("impress-figure18", "IMPRESS figure 18: what each part contributes", panels,
                  ["AS+H2O+LFU, + choosing tokens by probe heads, + reordering, + the cache policy" + missing
                   + ". Reported: OPT-30B on RTE, OPT-13B on COPA (at 50 %, here 25 %)"], columns=2)


def reordering_axis(sweep):
    """The parameter of IMPRESS that the scenario varies."""
    axes = [name for name in sweep.rows[0]["axes"] if name.split(".")[0] == "reorder"]
    if len(axes) != 1:
        raise data.InputError(f"{sweep.folder}: found {len(axes)} axes that begin with reorder; expected one")
    return axes[0]


def text_of(value):
    if value in (None, False, "off", "none"):
        return "without"
    if isinstance(value, dict):
        return ", ".join(f"{key} {one}" for key, one in value.items())
    return "with" if value is True else str(value)


def figure20(sweeps):
    sweep = sweeps["impress-reordering"]
    axis, panels = reordering_axis(sweep), []
    settings = list({json.dumps(value, sort_keys=True): value for value in (row["axes"][axis] for row in sweep.rows)}.values())
    for metric, y in (("bytes_per_request__payload_needed_bytes", "GB of chunks touched a request"), ("bytes_per_request__payload_read_bytes", "GB of chunks read from the SSD a request")):
        for preset in sweep.values("importance") or [None]:
            for path in PATHS:
                points = [point_of(text_of(value), SHORT.get(model, model),
                                   [row for row in sweep.where(software_path=path, model=model, importance=preset) if row["axes"][axis] == value], metric, 1e-9)
                          for model in models_of(sweep) for value in settings]
                panels.append(Panel(f"{'touched' if 'touched' in y else 'read'}, {path} path" + (f", {preset}" if preset else ""), y, present(points)))
    return Figure("impress-figure20", "IMPRESS figure 20: chunks with and without reordering", panels,
                  ["chunks have one size, so bytes compare as their numbers do. Reported: 1.2 times fewer chunks with reordering, to which impress-opt-persistent is fitted"], columns=2)


def models_of(sweep):
    """Of rows: a scenario of one model has no axis for it."""
    return list(dict.fromkeys(row["model"] for row in sweep.rows))


def gain_panels(sweep, axis, others, x, x_of=lambda rows: None):
    """How much slower the best of the others is; a point for each step of the axis."""
    panels = []
    for path in PATHS:
        points = []
        for value in sorted(sweep.values(axis)):
            ours = rows_of(sweep, "impress", software_path=path, **{axis: value})
            gains = present([ratio_point("impress", x_of(ours) or value, rows_of(sweep, other, software_path=path, **{axis: value}), ours, TTFT) for other in others])
            if gains:
                points.append(min(gains, key=lambda point: point.value))
        panels.append(Panel(f"gain, {path} path", f"TTFT of {' or '.join(name_of(other) for other in others)} / IMPRESS's", points, x=x, kind="lines"))
    return panels


def figure21(sweeps):
    sweep, labels = sweeps["impress-policies"], ("impress_lru", "impress_reordered", "impress_score")
    return Figure("impress-figure21", "IMPRESS figure 21: hit ratio by cache policy",
                  policy_panels(sweep, labels, "efficiency__gpu_hit_fraction", "GPU hit ratio")
                  + policy_panels(sweep, labels, "efficiency__host_hit_fraction", "host hit ratio"), ["reported: GPU hits 68 % to 80 % with the score policy"], columns=2)


def figure22(sweeps):
    sweep = sweeps["impress-similarity"]
    return Figure("impress-figure22", "IMPRESS figure 22: exponent of the similarity threshold (OPT-6.7B, 25 %)",
                  over_axis(sweep, "similarity_exponent", [("impress", {})],
                            (("efficiency__fallback_layers", "layers that load everything"), ("bytes_per_request__logical_bytes", "bytes read"),
                             ("attention_mass_kept__mean", "attention mass kept")), "exponent alpha"),
                  ["a higher exponent is a lower threshold: fewer layers fall back. Reported (PIQA): 4 times fewer keys from one end to the other, accuracy 79.1 to 77.5 %"], columns=2)


def figure23(sweeps):
    sweep = sweeps["impress-chunk-size"]
    return Figure("impress-figure23", "IMPRESS figure 23: chunk size (OPT-6.7B, 25 %)",
                  over_axis(sweep, "kv_layout.block_tokens", [("as_h2o_lfu", {"label": "as_h2o_lfu"}), ("impress", {"label": "impress"})],
                            ((TTFT, "mean TTFT (ms)"),), "tokens a chunk")
                  + gain_panels(sweep, "kv_layout.block_tokens", ("as_h2o_lfu",), "tokens a chunk"),
                  ["reported: 2.2 to 2.4 times over AS+H2O+LFU at every size; diamonds: totals of the author-lineage prototype on RTE"], columns=2)


def figure24(sweeps):
    sweep = sweeps["impress-data-set"]
    panels = []
    for path in PATHS:
        points = []
        for count in sorted(sweep.values("workload.num_prefixes")):
            for system in SYSTEMS[1:]:
                rows = rows_of(sweep, system, software_path=path, **{"workload.num_prefixes": count})
                size = rows[0]["workload"]["working_set_bytes"] / 1e9 if rows else 0
                points.append(point_of(system, round(size), rows, TTFT))
        panels.append(Panel(f"{path} path", "mean TTFT (ms)", present(points), x="stored data set (GB)", kind="lines"))
    panels += gain_panels(sweep, "workload.num_prefixes", ("as_h2o_lfu",), "stored data set (GB)", lambda rows: round(rows[0]["workload"]["working_set_bytes"] / 1e9) if rows else None)
    return Figure("impress-figure24", "IMPRESS figure 24: size of the data set (OPT-6.7B, 25 %)", panels, ["reported: 1.2 to 2.0 times from 65 to 400 GB"], columns=2)


def figure25(sweeps):
    sweep = sweeps["impress-llama"]
    return Figure("impress-figure25", "IMPRESS figure 25: Llama-2 (" + percent(0.25) + ")", by_model(sweep, TTFT, "mean TTFT (ms)"),
                  ["reported: 1.7 to 2.7 times"], columns=2)


SWEEP_FIGURES = {
    "impress-figure16": (figure16, ("impress-ttft",)),
    "impress-figure17": (figure17, ("impress-ttft",)),
    "impress-figure18": (figure18, ("impress-policies",)),
    "impress-figure20": (figure20, ("impress-reordering",)),
    "impress-figure21": (figure21, ("impress-policies",)),
    "impress-figure22": (figure22, ("impress-similarity",)),
    "impress-figure23": (figure23, ("impress-chunk-size",)),
    "impress-figure24": (figure24, ("impress-data-set",)),
    "impress-figure25": (figure25, ("impress-llama",)),
}

"""The figures of IMPRESS (FAST '25). Its data sets differ here by budget only: their lengths are not known one by one."""
from paper.contiguous_kv import PATHS, TTFT, over_axis, percent, rows_of
from paper.panels import Figure, Panel, point_of, present

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


def figure18(sweeps):
    return Figure("impress-figure18", "IMPRESS figure 18: what probing and the score policy contribute",
                  policy_panels(sweeps["impress-policies"], ("as_h2o_lfu", "impress_lfu", "impress_score"), TTFT, "mean TTFT (ms)"),
                  ["as_h2o_lfu to impress_lfu: choosing tokens by probe heads; to impress_score: the cache policy; reordering is not in it. "
                   "Reported shares: 60 / 30 / 10 % (OPT-30B, RTE), 36 / 8 / 56 % (OPT-13B, COPA) for probing / reordering / policy"])


def figure21(sweeps):
    sweep, labels = sweeps["impress-policies"], ("impress_lru", "impress_lfu", "impress_score")
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
                            ((TTFT, "mean TTFT (ms)"),), "tokens a chunk"), ["reported: 2.2 to 2.4 times over AS+H2O+LFU at every size"])


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
    return Figure("impress-figure24", "IMPRESS figure 24: size of the data set (OPT-6.7B, 25 %)", panels, ["reported: 1.2 to 2.0 times from 65 to 400 GB"])


def figure25(sweeps):
    sweep = sweeps["impress-llama"]
    return Figure("impress-figure25", "IMPRESS figure 25: Llama-2 (" + percent(0.25) + ")", by_model(sweep, TTFT, "mean TTFT (ms)"),
                  ["reported: 1.7 to 2.7 times"])


SWEEP_FIGURES = {
    "impress-figure16": (figure16, ("impress-ttft",)),
    "impress-figure17": (figure17, ("impress-ttft",)),
    "impress-figure18": (figure18, ("impress-policies",)),
    "impress-figure21": (figure21, ("impress-policies",)),
    "impress-figure22": (figure22, ("impress-similarity",)),
    "impress-figure23": (figure23, ("impress-chunk-size",)),
    "impress-figure24": (figure24, ("impress-data-set",)),
    "impress-figure25": (figure25, ("impress-llama",)),
}

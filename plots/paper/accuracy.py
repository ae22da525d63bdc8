"""Accuracy against budget, on real weights: `reprefill eval`. Not simulated, and nothing that the simulator draws."""
import json

import result_rows as data
from paper.panels import Figure, Panel, Point

SYSTEMS = ("impress", "as_h2o", "contiguous_kv")
FULL = "attention_store"


def read_evaluation(path):
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        if report["schema_version"] != 1:
            raise data.InputError(f"{path}: schema version {report['schema_version']}; expected 1")
        return [checked(variant) for variant in report["variants"]]
    except FileNotFoundError:
        raise data.InputError(f"{path}: not there: run without --draw-only") from None
    except (ValueError, KeyError, TypeError) as error:
        raise data.InputError(f"{path}: not a report of `reprefill eval`: {error!r}") from None


def checked(variant):
    everything = [kind for kind in variant["by_kind"] if kind["kind"] == "all"]
    if len(everything) != 1:
        raise ValueError(f"{variant['label']}: found {len(everything)} entries for all kinds")
    accuracy, low, high = (100 * float(everything[0][key]) for key in ("accuracy", "accuracy_low", "accuracy_high"))
    budget = variant["params"].get("budget")
    return {"system": variant["system"], "budget": None if budget is None else 100 * float(budget), "accuracy": accuracy, "low": low, "high": high,
            "items": int(everything[0]["items"])}


def panel_of(title, variants, source):
    budgets = sorted({one["budget"] for one in variants if one["budget"] is not None})
    points = []
    for one in variants:
        # Full KV has no budget: a level line over all of them.
        for budget in budgets if one["budget"] is None else [one["budget"]]:
            points.append(Point(one["system"], budget, one["accuracy"], one["low"], one["high"], [], source=source))
    return Panel(title, "accuracy (%)", points, x="budget (%)", kind="lines")


def figure_of(name, title, panels, notes):
    return Figure(name, title, panels, notes + ["thin lines: 95 % Wilson intervals over items; AS+LRU keeps all KV at every budget"], columns=2)

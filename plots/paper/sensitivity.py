"""Which assumption the headline hangs on: `reprefill tornado` against each baseline, on TREC and the prototype path."""
import json

import result_rows as data
from paper.contiguous_kv import BASELINES, NAMES

SETS = ("workload.preset=trec", "workload.measured_requests=50")


def file_of(runner, baseline):
    return runner.result_folder("sensitivity") / f"over-{baseline}.json"


def run(runner):
    for baseline in BASELINES:
        runner.tornado("headline", baseline, SETS, file_of(runner, baseline))


def read(path):
    try:
        tornado = json.loads(path.read_text(encoding="utf-8"))
        if tornado["schema_version"] != 1:
            raise data.InputError(f"{path}: schema version {tornado['schema_version']}; expected 1")
        readings = {}
        for bar in tornado["bars"]:
            for reading in bar["readings"]:
                key = bar["id"], bar["what"], bar["set"], json.dumps(reading["value"])
                readings[key] = (float(reading["speed_up"]), float(reading["change"]))
        return float(tornado["base"]["speed_up"]), readings
    except FileNotFoundError:
        raise data.InputError(f"{path}: not there: run without --draw-only") from None
    except (ValueError, KeyError, TypeError) as error:
        raise data.InputError(f"{path}: not a result of `reprefill tornado --json`: {error!r}") from None


def signed_percent(change):
    return f"{100 * change:+.0f} %"


def table(runner):
    """Markdown: every reading that moves a speed-up by more than 10 %, the largest move first; and the others."""
    found = [read(file_of(runner, baseline)) for baseline in BASELINES]
    lines = ["| assumption | if instead | " + " | ".join("over " + NAMES[baseline] for baseline in BASELINES) + " | largest move |",
             "| --- | --- | " + "---: | " * len(BASELINES) + "---: |",
             "| as assumed | | " + " | ".join(f"{base:.2f}" for base, _ in found) + " | |"]
    moved, quiet = [], []
    for key in dict.fromkeys(key for _, readings in found for key in readings):
        name, what, path, value = key
        # A reading that concerns none of the two systems is not tried against this baseline: nothing moves.
        after = [readings.get(key, (base, 0.0)) for base, readings in found]
        move = max((change for _, change in after), key=abs)
        if abs(move) > 0.10:
            moved.append((abs(move), f"| {name}: {what} | `{path}={value}` | " + " | ".join(f"{speed_up:.2f}" for speed_up, _ in after)
                          + f" | {signed_percent(move)} |"))
        else:
            quiet.append(f"{name} `{path}={value}` ({100 * move:+.1f} %)")
    lines += [line for _, line in sorted(moved, key=lambda entry: -entry[0])]
    return "\n".join(lines), "; ".join(quiet)

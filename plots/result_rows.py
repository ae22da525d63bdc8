"""Reads and groups the rows of a result folder. Knows results.jsonl, nothing of drawing and nothing of simulation.

One JSON object per line (written by sim/simulation/result_row.cpp); what is used of it:
  {"label": "contiguous_kv", "axes": {"budget": 0.05, "gpu_cache": null}, "replica": 0, "software_path": "direct",
   "verdict": "STABLE", "ttft": {"mean_ttft_ms": 20.9, "p95_ttft_ms": 25.1}, "time_ms": {"ssd": 3.2, ...}}
A null axis value means that the system does not declare the axis.
"""
import collections
import dataclasses
import fractions
import json
import numbers

TIME_CLASSES = ("gpu_compute", "scoring", "ssd", "link", "queueing", "host")
PATH_AXIS = "software_path"


class InputError(Exception):
    """The user can act on it: a folder, file or axis that cannot be drawn."""


class MachineError(Exception):
    """Unreadable or unwritable files, a missing library."""


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis, or several that always change together (zipped); steps in drawing order."""
    names: tuple
    steps: tuple

    @property
    def name(self):
        return " / ".join(self.names)

    def step_of(self, row):
        """The row's step; None where its system does not declare the axis."""
        return joined_value(row, self.names)


def read_rows(folder):
    """All rows that hold a TTFT, and how many do not (no measured request)."""
    path = folder / "results.jsonl"
    try:
        lines = path.read_bytes().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        unfinished = (folder / "journal.jsonl").exists()
        hint = "the sweep is not finished, go on with --resume" if unfinished else "not a result folder of a sweep"
        raise InputError(f"{path}: not there: {hint}") from None
    except OSError as error:
        raise MachineError(str(error)) from None
    rows = [checked_row(line, f"{path}: line {number}") for number, line in enumerate(lines, 1)]
    if not rows:
        raise InputError(f"{path}: has no rows")
    versions = sorted({str(row.get("schema_version")) for row in rows})
    if len(versions) > 1:
        raise InputError(f"{path}: rows of schema versions {', '.join(versions)}, whose keys may differ: sweep anew with --force")
    drawable = [row for row in rows if row["ttft"]["mean_ttft_ms"] is not None]
    if not drawable:
        raise InputError(f"{path}: none of its {len(rows)} rows has a TTFT (no measured request)")
    return drawable, len(rows) - len(drawable)


def checked_row(line, place):
    try:
        row = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place} is not JSON, cut short or damaged: {error}") from None
    if not isinstance(row, dict):
        raise InputError(f"{place} is not a result row: found a JSON {type(row).__name__}, wanted an object")
    for key, kind in (("label", str), ("axes", dict), ("ttft", dict), ("time_ms", dict)):
        if not isinstance(row.get(key), kind):
            raise InputError(f"{place} is not a result row: {key}: found {row.get(key)!r}, wanted {kind.__name__}")
    check_number(row["ttft"], "mean_ttft_ms", f"{place}: ttft", required=True)
    check_number(row["ttft"], "p95_ttft_ms", f"{place}: ttft")
    for time_class in TIME_CLASSES:
        check_number(row["time_ms"], time_class, f"{place}: time_ms")
    return row


def check_number(values, key, place, required=False):
    if required and key not in values:
        raise InputError(f"{place}.{key} is missing")
    value = values.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, numbers.Real)):
        raise InputError(f"{place}.{key}: found {value!r}, wanted a number or null")


def text_of(value):
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        return value["name"]
    if isinstance(value, (dict, list)):
        return json.dumps(value)
    return str(value)


def joined_value(row, names):
    values = [row["axes"].get(name) for name in names]
    return None if None in values else " / ".join(text_of(value) for value in values)


def ordered_steps(rows, name):
    """Distinct values: numbers upwards, anything else in the order of the file."""
    values = collections.OrderedDict()
    for row in rows:
        value = row["axes"].get(name)
        if value is not None:
            values.setdefault(text_of(value), exact_number(value))
    if None not in values.values():
        return sorted(values, key=values.get)
    return list(values)


def exact_number(value):
    """A number, also a budget written as "1/3"; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return fractions.Fraction(value)
    except (ValueError, ZeroDivisionError, OverflowError):
        return None


def find_axes(rows):
    """Every axis with at least two values; axes that determine each other in all rows are one."""
    names = collections.OrderedDict.fromkeys(name for row in rows for name in row["axes"])
    left = [name for name in names if len(ordered_steps(rows, name)) > 1]
    axes = []
    while left:
        first = left[0]
        together = [name for name in left if name == first or change_together(rows, first, name)]
        left = [name for name in left if name not in together]
        pairs = {text_of(row["axes"][first]): joined_value(row, together)
                 for row in rows if row["axes"].get(first) is not None}
        axes.append(Axis(tuple(together), tuple(pairs[step] for step in ordered_steps(rows, first))))
    return axes


def change_together(rows, one, other):
    pairs = {(joined_value(row, [one]), joined_value(row, [other])) for row in rows}
    return len(pairs) == len({pair[0] for pair in pairs}) == len({pair[1] for pair in pairs})


def choose_x(axes, wanted, rows):
    """The axis asked for, else the one with most values, the software path last of all; None where nothing varies."""
    if wanted:
        for axis in axes:
            if wanted in axis.names:
                return axis
        known = list(collections.OrderedDict.fromkeys(name for row in rows for name in row["axes"]))
        if wanted in known:
            raise InputError(f"--x {wanted}: has one value only; axes with more: {names_of(axes)}")
        raise InputError(f"--x {wanted}: no such axis; these rows have: {', '.join(known) or 'none'}")
    return max(axes, key=lambda axis: (PATH_AXIS not in axis.names, len(axis.steps)), default=None)


def names_of(axes):
    return ", ".join(name for axis in axes for name in axis.names) or "none"


def choose_facet(axes, x, rows, most_steps):
    """The axis, besides x and the software path, that most systems declare and whose steps fit the panels."""
    def num_systems(axis):
        return len(labels_of(row for row in rows if axis.step_of(row) is not None))
    fitting = [axis for axis in axes if axis is not x and PATH_AXIS not in axis.names and len(axis.steps) <= most_steps]
    return max(fitting, key=num_systems, default=None)


def labels_of(rows):
    return list(collections.OrderedDict.fromkeys(row["label"] for row in rows))


def paths_of(rows):
    return list(collections.OrderedDict.fromkeys(row.get(PATH_AXIS) or "" for row in rows))


def rows_on(rows, path):
    """Rows of one software path; of all for None."""
    return [row for row in rows if path is None or (row.get(PATH_AXIS) or "") == path]


def rows_at(rows, axis, step):
    """Rows at a step, and those whose system does not declare the axis: they hold at every step."""
    return rows if axis is None else [row for row in rows if axis.step_of(row) in (None, step)]


def mean(values):
    """None when there is nothing to average."""
    values = [value for value in values if value is not None]
    return sum(values) / len(values) if values else None


def num_backlogged(rows):
    return sum(row.get("verdict") == "BACKLOGGED" for row in rows)

"""Draws TTFT by system and one axis, and TTFT by time class, from the result files of a sweep (simulates nothing)."""
import argparse
import collections
import json
import pathlib
import sys

INPUT_ERROR, MACHINE_ERROR = 2, 3
TIME_CLASSES = ["gpu_compute", "scoring", "ssd", "link", "queueing", "host"]
TIME_COLOURS = ["#3b6fb6", "#76a5d8", "#d1603d", "#e8a87c", "#b8b8b8", "#5f6b6d"]
MAX_PANELS = 6


def fail(code, message):
    print(f"plots/plot.py: {message}", file=sys.stderr)
    sys.exit(code)


def read_rows(folder):
    path = folder / "results.jsonl"
    if not path.exists():
        partial = (folder / "journal.jsonl").exists()
        fail(INPUT_ERROR, f"{path}: not there" + (": the sweep is not finished, run it with --resume" if partial else ""))
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            row = json.loads(line)
            row["ttft"]["mean_ttft_ms"], row["time_ms"], row["axes"], row["label"]
        except (ValueError, KeyError, TypeError) as error:
            fail(INPUT_ERROR, f"{path}: line {number} is not a result row: {error!r}")
        rows.append(row)
    if not rows:
        fail(INPUT_ERROR, f"{path}: has no rows")
    return rows


def text_of(value):
    if isinstance(value, dict):
        return str(value.get("name", value))
    return {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def axis_values(rows):
    """Axis -> its values in order of appearance, without the collapsed ones."""
    values = collections.OrderedDict()
    for row in rows:
        for axis, value in row["axes"].items():
            seen = values.setdefault(axis, [])
            if value is not None and text_of(value) not in seen:
                seen.append(text_of(value))
    return values


def choose_axis(values, wanted, rows):
    if wanted:
        if wanted not in values:
            fail(INPUT_ERROR, f"--x {wanted}: no such axis; the rows have: {', '.join(values) or 'none'}")
        return wanted
    candidates = [axis for axis in values if axis != "software_path" and len(values[axis]) > 1]
    return max(candidates, key=lambda axis: len(values[axis]), default=None)


def mean(numbers):
    numbers = list(numbers)
    return sum(numbers) / len(numbers)


def facet_of(row):
    return row.get("software_path", "")


def labels_of(rows):
    return list(collections.OrderedDict.fromkeys(row["label"] for row in rows))


def title_of(rows, what):
    first = rows[0]
    note = ", hypothetical profile" if first.get("profile_kind") == "hypothetical" else ""
    return f"{first.get('scenario', 'sweep')}: {what}\n{first.get('model', '')} on {first.get('profile', '')}{note}"


def best_per(rows, axis, value):
    """Rows at one value of the axis; other axes are averaged over, and the caption says so."""
    return [row for row in rows if row["axes"].get(axis) is not None and text_of(row["axes"][axis]) == value]


def draw_by_axis(plt, rows, axis, values, out):
    facets = list(collections.OrderedDict.fromkeys(facet_of(row) for row in rows))[:MAX_PANELS]
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
    figure, panels = plt.subplots(1, len(facets), figsize=(7.2 * len(facets), 5.2), squeeze=False, sharey=True)
    labels = labels_of(rows)
    colours = {label: plt.get_cmap("tab10")(i % 10) for i, label in enumerate(labels)}
    steps = values[axis] if axis else ["all"]
    for panel, facet in zip(panels[0], facets):
        here = [row for row in rows if facet_of(row) == facet]
        for label in labels:
            mine = [row for row in here if row["label"] == label]
            groups = [best_per(mine, axis, step) if axis else mine for step in steps]
            at = [i for i, group in enumerate(groups) if group]
            if at:
                groups = [groups[i] for i in at]
            else:  # the system does not declare the axis: one level line
                at, groups = list(range(len(steps))), [mine] * len(steps)
            if not mine:
                continue
            backlogged = any(row.get("verdict") == "BACKLOGGED" for row in mine)
            panel.plot(at, [mean(r["ttft"]["mean_ttft_ms"] for r in g) for g in groups], marker="o", color=colours[label],
                       linestyle=":" if backlogged else "-", label=label + (" (backlogged)" if backlogged else ""))
            panel.plot(at, [mean(r["ttft"]["p95_ttft_ms"] for r in g) for g in groups], marker="_", markersize=11,
                       linestyle="", color=colours[label])
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        panel.yaxis.set_minor_formatter(NullFormatter())
        panel.tick_params(labelleft=True)
        panel.set_xticks(range(len(steps)))
        panel.set_xticklabels(steps)
        panel.set_xlabel(axis or "")
        panel.set_ylabel("TTFT (ms), log scale; dash: P95")
        panel.set_title(f"{facet} path" if facet else "")
        panel.grid(True, which="both", axis="y", alpha=0.25)
    others = [name for name in values if name not in (axis, "software_path") and len(values[name]) > 1]
    panels[0][-1].legend(fontsize=9, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    figure.suptitle(title_of(rows, f"mean TTFT by {axis}" if axis else "mean TTFT"), fontsize=12)
    if others:
        figure.text(0.01, 0.005, "averaged over: " + ", ".join(others), fontsize=8, color="#555555")
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    figure.savefig(out, dpi=120)
    plt.close(figure)


def draw_time_classes(plt, rows, out):
    facets = list(collections.OrderedDict.fromkeys(facet_of(row) for row in rows))[:MAX_PANELS]
    labels = labels_of(rows)
    figure, panels = plt.subplots(1, len(facets), figsize=(7.2 * len(facets), 0.55 * len(labels) + 2.4), squeeze=False)
    for panel, facet in zip(panels[0], facets):
        for position, label in enumerate(labels):
            mine = [row for row in rows if row["label"] == label and facet_of(row) == facet]
            if not mine:
                continue
            left = 0.0
            for time_class, colour in zip(TIME_CLASSES, TIME_COLOURS):
                width = mean(row["time_ms"].get(time_class, 0.0) for row in mine)
                hatch = "//" if any(row.get("verdict") == "BACKLOGGED" for row in mine) else None
                panel.barh(position, width, left=left, color=colour, hatch=hatch, label=time_class if position == 0 else None)
                left += width
            panel.text(left, position, f" {left:.1f}", va="center", fontsize=8)
        panel.set_yticks(range(len(labels)))
        panel.set_yticklabels(labels)
        panel.invert_yaxis()
        panel.margins(x=0.12)
        panel.set_xlabel("mean TTFT (ms), each nanosecond charged once")
        panel.set_title(f"{facet} path" if facet else "")
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, names, ncol=len(TIME_CLASSES), loc="lower center", frameon=False, fontsize=9)
    figure.suptitle(title_of(rows, "where TTFT goes (mean over all points of a system)"), fontsize=12)
    figure.tight_layout(rect=(0, 0.09, 1, 1))
    figure.savefig(out, dpi=120)
    plt.close(figure)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=pathlib.Path, help="result folder of a sweep")
    parser.add_argument("--x", help="axis to draw over (default: the one with most values)")
    parser.add_argument("--out", type=pathlib.Path, help="folder for the images (default: the result folder)")
    options = parser.parse_args(arguments)
    try:
        import matplotlib
        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        fail(MACHINE_ERROR, "matplotlib is missing for /usr/bin/python3: run scripts/setup")
    rows = read_rows(options.result)
    values = axis_values(rows)
    axis = choose_axis(values, options.x, rows)
    out = options.out or options.result
    try:
        out.mkdir(parents=True, exist_ok=True)
        drawn = [out / f"ttft_by_{(axis or 'system').replace('.', '_')}.png", out / "ttft_by_time_class.png"]
        draw_by_axis(plt, rows, axis, values, drawn[0])
        draw_time_classes(plt, rows, drawn[1])
    except OSError as error:
        fail(MACHINE_ERROR, f"{out}: {error}")
    for path in drawn:
        print(path)


if __name__ == "__main__":
    main()

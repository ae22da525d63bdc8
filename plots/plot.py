"""Draws TTFT by system and one axis, and TTFT by time class, from the result files of a sweep (simulates nothing).

Called by `reprefill plot` through /usr/bin/python3, which Debian's matplotlib belongs to.
Exit codes: 0 done, 2 input, 3 machine. Prints the path of each image.
"""
import argparse
import os
import pathlib
import sys
import textwrap
import warnings

import result_rows as data

INPUT_ERROR, MACHINE_ERROR = 2, 3
WIDTH_PX, DPI = 1600, 120
MAX_PANELS = 6
TIME_COLOURS = ("#3b6fb6", "#8fc1e3", "#d1603d", "#efb48c", "#b8b8b8", "#5f6b6d")
MARKERS = "osD^vP"
FONT = "DejaVu Sans"
GREY = "#555555"
# A bar longer than this many times the next one is cut, so that the others stay readable; its number is printed.
CUT_RATIO = 3.0


# ---- shared by both figures

def new_figure(plt, num_rows, num_columns, height_in, **options):
    return plt.subplots(num_rows, num_columns, figsize=(WIDTH_PX / DPI, height_in), squeeze=False, **options)


def title_of(rows, what):
    """Scenario, model and profile; several of one kind are listed, since an axis may range over them."""
    models, profiles = (", ".join(dict.fromkeys(str(row.get(key, "?")) for row in rows))
                        for key in ("model", "profile"))
    note = " (hypothetical profile)" if any(row.get("profile_kind") == "hypothetical" for row in rows) else ""
    return f"{rows[0].get('scenario', 'sweep')}: {what}\n{models} on {profiles}{note}"


def wrapped(label):
    """On several lines if long. matplotlib leaves out of a legend what starts with an underscore, hence the space."""
    return (" " if label.startswith("_") else "") + textwrap.fill(label, 26)


def path_title(path):
    return f"{path} path" if path else ""


def caption_of(axes, drawn, rows, num_left_out):
    """What the picture averages over or leaves out: never silently."""
    hidden = [axis.name for axis in axes if axis not in drawn and data.PATH_AXIS not in axis.names]
    num_replicas = len({row.get("replica", 0) for row in rows})
    if num_replicas > 1:
        hidden.append(f"{num_replicas} replicas")
    parts = ["averaged over: " + ", ".join(hidden)] if hidden else []
    if num_left_out:
        parts.append(f"{num_left_out} rows without a TTFT left out")
    return "; ".join(parts)


def save(plt, figure, path):
    """Under a temporary name first: a full disk leaves no image that looks whole."""
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        # Without the "Software" tag the same results give the same bytes whatever made matplotlib.
        figure.savefig(unfinished, dpi=DPI, format="png", metadata={"Software": None})
        os.replace(unfinished, path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    finally:
        plt.close(figure)


# ---- TTFT by system and one axis

class Style:
    """Colour, marker and place of each system: the same in every panel, side by side so that no mark hides another."""

    def __init__(self, plt, rows, x):
        labels, palette = data.labels_of(rows), plt.get_cmap("tab10").colors
        self.colour = {label: palette[i % len(palette)] for i, label in enumerate(labels)}
        self.marker = {label: MARKERS[(i + i // len(palette)) % len(MARKERS)] for i, label in enumerate(labels)}
        along = data.labels_of(row for row in rows if x.step_of(row) is not None)
        self.level = [label for label in labels if label not in along]
        last = len(x.steps) - 1
        self.shift = dict(spread(along, 0.0, 0.4)) | dict(spread(self.level, last + 0.6, 0.5))
        self.right_edge = last + (0.95 if self.level else 0.4)


def spread(labels, middle, width):
    return ((label, middle + width * ((i + 0.5) / len(labels) - 0.5)) for i, label in enumerate(labels))


def draw_point(panel, at, rows, style, label):
    """Mean as a marker (hollow if any row is backlogged) and P95 as a cap above or below it; returns the mean."""
    ttft = data.mean(row["ttft"]["mean_ttft_ms"] for row in rows)
    p95 = data.mean(row["ttft"].get("p95_ttft_ms") for row in rows)
    colour = style.colour[label]
    if p95 is not None:
        panel.vlines(at, min(ttft, p95), max(ttft, p95), color=colour, linewidth=1, alpha=0.6)
        panel.plot([at], [p95], marker="_", markersize=9, color=colour)
    face = "white" if data.num_backlogged(rows) else colour
    panel.plot([at], [ttft], marker=style.marker[label], markersize=6, color=colour, markerfacecolor=face, zorder=3)
    return ttft


def draw_system(panel, rows, x, style, label):
    """A line over the steps of x; a dashed level line for a system that does not declare x."""
    colour = style.colour[label]
    if label in style.level:
        ttft = draw_point(panel, style.shift[label], rows, style, label)
        panel.plot([-0.3, style.shift[label]], [ttft, ttft], color=colour, linestyle="--", linewidth=1.2)
        return
    at, means = [], []
    for position, step in enumerate(x.steps):
        here = [row for row in rows if x.step_of(row) == step]
        if here:
            at.append(position + style.shift[label])
            means.append(draw_point(panel, at[-1], here, style, label))
    panel.plot(at, means, color=colour, linewidth=1.6)


def axis_panels(rows, x, facet):
    """(title, rows) of each panel: steps of the facet axis down, software paths across unless they are x."""
    paths = [None] if data.PATH_AXIS in x.names else data.paths_of(rows)
    steps = facet.steps if facet else [None]
    panels = []
    for step in steps:
        for path in paths:
            titles = [path_title(path), f"{facet.name} = {step}" if facet else ""]
            panels.append((", ".join(filter(None, titles)), data.rows_at(data.rows_on(rows, path), facet, step)))
    return panels, len(paths)


def dress_axis_panel(panel, title, x, right_edge):
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
    panel.set_yscale("log")
    low, high = panel.get_ylim()
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 8 * low else (1, 1.5, 2, 3, 5, 7)))
    panel.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.tick_params(labelleft=True)
    panel.set_xticks(range(len(x.steps)), [step.replace(" / ", "\n") for step in x.steps])
    panel.set_xlim(-0.4, right_edge)
    panel.set_xlabel(x.name)
    panel.set_ylabel("TTFT (ms, log scale)")
    panel.set_title(title, fontsize=11)
    panel.grid(True, axis="y", alpha=0.25)


def add_axis_legend(plt, figure, rows, style):
    """To the right of the panels; returns where it begins, as a share of the width."""
    line = plt.Line2D
    entries = [(line([], [], color=style.colour[label], marker=style.marker[label]), wrapped(label))
               for label in data.labels_of(rows)]
    entries.append((line([], [], color=GREY, marker="_", markersize=9, linestyle=""), "P95 (marker: mean)"))
    if style.level:
        entries.append((line([], [], color=GREY, linestyle="--"), "system without this axis"))
    if data.num_backlogged(rows):
        hollow = line([], [], color=GREY, marker="o", markerfacecolor="white", linestyle="")
        entries.append((hollow, "hollow: BACKLOGGED"))
    handles, names = zip(*entries)
    legend = figure.legend(handles, names, loc="center right", fontsize=9, frameon=False)
    return legend.get_window_extent(figure.canvas.get_renderer()).x0 / figure.bbox.width


def draw_by_axis(plt, rows, axes, x, num_left_out, out):
    num_paths = 1 if data.PATH_AXIS in x.names else len(data.paths_of(rows))
    facet = data.choose_facet(axes, x, rows, MAX_PANELS // num_paths)
    panels, num_columns = axis_panels(rows, x, facet)
    if num_columns == 1:
        num_columns = min(3, len(panels))
    num_rows = -(-len(panels) // num_columns)
    style = Style(plt, rows, x)
    height_of_legend = 0.34 * len(style.colour) + 1.0
    figure, grid = new_figure(plt, num_rows, num_columns, max(3.3 * num_rows + 1.7, height_of_legend), sharey=True)
    for place, (title, here) in zip(grid.flat, panels):
        for label in data.labels_of(here):
            draw_system(place, [row for row in here if row["label"] == label], x, style, label)
        dress_axis_panel(place, title, x, style.right_edge)
    for unused in grid.flat[len(panels):]:
        unused.set_visible(False)
    figure.suptitle(title_of(rows, f"TTFT by system and {x.name}"), fontsize=13)
    figure.text(0.01, 0.008, caption_of(axes, (x, facet), rows, num_left_out), fontsize=9, color=GREY)
    figure.tight_layout(rect=(0, 0.03, add_axis_legend(plt, figure, rows, style), 1))
    save(plt, figure, out)


# ---- TTFT by time class

def cut_length(lengths):
    """Where bars are cut: None unless one bar dwarfs the next."""
    longest = sorted(lengths, reverse=True)
    if len(longest) < 2 or longest[1] <= 0 or longest[0] <= CUT_RATIO * longest[1]:
        return None
    return 1.5 * longest[1]


def draw_bar(panel, position, rows, cut):
    left, backlogged = 0.0, data.num_backlogged(rows)
    for time_class, colour in zip(data.TIME_CLASSES, TIME_COLOURS):
        width = data.mean(row["time_ms"].get(time_class) for row in rows) or 0.0
        shown = min(left + width, cut) - min(left, cut) if cut else width
        hatch = "//" if backlogged else None
        panel.barh(position, shown, left=left, color=colour, hatch=hatch, edgecolor="white", linewidth=0)
        left += width
    note = f" {left:.1f}"
    if cut and left > cut:
        panel.text(cut, position, "//", color="white", ha="right", va="center", fontsize=14, fontweight="bold")
        note += " (bar cut)"
    if backlogged:
        note += f"\n {backlogged} of {len(rows)} BACKLOGGED"
    panel.text(min(left, cut) if cut else left, position, note, va="center", fontsize=9)


def draw_class_panel(panel, rows, labels, title):
    groups = [[row for row in rows if row["label"] == label] for label in labels]
    lengths = [sum(data.mean(row["time_ms"].get(name) for row in group) or 0.0 for name in data.TIME_CLASSES)
               for group in groups]
    cut = cut_length(lengths)
    for position, group in enumerate(groups):
        if group:
            draw_bar(panel, position, group, cut)
    panel.set_yticks(range(len(labels)), [wrapped(label) for label in labels])
    panel.set_ylim(len(labels) - 0.4, -0.6)
    room_for_notes = 1.5 if data.num_backlogged(rows) else 1.3
    panel.set_xlim(0, room_for_notes * (cut or max(lengths)) or 1.0)
    panel.set_xlabel("mean TTFT (ms)")
    panel.set_title(title, fontsize=11)


def draw_time_classes(plt, rows, axes, num_left_out, out):
    paths, labels = data.paths_of(rows), data.labels_of(rows)
    figure, grid = new_figure(plt, 1, len(paths), 0.5 * len(labels) + 2.6, sharey=True)
    for panel, path in zip(grid[0], paths):
        draw_class_panel(panel, data.rows_on(rows, path), labels, path_title(path))
    handles, names = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in TIME_COLOURS], list(data.TIME_CLASSES)
    if data.num_backlogged(rows):
        handles.append(plt.Rectangle((0, 0), 1, 1, facecolor="#cccccc", edgecolor="white", hatch="//", linewidth=0))
        names.append("hatched: BACKLOGGED")
    height = figure.get_figheight()
    figure.legend(handles, names, ncol=len(names), loc="lower center", bbox_to_anchor=(0.5, 0.28 / height),
                  frameon=False, fontsize=9)
    figure.suptitle(title_of(rows, "where TTFT goes (each nanosecond charged to one class)"), fontsize=13)
    figure.text(0.01, 0.1 / height, caption_of(axes, (), rows, num_left_out), fontsize=9, color=GREY)
    figure.tight_layout(rect=(0, 0.6 / height, 1, 1))
    save(plt, figure, out)


# ---- the command

def show_warning(message, *_):
    """Of matplotlib, such as a sign in a name that the font does not have: it is drawn as a box."""
    print(f"plots: {message}", file=sys.stderr)


def load_matplotlib():
    try:
        import matplotlib
        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
        from matplotlib import font_manager
    except ImportError as error:
        raise data.MachineError(f"no usable matplotlib for {sys.executable} ({error}): run scripts/setup") from None
    try:
        font_manager.findfont(FONT, fallback_to_default=False)
    except ValueError:
        raise data.MachineError(f"matplotlib does not find the font {FONT}: run scripts/setup (package fonts-dejavu-core)") from None
    plt.rcParams["font.family"] = FONT
    warnings.showwarning = show_warning
    # Names come from scenario files: a "$" in one is no formula.
    plt.rcParams["text.parse_math"] = False
    return plt


def draw(options):
    rows, num_left_out = data.read_rows(options.result)
    axes = data.find_axes(rows)
    x = data.choose_x(axes, options.x, rows)
    plt = load_matplotlib()
    out = options.out or options.result
    out.mkdir(parents=True, exist_ok=True)
    drawn = [out / "ttft_by_time_class.png"]
    draw_time_classes(plt, rows, axes, num_left_out, drawn[0])
    # Where nothing varies the bars say it all.
    if x is not None:
        drawn.insert(0, out / f"ttft_by_{file_stem(x)}.png")
        draw_by_axis(plt, rows, axes, x, num_left_out, drawn[0])
    return drawn


def file_stem(axis):
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in axis.names[0])


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="plots/plot.py", description=__doc__.splitlines()[0])
    parser.add_argument("result", type=pathlib.Path, help="result folder of a sweep")
    parser.add_argument("--x", help="axis to draw over (default: the one with most values)")
    parser.add_argument("--out", type=pathlib.Path, help="folder for the images (default: the result folder)")
    options = parser.parse_args(arguments)
    try:
        for path in draw(options):
            print(path)
    except data.InputError as error:
        return report(error, INPUT_ERROR)
    except (data.MachineError, OSError) as error:
        return report(error, MACHINE_ERROR)
    return 0


def report(error, code):
    print(f"plots/plot.py: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())

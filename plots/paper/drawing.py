"""Draws panels, and writes beside every figure a CSV with each point and the result rows that it comes from."""
import csv
import math
import os
import textwrap

COLOURS = {"recompute": "#8a8f98", "attention_store": "#3b6fb6", "as_h2o": "#3f9b6c", "as_h2o_lfu": "#8cc7a4", "impress": "#d1603d",
           "contiguous_kv": "#6b3fa0", "aligned": "#8fc1e3", "aligned_prefetch": "#3b6fb6", "gpu_compute": "#3b6fb6", "scoring": "#8fc1e3", "ssd": "#d1603d", "link": "#efb48c",
           "queueing": "#b8b8b8", "host": "#5f6b6d"}
MORE_COLOURS = ("#3b6fb6", "#d1603d", "#3f9b6c", "#6b3fa0", "#c79a1e", "#7a5a4c", "#3aa6b9", "#d779b0")
NAMES = {"attention_store": "AS+LRU", "as_h2o": "AS+H2O+LRU", "as_h2o_lfu": "AS+H2O+LFU", "impress": "IMPRESS",
         "contiguous_kv": "ContiguousKV", "recompute": "ReComp", "aligned": "+ alignment", "aligned_prefetch": "+ prefetch", "resident": "all in GPU memory",
         "impress_lru": "IMPRESS, LRU", "impress_lfu": "IMPRESS, LFU", "impress_reordered": "IMPRESS, LFU, reordered", "impress_score": "IMPRESS, its policy"}
MARKERS = "osD^vPX*"
GREY = "#555555"
MARKS = {"read": "read", "secondary": "secondary source", "derived": "derived", "reproduction": "independent reproduction",
         "own": "own digitisation"}


def name_of(system):
    return NAMES.get(system, system.replace("_", " "))


class Painter:
    def __init__(self, plt):
        self.plt = plt

    def colours_of(self, panels):
        systems = list(dict.fromkeys(point.system for panel in panels for point in panel.points))
        spare = iter(MORE_COLOURS * (1 + len(systems) // len(MORE_COLOURS)))
        return {system: COLOURS.get(system) or next(spare) for system in systems}

    def draw(self, figure, overlays, out, caption):
        columns = min(figure.columns, len(figure.panels))
        num_rows = math.ceil(len(figure.panels) / columns)
        picture, grid = self.plt.subplots(num_rows, columns, figsize=(4.6 * columns + 0.6, 3.5 * num_rows + 1.5), squeeze=False)
        colours = self.colours_of(figure.panels)
        for place, panel in zip(grid.flat, figure.panels):
            self.draw_panel(place, panel, colours,
                            [one for one in overlays if one.panel == panel.title], figure.provisional)
        for unused in grid.flat[len(figure.panels):]:
            unused.set_visible(False)
        height = picture.get_figheight()
        self.add_legend(picture, colours, figure, overlays, height)
        picture.suptitle(figure.title, fontsize=13)
        lines = textwrap.wrap(caption, 72 * columns)
        picture.text(0.01, 0.06 / height, "\n".join(lines), fontsize=7.5, color=GREY, va="bottom")
        picture.tight_layout(rect=(0, (0.55 + 0.14 * len(lines)) / height, 1, 1))
        self.save(picture, out)

    def draw_panel(self, place, panel, colours, overlays, provisional):
        if panel.points:
            {"bars": self.draw_bars, "lines": self.draw_lines, "stack": self.draw_stack}[panel.kind](place, panel, colours, overlays)
        else:
            place.text(0.5, 0.5, panel.if_empty, ha="center", va="center", transform=place.transAxes, fontsize=9, color=GREY)
        if panel.log:
            place.set_yscale("log")
            self.plain_ticks(place)
        place.set_title(panel.title + (" (provisional)" if provisional else ""), fontsize=10)
        place.set_ylabel(panel.y, fontsize=9)
        place.set_xlabel(panel.x, fontsize=9)
        place.tick_params(labelsize=8)
        place.grid(True, axis="y", alpha=0.25)
        place.set_axisbelow(True)

    def plain_ticks(self, place):
        from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
        low, high = place.get_ylim()
        place.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,)))
        place.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        place.yaxis.set_minor_formatter(NullFormatter())

    def draw_bars(self, place, panel, colours, overlays):
        steps = list(dict.fromkeys(point.x for point in panel.points))
        systems_at = {step: list(dict.fromkeys(point.system for point in panel.points if point.x == step)) for step in steps}
        width = 0.8 / max(len(systems) for systems in systems_at.values())
        for point in panel.points:
            systems = systems_at[point.x]
            at = steps.index(point.x) + (systems.index(point.system) - (len(systems) - 1) / 2) * width
            place.bar(at, point.value, width * 0.92, color=colours[point.system])
            if point.high > point.low:
                place.vlines(at, point.low, point.high, color="#222222", linewidth=0.8)
            if len(panel.points) <= 6:
                place.text(at, 0, f"{point.value:.3g}", ha="center", va="bottom" if point.value >= 0 else "top", fontsize=9, color="white")
            for one in overlays:
                if one.system == point.system and one.x == str(point.x):
                    place.plot([at], [one.value], marker="D", markersize=5, color="black", markerfacecolor="white", zorder=4)
        self.label_steps(place, steps)

    def label_steps(self, place, steps):
        long = sum(len(str(step)) for step in steps) > 44
        place.set_xticks(range(len(steps)), [str(step) for step in steps], rotation=55 if long else 0,
                         ha="right" if long else "center", fontsize=7 if len(steps) > 10 else 8)

    def draw_lines(self, place, panel, colours, overlays):
        steps = sorted({point.x for point in panel.points})
        for index, system in enumerate(dict.fromkeys(point.system for point in panel.points)):
            points = sorted((point for point in panel.points if point.system == system), key=lambda point: point.x)
            at = [steps.index(point.x) for point in points]
            place.plot(at, [point.value for point in points], marker=MARKERS[index % len(MARKERS)], markersize=5, color=colours[system],
                       linewidth=1.5)
            for x, point in zip(at, points):
                if point.high > point.low:
                    place.vlines(x, point.low, point.high, color=colours[system], linewidth=1)
        for one in overlays:
            matching = [x for x, step in enumerate(steps) if f"{step:g}" == one.x]
            for x in matching:
                place.plot([x], [one.value], marker="D", markersize=6, color=colours.get(one.system, "black"), markerfacecolor="white", zorder=4)
        place.set_xticks(range(len(steps)), [f"{step:g}" for step in steps])

    def draw_stack(self, place, panel, colours, _overlays):
        steps = list(dict.fromkeys(point.x for point in panel.points))
        tops = dict.fromkeys(steps, 0.0)
        for point in panel.points:
            place.bar(steps.index(point.x), point.value, 0.65, bottom=tops[point.x], color=colours[point.system])
            tops[point.x] += point.value
        for index, step in enumerate(steps):
            place.text(index, tops[step], f"{tops[step]:.0f}", ha="center", va="bottom", fontsize=8)
        self.label_steps(place, [name_of(step) for step in steps])

    def add_legend(self, picture, colours, figure, overlays, height):
        handles = [self.plt.Rectangle((0, 0), 1, 1, color=colour) for colour in colours.values()]
        names = [name_of(system) for system in colours]
        for kind in dict.fromkeys(one.kind for one in overlays):
            handles.append(self.plt.Line2D([], [], marker="D", linestyle="", color="black", markerfacecolor="white"))
            names.append(f"reported ({MARKS[kind]})")
        picture.legend(handles, names, ncol=min(7, len(names)), loc="lower center", bbox_to_anchor=(0.5, 0.36 / height), frameon=False,
                       fontsize=8.5)

    def save(self, picture, out):
        """Under temporary names first. No date and no program in the files: the same results give the same bytes."""
        try:
            for ending, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None, "Producer": None, "Creator": None})):
                final = out.with_name(f"{out.name}.{ending}")
                unfinished = final.with_name(final.name + ".unfinished")
                picture.savefig(unfinished, dpi=130, format=ending, metadata=metadata)
                os.replace(unfinished, final)
        finally:
            self.plt.close(picture)


def caption_of(figure, overlays):
    """Seeds and requests of every figure, and what a reader must know; never left out."""
    parts = []
    for sweep in figure.sweeps:
        low, high = sweep.requests
        requests = str(low) if low == high else f"{low} to {high}"
        kinds = {row.get("profile_kind") for row in sweep.rows}
        parts.append(f"sweep {sweep.folder.name}: {sweep.num_seeds} seeds, {requests} measured requests a point and seed"
                     + (", hypothetical profile" if "hypothetical" in kinds else ""))
        backlogged = sum(row.get("verdict") == "BACKLOGGED" for row in sweep.rows)
        if backlogged:
            parts.append(f"{backlogged} BACKLOGGED rows in {sweep.folder.name}")
        if sweep.num_left_out:
            parts.append(f"{sweep.num_left_out} rows of {sweep.folder.name} without a TTFT left out")
    if figure.sweeps and any(point.high > point.low for panel in figure.panels for point in panel.points):
        parts.append("thin lines: range over seeds")
    if figure.provisional:
        parts.append("PROVISIONAL: fewer than 10 seeds or 1,000 measured requests")
    if overlays:
        parts.append("diamonds: reported values")
    return ". ".join(part[0].upper() + part[1:] for part in parts + figure.notes) + "."


def write_points(figure, overlays, path):
    """One line a point; `rows` names result folder and point numbers, `inputs` the hashes of what decided them."""
    unfinished = path.with_name(path.name + ".unfinished")
    with open(unfinished, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("figure", "panel", "system", "x", "y", "value", "low", "high", "kind", "source", "rows", "inputs"))
        for panel in figure.panels:
            for point in panel.points:
                folders = sorted({str(row.get("scenario")) for row in point.rows})
                x = f"{point.x:g}" if isinstance(point.x, (int, float)) else point.x
                writer.writerow((figure.name, panel.title, point.system, x, panel.y, repr(point.value), repr(point.low), repr(point.high),
                                 "simulated" if point.rows else "reported", point.source or " ".join(folders),
                                 " ".join(str(row.get("point")) for row in point.rows), " ".join(str(row.get("inputs")) for row in point.rows)))
        for one in overlays:
            writer.writerow((figure.name, one.panel, one.system, one.x, one.quantity, repr(one.value), "", "", one.kind, one.source, "", ""))
    os.replace(unfinished, path)

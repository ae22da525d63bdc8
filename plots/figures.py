"""Runs the scenarios of the papers and draws their figures: one PNG, one PDF and one CSV of the plotted points each.

Called by `reprefill figures` through /usr/bin/python3. Exit codes: 0 done, 2 input, 3 machine, 130 interrupted.
Prints the path of each image.
"""
import argparse
import pathlib
import sys

import plot
import result_rows as data
from paper import contiguous_kv, drawing, impress, reproduction, sensitivity
from paper.reported import read_reported
from paper.sweeps import Interrupted, Runner, Sweep, note, read_importance

PRESETS = ("paper-5pct", "qwen7b-fewshot", "impress-opt")
SWEEP_FIGURES = {**contiguous_kv.SWEEP_FIGURES, **impress.SWEEP_FIGURES}
OTHER_FIGURES = ("contiguouskv-figure9", "contiguouskv-coverage")
NAMES = tuple(SWEEP_FIGURES) + OTHER_FIGURES
INTERRUPTED = 130


def chosen_names(words):
    """Figures whose names contain one of the words, in the catalogue's order; all without words."""
    for word in words:
        if not any(word in name for name in NAMES):
            raise data.InputError(f"{word}: no such figure; there are {', '.join(NAMES)}")
    return [name for name in NAMES if not words or any(word in name for word in words)]


def sweeps_of(names):
    return list(dict.fromkeys(sweep for name in names for sweep in SWEEP_FIGURES.get(name, (None, ()))[1]))


def run_all(runner, names, with_document):
    sweeps = list(dict.fromkeys(sweeps_of(names) + (list(reproduction.SWEEPS) if with_document else [])))
    for number, sweep in enumerate(sweeps, 1):
        note(f"sweep {number} of {len(sweeps)}: {sweep}")
        runner.sweep(sweep)
    if "contiguouskv-coverage" in names:
        for preset in PRESETS:
            runner.importance(preset)
    if with_document:
        note("sweeps of the sensitivity table")
        sensitivity.run(runner)


def make_figure(name, runner, reported):
    if name == "contiguouskv-figure9":
        return contiguous_kv.figure9(reported)
    if name == "contiguouskv-coverage":
        return contiguous_kv.coverage({preset: read_importance(runner.result_folder("importance") / f"{preset}.json") for preset in PRESETS})
    make, needed = SWEEP_FIGURES[name]
    sweeps = {sweep: Sweep(runner.result_folder(sweep)) for sweep in needed}
    figure = make(sweeps)
    figure.sweeps = list(sweeps.values())
    return figure


def overlays_of(figure, reported):
    """What was reported for this figure. Figure 9 is made of such values already."""
    return [] if figure.name == "contiguouskv-figure9" else [one for one in reported if one.figure == figure.name]


def draw_all(names, runner, reported):
    painter = drawing.Painter(plot.load_matplotlib())
    for name in names:
        figure = make_figure(name, runner, reported)
        empty = [panel.title for panel in figure.panels if not panel.points]
        if empty:
            raise data.InputError(f"{name}: no result rows for {', '.join(empty)}")
        overlays = overlays_of(figure, reported)
        out = runner.out / name
        painter.draw(figure, overlays, out, drawing.caption_of(figure, overlays))
        drawing.write_points(figure, overlays, out.with_name(name + ".csv"))
        print(out.with_name(name + ".png"), flush=True)


def parsed(arguments):
    parser = argparse.ArgumentParser(prog="plots/figures.py", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="figures, or parts of their names (default: all)")
    parser.add_argument("--program", required=True, help="the reprefill that runs sweeps")
    parser.add_argument("--home", type=pathlib.Path, required=True, help="folder that holds scenarios/")
    parser.add_argument("--quick", action="store_true", help="2 seeds, 100 measured requests")
    parser.add_argument("--force", action="store_true", help="replace results that are there")
    parser.add_argument("--draw-only", action="store_true", help="run nothing: draw the results that are there")
    parser.add_argument("--list", action="store_true", help="names of the figures")
    parser.add_argument("--reported", type=pathlib.Path, action="append", default=[], help="CSV file of more reported values")
    parser.add_argument("--doc", type=pathlib.Path, help="write the comparison with the papers to this file too")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    return parser.parse_args(arguments)


def run(options):
    if options.list:
        print("\n".join(NAMES))
        return
    names = chosen_names(options.names)
    reported = read_reported(options.home / "scenarios" / "paper" / "reported.csv")
    for path in options.reported:
        reported += read_reported(path)
    runner = Runner(options.program, options.home, options.out, options.quick, options.force)
    plot.load_matplotlib()  # before hours of simulation, not after
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.draw_only:
        run_all(runner, names, options.doc is not None)
    draw_all(names, runner, reported)
    if options.doc is not None:
        reproduction.write_document(runner, options.doc)
        print(options.doc)


def main(arguments=None):
    try:
        run(parsed(arguments))
    except data.InputError as error:
        return report(error, plot.INPUT_ERROR)
    except (data.MachineError, OSError) as error:
        return report(error, plot.MACHINE_ERROR)
    except (Interrupted, KeyboardInterrupt):
        return report("interrupted; finished rows are kept, the same command goes on", INTERRUPTED)
    return 0


def report(error, code):
    print(f"plots/figures.py: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())

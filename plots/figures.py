"""Runs the scenarios of the papers and draws their figures: one PNG, one PDF and one CSV of the plotted points each.

Called by `reprefill figures` through /usr/bin/python3. Exit codes: 0 done, 2 input, 3 machine, 130 interrupted.
Prints the path of each image.
"""
import argparse
import pathlib
import sys

import plot
import result_rows as data
from paper import accuracy, contiguous_kv, drawing, impress, reproduction, sensitivity
from paper.reported import read_reported
from paper.sweeps import Interrupted, Runner, Sweep, note, read_importance

PRESETS = ("paper-5pct", "qwen7b-fewshot", "impress-opt")
SWEEP_FIGURES = {**contiguous_kv.SWEEP_FIGURES, **impress.SWEEP_FIGURES}
FIGURE9, COVERAGE, SMALL_MODEL = "contiguouskv-figure9", "contiguouskv-coverage", "small-model-accuracy"
NAMES = tuple(SWEEP_FIGURES) + (FIGURE9, COVERAGE, SMALL_MODEL)
SMALL_TASKS = ("1k", "2k")  # of models/recall-small
INTERRUPTED = 130


def chosen_names(words):
    """Figures whose names contain one of the words, in the catalogue's order; all without words."""
    for word in words:
        if not any(word in name for name in NAMES):
            raise data.InputError(f"{word}: no such figure; there are {', '.join(NAMES)}")
    return [name for name in NAMES if not words or any(word in name for word in words)]


def with_scenarios(names, words, runner):
    """Figures whose scenarios are all there. One that was asked for by its name is an error, the others are told and left out."""
    kept = []
    for name in names:
        missing = [sweep for sweep in sweeps_of([name]) if not runner.has_scenario(sweep)]
        if missing and name in words:
            raise data.InputError(f"{name}: needs scenarios/paper/{missing[0]}.json, which is not there")
        if missing:
            note(f"{name}: left out, there is no scenarios/paper/{missing[0]}.json")
        else:
            kept.append(name)
    if not kept:
        raise data.InputError("none of these figures can be drawn: their scenarios are missing (above)")
    return kept


def sweeps_of(names):
    return list(dict.fromkeys(sweep for name in names for sweep in SWEEP_FIGURES.get(name, (None, ()))[1]))


def small_model(runner, task):
    model = runner.home / "models" / "recall-small"
    return model, model / "tasks" / f"recall-{task}.jsonl", evaluation_file(runner, f"recall-small-{task}")


def evaluation_file(runner, name):
    return runner.result_folder("accuracy") / f"{name}.json"


def run_all(runner, names, options):
    sweeps = list(dict.fromkeys(sweeps_of(names) + (reproduction.sweeps_of(runner) if options.doc is not None else [])))
    for number, sweep in enumerate(sweeps, 1):
        note(f"sweep {number} of {len(sweeps)}: {sweep}")
        runner.sweep(sweep)
    if COVERAGE in names:
        for preset in PRESETS:
            runner.importance(preset)
    if FIGURE9 in names and options.model is not None:
        note(f"answers of {options.model}")
        runner.evaluate(options.model, options.task, accuracy.SYSTEMS, evaluation_file(runner, "figure9"))
    if SMALL_MODEL in names:
        for task in SMALL_TASKS:
            note(f"answers of the shipped model, {task}")
            model, file, out = small_model(runner, task)
            runner.evaluate(model, file, accuracy.SYSTEMS, out)
    if options.doc is not None:
        note("sensitivity: every assumption varied alone")
        sensitivity.run(runner)


def measured_accuracy(name, title, evaluations, what):
    panels, items = [], []
    for panel, file in evaluations:
        variants = accuracy.read_evaluation(file)
        items.append(str(variants[0]["items"]))
        panels.append(accuracy.panel_of(panel, variants, f"accuracy/{file.name}"))
    return accuracy.figure_of(name, title, panels, [what, f"items: {', '.join(items)}"])


def make_figure(name, runner, reported, options):
    if name == FIGURE9 and options.model is not None:
        return measured_accuracy(name, "ContiguousKV figure 9: accuracy against budget, on your weights",
                                 [(pathlib.Path(options.model).name, evaluation_file(runner, "figure9"))], f"measured by `reprefill eval` on {pathlib.Path(options.task).name}")
    if name == FIGURE9:
        return contiguous_kv.figure9(reported)
    if name == SMALL_MODEL:
        return measured_accuracy(name, "Accuracy against budget of the shipped small model (not one of the papers')",
                                 [(f"prefixes of {task} tokens", small_model(runner, task)[2]) for task in SMALL_TASKS],
                                 "models/recall-small, trained to find facts; its curve does not transfer to Qwen2.5 (docs/quality.md)")
    if name == COVERAGE:
        return contiguous_kv.coverage({preset: read_importance(runner.result_folder("importance") / f"{preset}.json") for preset in PRESETS})
    make, needed = SWEEP_FIGURES[name]
    sweeps = {sweep: Sweep(runner.result_folder(sweep)) for sweep in needed}
    figure = make(sweeps)
    figure.sweeps = list(sweeps.values())
    return figure


def overlays_of(figure, reported):
    """What was reported for this figure. Figure 9 is made of such values already, or measured on other questions."""
    return [] if figure.name == FIGURE9 else [one for one in reported if one.figure == figure.name]


def draw_all(names, runner, reported, options):
    painter = drawing.Painter(plot.load_matplotlib())
    for name in names:
        figure = make_figure(name, runner, reported, options)
        empty = [panel.title for panel in figure.panels if not panel.points and not panel.if_empty]
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
    parser.add_argument("--model", help="checkpoint folder for figure 9: real answers in place of published ones")
    parser.add_argument("--task", help="questions for --model, as `reprefill eval` takes them")
    parser.add_argument("--jobs", type=int, default=0, help="points at the same time (default: all cores)")
    parser.add_argument("--doc", type=pathlib.Path, help="write the comparison with the papers to this file too")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    return parser.parse_args(arguments)


def run(options):
    if options.list:
        print("\n".join(NAMES))
        return
    if (options.model is None) != (options.task is None):
        raise data.InputError("--model and --task belong together: the checkpoint, and the questions to ask it")
    names = chosen_names(options.names)
    reported = read_reported(options.home / "scenarios" / "paper" / "reported.csv")
    for path in options.reported:
        reported += read_reported(path)
    runner = Runner(options.program, options.home, options.out, options.quick, options.force, options.jobs)
    names = with_scenarios(names, options.names, runner)
    plot.load_matplotlib()  # before hours of simulation, not after
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.draw_only:
        run_all(runner, names, options)
    draw_all(names, runner, reported, options)
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

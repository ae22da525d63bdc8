"""Tests of figures.py and paper/: made-up rows, a made-up program that "sweeps", and what stands in the files."""
import contextlib
import csv
import io
import json
import pathlib
import stat
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
try:
    import matplotlib  # noqa: F401
except ImportError:
    print("no matplotlib for this Python: run scripts/setup")
    sys.exit(77)

import figures

import result_rows as data
from paper import accuracy, contiguous_kv, drawing, impress, measured, panels, reported, reproduction, sensitivity
from paper.sweeps import Runner, Sweep, value_at

HOME = pathlib.Path(__file__).parent.parent
SPEED = {"recompute": 900.0, "attention_store": 600.0, "as_h2o": 500.0, "impress": 400.0, "contiguous_kv": 100.0}


def row(label, ttft, replica=0, point=0, **axes):
    path = axes.get("software_path", "prototype")
    return {"point": point, "label": label, "axes": axes, "replica": replica, "software_path": path, "verdict": "STABLE", "scenario": "made-up",
            "inputs": f"hash{point}", "schema_version": 2, "profile_kind": "hypothetical", "workload": {"measured_requests": 100},
            "ttft": {"mean_ttft_ms": ttft, "p95_ttft_ms": None}, "time_ms": {"ssd": ttft / 2, "host": ttft / 2},
            "bytes_per_request": {"payload_read_bytes": ttft, "logical_bytes": 2 * ttft}, "efficiency": {}}


def headline_rows():
    """Replica 1 takes twice as long as replica 0, for every system alike: ratios do not see it."""
    rows = []
    for path in ("prototype", "direct"):
        for name in ("sst2", "subj", "trec", "rte"):
            for label in ("attention_store", "as_h2o", "impress", "contiguous_kv"):
                for replica in (0, 1):
                    ttft = SPEED[label] * (1 + replica) / (1 if path == "prototype" else 10)
                    budget = None if label == "attention_store" else 0.05
                    rows.append(row(label, ttft, replica, len(rows), software_path=path, budget=budget, **{"workload.preset": name}))
    return rows


def write_rows(folder, rows):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))


class Folder(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.out = pathlib.Path(place.name)

    def figures(self, *words, program="/nonexistent"):
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = figures.main([*words, "--program", program, "--home", str(HOME), "--out", str(self.out)])
        return code, output.getvalue(), errors.getvalue()

    def points(self, name):
        with open(self.out / f"{name}.csv", newline="") as file:
            return list(csv.DictReader(file))


class Values(unittest.TestCase):
    def test_a_value_is_found_among_axes_keys_and_nested_keys(self):
        one = row("a", 3.0, software_path="direct", **{"workload.preset": "rte"})
        self.assertEqual(value_at(one, "workload.preset"), "rte")
        self.assertEqual(value_at(one, "ttft__mean_ttft_ms"), 3.0)
        self.assertEqual(value_at(one, "workload__measured_requests"), 100)
        self.assertIsNone(value_at(one, "ttft__nothing"))
        self.assertIsNone(value_at(one, "label__x"))

    def test_a_point_is_the_mean_over_seeds_and_tells_their_range(self):
        point = panels.point_of("a", 1, [row("a", 10.0), row("a", 30.0, replica=1)], "ttft__mean_ttft_ms")
        self.assertEqual((point.value, point.low, point.high), (20.0, 10.0, 30.0))
        self.assertIsNone(panels.point_of("a", 1, [row("a", 1.0)], "ttft__p95_ttft_ms"))
        self.assertIsNone(panels.point_of("a", 1, [], "ttft__mean_ttft_ms"))

    def test_ratios_are_taken_seed_by_seed(self):
        above = [row("a", 10.0, replica=0), row("a", 40.0, replica=1)]
        below = [row("b", 20.0, replica=1), row("b", 10.0, replica=0)]
        point = panels.ratio_point("a", 1, above, below, "ttft__mean_ttft_ms")
        self.assertEqual((point.value, point.low, point.high, len(point.rows)), (1.5, 1.0, 2.0, 4))
        with self.assertRaisesRegex(data.InputError, "found 0 rows"):
            panels.ratio_point("a", 1, above, below[:1], "ttft__mean_ttft_ms")


class Reported(Folder):
    HEAD = ",".join(reported.COLUMNS) + "\n"

    def refusal(self, text):
        path = self.out / "own.csv"
        path.write_text(text)
        with self.assertRaises(data.InputError) as caught:
            reported.read_reported(path)
        return str(caught.exception)

    def test_the_shipped_values_are_sound_and_name_figures_that_exist(self):
        values = reported.read_reported(HOME / "scenarios" / "paper" / "reported.csv")
        self.assertGreater(len(values), 300)
        self.assertLessEqual({one.figure for one in values}, set(figures.NAMES) | {""})
        accuracies = [one for one in values if one.quantity == "accuracy" and one.kind == "reproduction"]
        self.assertEqual(len(accuracies), 4 * 4 * 4)

    def test_bad_files_are_refused_with_line_and_what_is_allowed(self):
        self.assertIn("expected paper, figure", self.refusal("a,b\n1,2\n"))
        self.assertIn("line 2: kind: found 'guess'", self.refusal(self.HEAD + "p,f,a,s,x,q,1,ms,guess,me,\n"))
        self.assertIn("line 2: value: found 'many'", self.refusal(self.HEAD + "p,f,a,s,x,q,many,ms,own,me,\n"))
        self.assertIn("finite", self.refusal(self.HEAD + "p,f,a,s,x,q,nan,ms,own,me,\n"))
        self.assertIn("line 2: expected 11 cells", self.refusal(self.HEAD + "p,f\n"))
        self.assertIn("expected", self.refusal(""))
        with self.assertRaisesRegex(data.InputError, "no such file"):
            reported.read_reported(self.out / "absent.csv")


class Drawn(Folder):
    def setUp(self):
        super().setUp()
        write_rows(self.out / "results" / "headline", headline_rows())

    def test_a_figure_is_a_png_a_pdf_and_the_rows_behind_each_point(self):
        code, output, errors = self.figures("contiguouskv-headline", "--draw-only")
        self.assertEqual((code, errors), (0, ""))
        self.assertEqual(output.split(), [str(self.out / "contiguouskv-headline.png")])
        self.assertTrue((self.out / "contiguouskv-headline.png").read_bytes().startswith(b"\x89PNG"))
        self.assertTrue((self.out / "contiguouskv-headline.pdf").read_bytes().startswith(b"%PDF"))
        simulated = [point for point in self.points("contiguouskv-headline") if point["kind"] == "simulated"]
        found = {(point["panel"], point["system"]): float(point["value"]) for point in simulated}
        self.assertEqual(found["prototype path", "impress"], 4.0)
        self.assertEqual(found["direct path", "attention_store"], 6.0)
        self.assertEqual(len(found), 6)
        rows = headline_rows()
        for point in simulated:  # three data sets, two seeds, two systems; RTE is not judged
            behind = [rows[int(number)] for number in point["rows"].split()]
            self.assertEqual(len(behind), 12)
            self.assertEqual({one["label"] for one in behind}, {point["system"], "contiguous_kv"})
            self.assertNotIn("rte", {one["axes"]["workload.preset"] for one in behind})
            self.assertEqual(point["inputs"].split()[0], f"hash{point['rows'].split()[0]}")

    def test_reported_values_stand_beside_and_a_users_own_too(self):
        own = self.out / "own.csv"
        own.write_text(Reported.HEAD + "mine,contiguouskv-headline,direct path,impress,over IMPRESS,speed-up,7.5,ratio,own,ruler,\n")
        self.assertEqual(self.figures("contiguouskv-headline", "--draw-only", "--reported", str(own))[0], 0)
        kinds = [(point["kind"], point["value"]) for point in self.points("contiguouskv-headline") if point["kind"] != "simulated"]
        self.assertEqual(len(kinds), 7)
        self.assertIn(("own", "7.5"), kinds)
        self.assertIn(("read", "3.85"), kinds)

    def test_the_same_rows_give_the_same_bytes(self):
        def all_bytes():
            self.figures("contiguouskv-headline", "--draw-only")
            return [(self.out / f"contiguouskv-headline.{ending}").read_bytes() for ending in ("png", "pdf", "csv")]
        self.assertEqual(all_bytes(), all_bytes())

    def test_missing_partial_and_mixed_results_are_told(self):
        self.assertIn("not a result folder", self.figures("ablation", "--draw-only")[2])
        (self.out / "results" / "ablation").mkdir()
        (self.out / "results" / "ablation" / "journal.jsonl").write_text("")
        code, _, errors = self.figures("ablation", "--draw-only")
        self.assertEqual(code, 2)
        self.assertIn("not finished", errors)
        rows = headline_rows()
        rows[3]["schema_version"] = 1
        write_rows(self.out / "results" / "headline", rows)
        self.assertIn("schema versions 1, 2", self.figures("contiguouskv-headline", "--draw-only")[2])
        write_rows(self.out / "results" / "headline", [one for one in headline_rows() if one["software_path"] == "direct"])
        code, _, errors = self.figures("contiguouskv-headline", "--draw-only")
        self.assertEqual((code, "no result rows for prototype path" in errors), (2, True))

    def test_an_unknown_name_lists_those_there_are(self):
        code, _, errors = self.figures("figure99", "--draw-only")
        self.assertEqual(code, 2)
        self.assertIn("contiguouskv-figure10", errors)
        self.assertEqual(self.figures("--list")[1].split(), list(figures.NAMES))

    def test_the_caption_tells_seeds_requests_and_what_is_provisional(self):
        sweep = Sweep(self.out / "results" / "headline")
        figure = contiguous_kv.headline({"headline": sweep})
        figure.sweeps = [sweep]
        caption = drawing.caption_of(figure, [])
        self.assertIn("Sweep headline: 2 seeds, 100 measured requests a point and seed, hypothetical profile", caption)
        self.assertNotIn("PROVISIONAL", caption)
        figure.provisional = True
        self.assertIn("PROVISIONAL", drawing.caption_of(figure, []))

    def test_p95_is_provisional_below_ten_seeds_or_a_thousand_requests(self):
        def provisional(seeds, requests):
            rows = [row("contiguous_kv", 1.0, replica, software_path="direct", model="qwen2.5-7b", budget=0.05, **{"workload.preset": "rte"})
                    for replica in range(seeds)]
            for one in rows:
                one["workload"]["measured_requests"] = requests
            write_rows(self.out / "results" / "figure11", rows)
            return contiguous_kv.figure11({"figure11": Sweep(self.out / "results" / "figure11")}).provisional
        self.assertEqual([provisional(10, 1000), provisional(9, 1000), provisional(10, 999)], [False, True, True])

    def test_accuracies_are_those_of_the_reproduction_and_labelled(self):
        self.assertEqual(self.figures("figure9", "--draw-only")[0], 0)
        points = self.points("contiguouskv-figure9")
        self.assertEqual(len(points), 64)
        self.assertEqual({point["kind"] for point in points}, {"reported"})
        self.assertIn(("SST-2", "contiguous_kv", "5", 89.6), {(p["panel"], p["system"], p["x"], float(p["value"])) for p in points})


class Run(Folder):
    """With a program of our own that notes how it was called."""

    def program(self, body):
        path = self.out / "program"
        path.write_text("#!/bin/sh\n" + body)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    def test_what_is_there_is_gone_on_with_and_force_replaces_it(self):
        program = self.program(f'echo "$@" >> {self.out}/calls\n')
        for folder_exists, force, wanted in ((False, False, ""), (True, False, "--resume"), (True, True, "--force")):
            if folder_exists:
                (self.out / "results" / "headline").mkdir(parents=True, exist_ok=True)
            Runner(program, HOME, self.out, quick=True, force=force).sweep("headline")
            call = (self.out / "calls").read_text().splitlines()[-1]
            self.assertIn("scenarios/paper/headline.json", call)
            self.assertIn("--set repeats=2 --set workload.measured_requests=100", call)
            self.assertEqual([word for word in ("--resume", "--force") if word in call.split()], [wanted] if wanted else [])

    def test_each_sweep_runs_once_though_several_figures_need_it(self):
        self.assertEqual(figures.sweeps_of(["contiguouskv-headline", "contiguouskv-breakdown", "contiguouskv-coverage"]), ["headline"])

    def test_exit_codes_of_the_program_become_ours(self):
        for code in (2, 3, 130):
            found, _, errors = self.figures("contiguouskv-headline", program=self.program(f"exit {code}\n"))
            self.assertEqual((found, "figures.py:" in errors), (code, True))

    def test_other_inputs_name_force(self):
        (self.out / "results" / "headline").mkdir(parents=True)
        self.assertIn("--force replaces them", self.figures("contiguouskv-headline", program=self.program("exit 2\n"))[2])

    def test_answers_are_asked_once_for_the_same_model_and_task(self):
        program = self.program(f'echo "$@" >> {self.out}/calls\necho answers\n')
        file = self.out / "results" / "accuracy" / "a.json"
        for force, task, wanted in ((False, "t", 1), (False, "t", 1), (False, "u", 2), (True, "u", 3)):
            Runner(program, HOME, self.out, quick=True, force=force).evaluate("m", task, ("impress", "as_h2o"), file)
            calls = (self.out / "calls").read_text().splitlines()
            self.assertEqual(len(calls), wanted)
            self.assertEqual(calls[-1], f"eval --model m --task {task} --systems impress,as_h2o --json --limit 40")
        self.assertEqual(file.read_text(), "answers\n")

    def test_jobs_reach_sweeps_and_tornados(self):
        program = self.program(f'echo "$@" >> {self.out}/calls\n')
        runner = Runner(program, HOME, self.out, jobs=3)
        runner.sweep("headline")
        runner.tornado("headline", "impress", ("a=1",), self.out / "results" / "t.json")
        calls = (self.out / "calls").read_text().splitlines()
        self.assertTrue(all("--jobs 3" in call for call in calls), calls)
        self.assertIn("--over impress", calls[1])
        self.assertTrue(calls[1].endswith("--set a=1"))

    def test_every_needed_scenario_is_there(self):
        for name in (set(figures.sweeps_of(figures.NAMES)) | set(reproduction.SWEEPS)) - set(reproduction.OPTIONAL):
            self.assertTrue((HOME / "scenarios" / "paper" / f"{name}.json").exists(), name)


class Document(unittest.TestCase):
    def test_ratios_and_ranges(self):
        line = lambda reported, mine: reproduction.Line("q", reported, "read", [mine, None], "").ratio()
        self.assertEqual(line(4.0, 2.0), "0.50")
        self.assertEqual(line((1.0, 2.0), (1.9, 3.0)), "overlap")
        self.assertEqual(line((1.0, 2.0), 2.5), "apart")
        self.assertEqual(line(None, 2.5), "-")
        self.assertEqual(line(2.0, None), "-")

    def test_a_line_says_what_is_missing(self):
        text = reproduction.Line("P95", (1.0, 2.0), "secondary", [None, (0.5, 12345.0)], "why").markdown()
        self.assertEqual(text, "| P95 | 1 to 2 (secondary) | - | 0.5 to 12345 | - | - | why |")
        self.assertIn("| direct 4 | - |", reproduction.Line("q", 1.0, "read", [None, None], "why", "direct 4").markdown())

    def test_a_sweep_that_was_not_run_is_missing_and_not_a_failure(self):
        absent = {name: reproduction.NotRun() for name in reproduction.SWEEPS}
        lines = reproduction.contiguous_kv_lines(absent, measured.Measured({})) + reproduction.impress_lines(absent)
        self.assertTrue(all(line.ratio() == "-" and line.ours[0] is None and line.engine == "-" for line in lines))
        self.assertIn("prototype: not run; direct: not run", "".join(line.why for line in lines))

    def test_reordering_is_the_first_setting_over_the_best_other(self):
        with tempfile.TemporaryDirectory() as place:
            write_rows(pathlib.Path(place), reordering_rows("reorder", [None, {"scope": "per_layer"}]))
            sweep = Sweep(pathlib.Path(place))
        self.assertEqual(reproduction.fewer_chunks(sweep, "prototype", None), 2.0)
        self.assertIsNone(reproduction.fewer_chunks(sweep, "prototype", "impress-opt"), "rows of another importance do not count")
        self.assertIsNone(reproduction.fewer_chunks(reproduction.NotRun(), "prototype", "impress-opt"))


def reordering_rows(axis, settings):
    """The n-th setting touches 1/n of what the first does."""
    rows = []
    for path in ("prototype", "direct"):
        for model in ("opt-6.7b", "opt-13b"):
            for number, setting in enumerate(settings, 1):
                one = row("impress", 100.0, point=len(rows), software_path=path, **{axis: setting})
                one["model"] = model
                one["bytes_per_request"] = {"payload_needed_bytes": 8e9 / number, "payload_read_bytes": 4e9 / number}
                rows.append(one)
    return rows


class Sensitivity(Folder):
    """Tornados by hand: (id, value) -> speed-up; the base is 2."""

    def write(self, baseline, speed_ups, **more):
        bars = [{"id": name, "what": "a thing", "set": "path", "swing": 0, "readings": [{"value": value, "speed_up": speed_up, "change": speed_up / 2 - 1}]}
                for (name, value), speed_up in speed_ups.items()]
        file = sensitivity.file_of(Runner("", HOME, self.out), baseline)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"schema_version": 1, "base": {"speed_up": 2.0}, "bars": bars, **more}))

    def test_only_moves_above_a_tenth_are_tabled_the_largest_first(self):
        self.write("impress", {("A1", 4): 2.1, ("A2", True): 3.0, ("A3", "x"): 2.0})
        self.write("attention_store", {("A1", 4): 0.5})
        self.write("as_h2o", {("A1", 4): 2.0, ("A4", None): 2.3})
        moved, quiet = sensitivity.table(Runner("", HOME, self.out))
        lines = moved.splitlines()
        self.assertEqual(lines[2], "| as assumed | | 2.00 | 2.00 | 2.00 | |")
        self.assertEqual(lines[3], "| A1: a thing | `path=4` | 2.10 | 0.50 | 2.00 | -75 % |")
        self.assertEqual(lines[4], "| A2: a thing | `path=true` | 3.00 | 2.00 | 2.00 | +50 % |")
        self.assertEqual(lines[5], "| A4: a thing | `path=null` | 2.00 | 2.00 | 2.30 | +15 % |")
        self.assertEqual((len(lines), quiet), (6, 'A3 `path="x"` (+0.0 %)'))

    def test_what_is_missing_or_no_tornado_is_told(self):
        runner = Runner("", HOME, self.out)
        with self.assertRaisesRegex(data.InputError, "over-impress.json: not there"):
            sensitivity.table(runner)
        self.write("impress", {}, schema_version=9)
        with self.assertRaisesRegex(data.InputError, "schema version 9"):
            sensitivity.table(runner)
        for text in ("{", "[]", '{"schema_version": 1}'):
            sensitivity.file_of(runner, "impress").write_text(text)
            with self.assertRaisesRegex(data.InputError, "not a result of"):
                sensitivity.table(runner)


class Impress(Folder):
    def sweep(self, rows):
        write_rows(self.out / "sweep", rows)
        return Sweep(self.out / "sweep")

    def test_reordering_is_drawn_by_model_and_setting_whatever_the_axis_holds(self):
        for axis, settings, names in (("reorder", [None, {"scope": "per_layer"}], ["without", "scope per_layer"]), ("reorder", [False, True], ["without", "with"]),
                                      ("reorder.scope", ["none", "per_layer", "shared"], ["without", "per_layer", "shared"])):
            figure = impress.figure20({"impress-reordering": self.sweep(reordering_rows(axis, settings))})
            self.assertEqual([panel.title for panel in figure.panels], ["touched, prototype path", "touched, direct path", "read, prototype path", "read, direct path"])
            self.assertEqual([point.system for point in figure.panels[0].points], names * 2)
            self.assertEqual([point.value for point in figure.panels[0].points[:2]], [8.0, 4.0])
            self.assertEqual([point.value for point in figure.panels[3].points[:2]], [4.0, 2.0])
            self.assertEqual({point.x for point in figure.panels[0].points}, {"OPT-6.7B", "OPT-13B"})
        with self.assertRaisesRegex(data.InputError, "found 0 axes that begin with reorder"):
            impress.figure20({"impress-reordering": self.sweep(reordering_rows("chunk", [1, 2]))})

    def policies(self, **ttfts):
        return self.sweep([row(label, ttft, point=i, software_path=path, model="opt-30b") for path in ("prototype", "direct") for i, (label, ttft) in enumerate(ttfts.items())])

    def shares(self, **ttfts):
        return [(part, share) for part, share, _ in impress.contributions(self.policies(**ttfts), software_path="direct")]

    def test_contributions_are_shares_of_the_whole_gain(self):
        self.assertEqual(self.shares(as_h2o_lfu=200.0, impress_lfu=140.0, impress_reordered=110.0, impress_score=100.0),
                         [("probing", 60.0), ("reordering", 30.0), ("cache policy", 10.0)])
        self.assertEqual(self.shares(as_h2o_lfu=200.0, impress_lfu=90.0, impress_score=100.0), [("probing", 110.0), ("cache policy", -10.0)])

    def test_without_a_gain_or_a_beginning_there_is_nothing_to_share(self):
        self.assertEqual(self.shares(as_h2o_lfu=100.0, impress_lfu=90.0, impress_score=100.0), [])
        self.assertEqual(self.shares(impress_lfu=90.0, impress_score=80.0), [])
        self.assertEqual(self.shares(as_h2o_lfu=90.0), [])

    def test_a_figure_without_a_gain_says_so_and_is_drawn(self):
        write_rows(self.out / "results" / "impress-policies", self.policies(as_h2o_lfu=100.0, impress_lfu=120.0, impress_score=130.0).rows)
        code, output, errors = self.figures("figure18", "--draw-only")
        self.assertEqual((code, errors), (0, ""))
        self.assertTrue(output.strip().endswith("impress-figure18.png"))
        self.assertNotIn("share of the gain, direct path", {one["panel"] for one in self.points("impress-figure18") if one["kind"] == "simulated"})

    def test_the_gain_is_over_the_best_of_the_others(self):
        rows = [row(label, ttft, point=i, software_path=path, size=size) for path in ("prototype", "direct") for size in (1, 2)
                for i, (label, ttft) in enumerate((("a", 300.0), ("b", 200.0 * size), ("impress", 100.0)))]
        found = impress.gain_panels(self.sweep(rows), "size", ("a", "b"), "size")
        self.assertEqual([(point.x, point.value) for point in found[1].points], [(1, 2.0), (2, 3.0)])


class WithoutMatplotlib(Folder):
    def test_it_is_missed_before_anything_is_simulated(self):
        hidden = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "matplotlib"}
        self.addCleanup(sys.modules.update, hidden)
        for name in hidden:
            sys.modules[name] = None
        code, output, errors = self.figures("headline")  # its program does not exist: it must not get that far
        self.assertEqual((code, output), (3, ""))
        self.assertIn("scripts/setup", errors)


class LeftOut(Folder):
    def test_a_figure_without_its_scenario_is_left_out_or_refused_by_name(self):
        home = self.out / "home"
        (home / "scenarios" / "paper").mkdir(parents=True)
        (home / "scenarios" / "paper" / "headline.json").write_text("{}")
        runner, note = Runner("", home, self.out), io.StringIO()
        with contextlib.redirect_stderr(note):
            self.assertEqual(figures.with_scenarios(["contiguouskv-headline", "impress-figure20", "contiguouskv-figure9"], [], runner),
                             ["contiguouskv-headline", "contiguouskv-figure9"])
            with self.assertRaisesRegex(data.InputError, "none of these"):
                figures.with_scenarios(["impress-figure20"], ["20"], runner)
        self.assertIn("impress-figure20: left out, there is no scenarios/paper/impress-reordering.json", note.getvalue())
        with self.assertRaisesRegex(data.InputError, "impress-figure20: needs scenarios/paper/impress-reordering.json"):
            figures.with_scenarios(["impress-figure20"], ["impress-figure20"], runner)


class Engine(Folder):
    HEAD = ",".join(measured.COLUMNS) + "\n"

    def read(self, text):
        path = self.out / "measured.csv"
        path.write_text(text)
        return measured.read_measured(path)

    def refusal(self, text):
        with self.assertRaises(data.InputError) as caught:
            self.read(text)
        return str(caught.exception)

    def line(self, system, prefix, quantity, value, path="direct"):
        return f"f,{path} path,{system},{prefix},{quantity},{value},ms,me,\n"

    def test_ratios_are_ranges_over_prefixes_and_paths_apart(self):
        text = self.HEAD + "".join(self.line(*one) for one in (("a", 4096, "t", 30), ("b", 4096, "t", 10), ("a", 6144, "t", 40), ("b", 6144, "t", 10),
                                                               ("a", 4096, "t", 5, "prototype"), ("b", 4096, "t", 2, "prototype"), ("a", 6144, "t", 5, "prototype")))
        found = self.read(text)
        self.assertEqual(found.ratio("a", "b", ("t",)), "prototype 2.5; direct 3 to 4")
        self.assertEqual(found.ratio("b", "c", ("t",)), "-")
        self.assertEqual(found.share("b", ("t",), "t"), "prototype 1; direct 1")
        self.assertEqual(found.share("b", ("t", "u"), "t"), "-")

    def test_the_shipped_values_give_the_headline_of_the_performance_page(self):
        found = measured.read_measured(HOME / "scenarios" / "paper" / "measured.csv")
        self.assertEqual(found.ratio("impress", "contiguous_kv", ("TTFT",)), "prototype 9.65 to 10.2; direct 4.7 to 4.87")
        text = (HOME / "docs" / "performance.md").read_text()
        for (path, system, prefix, quantity), value in found.values.items():
            if quantity == "TTFT":
                self.assertRegex(text, rf"\| {prefix} {path.split()[0]} {system}( 0.05)? \| {value:.2f} \|")

    def test_bad_files_are_refused_with_line_and_what_is_allowed(self):
        self.assertIn("expected figure, panel", self.refusal("a,b\n"))
        self.assertIn("line 2: expected 9 cells", self.refusal(self.HEAD + "f,p\n"))
        self.assertIn("found 'fast'; expected a number", self.refusal(self.HEAD + self.line("a", 1, "t", "fast")))
        self.assertIn("expected a finite number", self.refusal(self.HEAD + self.line("a", 1, "t", "inf")))
        self.assertIn("at 'long'", self.refusal(self.HEAD + self.line("a", "long", "t", 1)))
        self.assertIn("is there twice", self.refusal(self.HEAD + 2 * self.line("a", 1, "t", 1)))
        with self.assertRaisesRegex(data.InputError, "no such file"):
            measured.read_measured(self.out / "absent.csv")


class Accuracy(Folder):
    def variant(self, system, budget, accuracy_share):
        everything = {"kind": "all", "items": 20, "accuracy": accuracy_share, "accuracy_low": accuracy_share - 0.1, "accuracy_high": accuracy_share + 0.1}
        return {"label": system, "system": system, "params": {} if budget is None else {"budget": budget}, "by_kind": [everything, {**everything, "kind": "other", "accuracy": 0}]}

    def write(self, name, variants):
        file = self.out / "results" / "accuracy" / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"schema_version": 1, "variants": variants}))

    def test_figure_9_is_drawn_from_real_weights_where_there_are_some(self):
        self.write("figure9", [self.variant("attention_store", None, 0.9), self.variant("contiguous_kv", "0.05", 0.5), self.variant("contiguous_kv", "0.25", 0.75)])
        code, _, errors = self.figures("figure9", "--draw-only", "--model", "my-qwen", "--task", "mine.jsonl")
        self.assertEqual((code, errors), (0, ""))
        points = [(p["panel"], p["system"], p["x"], float(p["value"]), p["source"]) for p in self.points("contiguouskv-figure9")]
        self.assertEqual(points, [("my-qwen", "attention_store", "5", 90.0, "accuracy/figure9.json"), ("my-qwen", "attention_store", "25", 90.0, "accuracy/figure9.json"),
                                  ("my-qwen", "contiguous_kv", "5", 50.0, "accuracy/figure9.json"), ("my-qwen", "contiguous_kv", "25", 75.0, "accuracy/figure9.json")])

    def test_the_small_model_has_a_figure_of_its_own_that_says_so(self):
        for task in figures.SMALL_TASKS:
            self.write(f"recall-small-{task}", [self.variant("attention_store", None, 1.0), self.variant("impress", "0.1", 0.9)])
        self.assertEqual(self.figures("small-model", "--draw-only")[0], 0)
        self.assertEqual({p["panel"] for p in self.points("small-model-accuracy")}, {"prefixes of 1k tokens", "prefixes of 2k tokens"})
        figure = figures.make_figure("small-model-accuracy", Runner("", HOME, self.out), [], None)
        self.assertIn("does not transfer to Qwen2.5", drawing.caption_of(figure, []))
        self.assertNotIn("over seeds", drawing.caption_of(figure, []))

    def test_model_and_task_belong_together(self):
        for words in (("--model", "m"), ("--task", "t")):
            code, _, errors = self.figures("figure9", "--draw-only", *words)
            self.assertEqual((code, "belong together" in errors), (2, True))

    def test_missing_and_damaged_evaluations_are_told(self):
        self.assertIn("recall-small-1k.json: not there", self.figures("small-model", "--draw-only")[2])
        file = self.out / "results" / "accuracy" / "x.json"
        self.write("x", [{**self.variant("a", None, 1.0), "by_kind": []}])
        with self.assertRaisesRegex(data.InputError, "found 0 entries"):
            accuracy.read_evaluation(file)
        for text in ("{", "3", '{"schema_version": 1}'):
            file.write_text(text)
            with self.assertRaisesRegex(data.InputError, "not a report of"):
                accuracy.read_evaluation(file)
        file.write_text('{"schema_version": 7}')
        with self.assertRaisesRegex(data.InputError, "schema version 7"):
            accuracy.read_evaluation(file)


if __name__ == "__main__":
    unittest.main()

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
from paper import contiguous_kv, drawing, panels, reported, reproduction, sensitivity
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

    def test_every_needed_scenario_is_there(self):
        for name in set(figures.sweeps_of(figures.NAMES)) | set(reproduction.SWEEPS):
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

    def test_a_sweep_that_was_not_run_is_missing_and_not_a_failure(self):
        absent = {name: reproduction.NotRun() for name in reproduction.SWEEPS}
        lines = reproduction.contiguous_kv_lines(absent) + reproduction.impress_lines(absent)
        self.assertTrue(all(line.ratio() == "-" and line.ours[0] is None for line in lines))
        self.assertIn("prototype not run; direct not run", "".join(line.why for line in lines))

    def test_sensitivity_variants_tell_what_they_assume(self):
        self.assertEqual(sensitivity.VARIANTS["as-assumed"][1], ())
        for name, (text, sets) in sensitivity.VARIANTS.items():
            self.assertTrue(text and (sets or name == "as-assumed"))
            self.assertTrue(all("=" in one for one in sets))

    def test_only_moves_above_a_tenth_are_tabled(self):
        class Fixed:
            def result_folder(self, name):
                return name
        values = {"as-assumed": [2.0, 2.0, 2.0], "queue-depth-4": [2.0, 1.0, 2.0], "suffix-32": [2.1, 2.0, 2.0]}
        original = sensitivity.speed_ups
        self.addCleanup(setattr, sensitivity, "speed_ups", original)
        sensitivity.speed_ups = lambda runner, name, inputs: values.get(name, [2.0, 2.0, 2.0])
        moved, quiet = sensitivity.table(Fixed())
        self.assertIn("| A4: four reads in flight, not one | 2.00 | 1.00 | 2.00 | -50 % |", moved)
        self.assertNotIn("A15", moved)
        self.assertIn("A15: 32 own tokens a request, not 48 (+5.0 %)", quiet)

    def test_a_variant_that_changed_nothing_is_an_error(self):
        with tempfile.TemporaryDirectory() as place:
            runner = Runner("/nonexistent", HOME, pathlib.Path(place))
            rows = [row(label, ttft, point=i) for i, (label, ttft) in enumerate(SPEED.items())]
            for name in sensitivity.VARIANTS:
                write_rows(runner.result_folder(f"sensitivity/{name}"), rows)
            with self.assertRaisesRegex(data.InputError, "was not changed"):
                sensitivity.table(runner)


if __name__ == "__main__":
    unittest.main()

"""Run by ctest with /usr/bin/python3; exits 77 (skipped) where that Python has no matplotlib."""
import contextlib
import io
import json
import pathlib
import struct
import sys
import tempfile
import unittest

try:
    import matplotlib
except ImportError as error:
    print(f"skipped: no matplotlib for {sys.executable}: {error}")
    sys.exit(77)
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the backend is chosen)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import plot  # noqa: E402
import result_rows as data  # noqa: E402


def row(label, mean_ttft_ms, path="direct", verdict="STABLE", replica=0, p95_ttft_ms=None, **axes):
    """A row whose TTFT is half SSD, half GPU."""
    half = None if mean_ttft_ms is None else mean_ttft_ms / 2
    return {"label": label, "axes": {"software_path": path, **axes}, "replica": replica, "scenario": "made-up",
            "model": "tiny", "profile": "desk", "profile_kind": "hypothetical",
            "software_path": path, "verdict": verdict,
            "ttft": {"mean_ttft_ms": mean_ttft_ms, "p95_ttft_ms": p95_ttft_ms},
            "time_ms": {"gpu_compute": half, "ssd": half}}


def two_paths():
    return [row(label, 10.0 * budget + shift, path, p95_ttft_ms=20.0, budget=budget if label != "recompute" else None)
            for path in ("prototype", "direct")
            for label, shift in (("recompute", 90), ("impress", 5), ("contiguous_kv", 1))
            for budget in (0.25, 0.05)]


class Folder(unittest.TestCase):
    """A result folder of its own for each test."""

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)

    def write(self, rows):
        (self.folder / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))

    def run_plot(self, *options):
        """Exit code, printed paths, errors."""
        printed, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
            code = plot.main([str(self.folder), *options])
        return code, [pathlib.Path(line) for line in printed.getvalue().splitlines()], errors.getvalue()

    def refused(self, *options):
        code, images, errors = self.run_plot(*options)
        self.assertEqual((code, images), (plot.INPUT_ERROR, []))
        self.assertEqual(sorted(path.suffix for path in self.folder.iterdir() if path.suffix == ".png"), [])
        return errors


class Images(Folder):
    def assert_is_a_wide_png(self, path):
        head = path.read_bytes()[:24]
        self.assertEqual(head[:8], b"\x89PNG\r\n\x1a\n")
        self.assertEqual(struct.unpack(">I", head[16:20])[0], plot.WIDTH_PX)

    def test_a_sweep_gives_one_image_by_axis_and_one_by_time_class(self):
        self.write(two_paths())
        code, images, errors = self.run_plot()
        self.assertEqual((code, errors), (0, ""))
        self.assertEqual([path.name for path in images], ["ttft_by_budget.png", "ttft_by_time_class.png"])
        for image in images:
            self.assert_is_a_wide_png(image)
        self.assertEqual(list(self.folder.glob("*.unfinished")), [])

    def test_the_same_rows_give_the_same_bytes(self):
        self.write(two_paths())
        first, second = ({path.name: path.read_bytes() for path in self.run_plot("--out", str(self.folder / name))[1]}
                         for name in ("one", "two"))
        self.assertEqual(first, second)
        self.assertEqual(len(first), 2)
        for image in first.values():
            self.assertNotIn(b"Software", image)  # names the version of matplotlib

    def test_one_row_without_varying_axes_gives_the_time_classes_only(self):
        self.write([row("resident", 4.0)])
        code, images, _ = self.run_plot()
        self.assertEqual((code, [path.name for path in images]), (0, ["ttft_by_time_class.png"]))

    def test_backlogged_rows_and_odd_names_draw(self):  # "$x^$" is no formula, and a bad one at that
        self.write([row("_a $x^$", 4.0, verdict="BACKLOGGED", budget="1/3"), row("c", 0.0, budget=1),
                    row("b", 400.0, p95_ttft_ms=500.0, budget=1), row("b", 4.0, path="prototype", budget="1/3")])
        self.assertEqual(self.run_plot()[::2], (0, ""))

    def test_an_unwritable_folder_is_a_machine_error(self):
        self.write(two_paths())
        code, _, errors = self.run_plot("--out", str(self.folder / "results.jsonl" / "below"))
        self.assertEqual(code, plot.MACHINE_ERROR)
        self.assertIn("results.jsonl", errors)

    def test_a_failed_write_leaves_no_image_behind(self):
        self.write(two_paths())
        self.addCleanup(setattr, plot.os, "replace", plot.os.replace)

        def full_disk(source, target):
            raise OSError(28, "No space left on device", str(target))
        plot.os.replace = full_disk
        code, _, errors = self.run_plot()
        self.assertEqual(code, plot.MACHINE_ERROR)
        self.assertIn("No space left", errors)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["results.jsonl"])


class BadInput(Folder):
    def test_a_missing_result_file_is_named(self):
        self.assertIn("results.jsonl: not there: not a result folder", self.refused())

    def test_an_unfinished_sweep_is_told_to_resume(self):
        (self.folder / "journal.jsonl").write_text("{}\n")
        self.assertIn("--resume", self.refused())

    def test_an_empty_result_file_is_refused(self):
        self.write([])
        self.assertIn("has no rows", self.refused())

    def test_a_line_cut_short_is_named_by_its_number(self):
        self.write(two_paths())
        path = self.folder / "results.jsonl"
        path.write_bytes(path.read_bytes()[:-40])
        self.assertIn(f"line {len(two_paths())} is not JSON", self.refused())

    def test_damaged_lines_are_refused(self):
        good = json.dumps(row("a", 1.0))
        for bad in (b"\xff\xfe", b"[]", b"3", b"{}", b"", b"[" * 100_000, good.replace('"label"', '"lable"').encode(),
                    good.replace('"mean_ttft_ms": 1.0', '"mean_ttft_ms": "1"').encode(),
                    good.replace('"mean_ttft_ms": 1.0', '"mean_ttft_ms": true').encode()):
            with self.subTest(bad[:40]):
                (self.folder / "results.jsonl").write_bytes(good.encode() + b"\n" + bad + b"\n")
                self.assertIn("results.jsonl: line 2", self.refused())

    def test_rows_without_any_ttft_are_refused(self):
        self.write([row("a", None), row("b", None)])
        self.assertIn("none of its 2 rows", self.refused())

    def test_an_unknown_axis_is_answered_with_the_known_ones(self):
        self.write(two_paths())
        self.assertIn("no such axis; these rows have: software_path, budget", self.refused("--x", "bugdet"))

    def test_an_axis_with_one_value_is_refused(self):
        self.write([row("a", 1.0, path, budget=0.5) for path in ("direct", "prototype")])
        self.assertIn("one value only; axes with more: software_path", self.refused("--x", "budget"))


class Grouping(unittest.TestCase):
    def test_numbers_rise_and_words_keep_their_order(self):
        rows = [row("a", 1.0, chunk=chunk, budget=budget, policy=policy)
                for chunk, budget, policy in ((64, 1, "lru"), (8, "1/3", "lfu"), (8, 0.05, "lru"))]
        self.assertEqual(data.ordered_steps(rows, "chunk"), ["8", "64"])
        self.assertEqual(data.ordered_steps(rows, "budget"), ["0.05", "1/3", "1"])
        self.assertEqual(data.ordered_steps(rows, "policy"), ["lru", "lfu"])

    def test_zipped_axes_are_one_and_crossed_axes_are_two(self):
        zipped = [row("a", 1.0, gpu=gpu, host=host) for gpu, host in (("1 GB", "2 GB"), ("3 GB", "4 GB"))]
        axes = data.find_axes(zipped)
        self.assertEqual([(axis.name, axis.steps) for axis in axes], [("gpu / host", ("1 GB / 2 GB", "3 GB / 4 GB"))])
        self.assertIs(data.choose_x(axes, "host", zipped), axes[0])
        crossed = [row("a", 1.0, gpu=gpu, host=host) for gpu in (1, 2) for host in (3, 4)]
        self.assertEqual([axis.name for axis in data.find_axes(crossed)], ["gpu", "host"])
        one_way = [row("a", 1.0, gpu=gpu, host=host) for gpu, host in ((1, 1), (2, 1), (3, 2))]
        self.assertEqual([axis.name for axis in data.find_axes(one_way)], ["gpu", "host"])

    def test_booleans_and_components_have_short_names(self):
        self.assertEqual([data.text_of(value) for value in (True, False, {"name": "lru", "k": 2}, [1], 0.05)],
                         ["on", "off", "lru", "[1]", "0.05"])

    def test_the_default_axis_has_most_values_and_the_software_path_comes_last(self):
        rows = [row("a", 1.0, path, budget=budget, chunk=chunk)
                for path in ("direct", "prototype") for budget in (1, 2) for chunk in (1, 2, 3)]
        self.assertEqual(data.choose_x(data.find_axes(rows), None, rows).name, "chunk")
        only_paths = [row("a", 1.0, path) for path in ("direct", "prototype")]
        self.assertEqual(data.choose_x(data.find_axes(only_paths), None, only_paths).name, "software_path")

    def test_the_facet_is_declared_by_most_systems_and_fits(self):
        rows = [row(label, 1.0, chunk=chunk, wide=wide, budget=budget if label == "a" else None)
                for label in "ab" for chunk in range(9) for wide in range(4) for budget in (1, 2)]
        axes = data.find_axes(rows)
        x = data.choose_x(axes, None, rows)
        self.assertEqual(data.choose_facet(axes, x, rows, 6).name, "wide")
        self.assertEqual(data.choose_facet(axes, x, rows, 3).name, "budget")
        self.assertIsNone(data.choose_facet(axes, x, rows, 1))

    def test_a_system_that_does_not_declare_an_axis_holds_at_every_step(self):
        rows = [row("recompute", 9.0, budget=None), row("b", 1.0, budget=1), row("b", 2.0, budget=2)]
        axis = data.find_axes(rows)[0]
        self.assertEqual([one["ttft"]["mean_ttft_ms"] for one in data.rows_at(rows, axis, "2")], [9.0, 2.0])

    def test_means_skip_what_is_absent(self):
        self.assertEqual(data.mean([1.0, None, 3.0]), 2.0)
        self.assertIsNone(data.mean([None]))


class Drawing(unittest.TestCase):
    """What is on the canvas, read back from it."""

    def setUp(self):
        figure, self.panel = plt.subplots()
        self.addCleanup(plt.close, figure)

    def test_replicas_are_averaged_into_one_marker(self):
        rows = [row("a", ttft, replica=i, p95_ttft_ms=2 * ttft, budget=1) for i, ttft in enumerate((10.0, 30.0))]
        rows.append(row("a", 5.0, budget=2))
        x = data.find_axes(rows)[0]
        plot.draw_system(self.panel, rows, x, plot.Style(plt, rows, x), "a")
        line = self.panel.lines[-1]
        self.assertEqual((list(line.get_xdata()), list(line.get_ydata())), ([0.0, 1.0], [20.0, 5.0]))
        self.assertIn([40.0], [list(mark.get_ydata()) for mark in self.panel.lines])

    def test_a_system_without_the_axis_is_a_level_line(self):
        rows = [row("flat", 7.0, budget=None), row("a", 5.0, budget=1), row("a", 6.0, budget=2)]
        x = data.find_axes(rows)[0]
        plot.draw_system(self.panel, rows[:1], x, plot.Style(plt, rows, x), "flat")
        self.assertEqual(list(self.panel.lines[-1].get_ydata()), [7.0, 7.0])
        self.assertEqual(self.panel.lines[-1].get_linestyle(), "--")

    def test_a_backlogged_point_is_hollow(self):
        rows = [row("a", 5.0, budget=1), row("a", 6.0, verdict="BACKLOGGED", budget=2)]
        x = data.find_axes(rows)[0]
        plot.draw_system(self.panel, rows, x, plot.Style(plt, rows, x), "a")
        self.assertEqual([mark.get_markerfacecolor() == "white" for mark in self.panel.lines[:2]], [False, True])

    def test_bars_stack_to_the_ttft(self):
        plot.draw_bar(self.panel, 0, [row("a", 10.0), row("a", 30.0, verdict="BACKLOGGED")], None)
        self.assertEqual(sum(bar.get_width() for bar in self.panel.patches), 20.0)
        self.assertTrue(all(bar.get_hatch() for bar in self.panel.patches))
        self.assertEqual(self.panel.texts[-1].get_text(), " 20.0\n 1 of 2 BACKLOGGED")

    def test_a_bar_that_dwarfs_the_others_is_cut_and_says_so(self):
        self.assertEqual(plot.cut_length([100.0, 20.0, 10.0]), 30.0)
        self.assertEqual(plot.cut_length([20.0, 60.5]), 30.0)
        self.assertIsNone(plot.cut_length([60.0, 20.0]))
        self.assertIsNone(plot.cut_length([60.0]))
        self.assertIsNone(plot.cut_length([60.0, 0.0]))
        plot.draw_bar(self.panel, 0, [row("a", 100.0)], 30.0)
        self.assertEqual(sum(bar.get_width() for bar in self.panel.patches), 30.0)
        self.assertEqual(self.panel.texts[-1].get_text(), " 100.0 (bar cut)")

    def test_the_caption_names_what_is_averaged_and_left_out(self):
        rows = [row("a", 1.0, replica=replica, budget=budget, chunk=chunk)
                for replica in (0, 1) for budget in (1, 2) for chunk in (1, 2, 3)]
        axes = data.find_axes(rows)
        self.assertEqual(plot.caption_of(axes, (axes[0],), rows, 4),
                         "averaged over: chunk, 2 replicas; 4 rows without a TTFT left out")
        self.assertEqual(plot.caption_of(axes, tuple(axes), rows[:1], 0), "")

    def test_the_title_says_hypothetical(self):
        self.assertEqual(plot.title_of([row("a", 1.0)], "TTFT"), "made-up: TTFT\ntiny on desk (hypothetical profile)")


class WithoutMatplotlib(Folder):
    def test_the_message_names_setup(self):
        self.write(two_paths())
        hidden = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "matplotlib"}
        self.addCleanup(sys.modules.update, hidden)
        for name in hidden:
            sys.modules[name] = None
        code, images, errors = self.run_plot()
        self.assertEqual((code, images), (plot.MACHINE_ERROR, []))
        self.assertIn("scripts/setup", errors)


class Versions(Folder):
    def test_rows_of_several_schema_versions_are_refused(self):
        rows = two_paths()
        rows[0]["schema_version"] = 1
        self.write(rows)
        code, images, errors = self.run_plot()
        self.assertEqual((code, images), (plot.INPUT_ERROR, []))
        self.assertIn("schema versions 1, ", errors)


class Fonts(Folder):
    def test_a_missing_font_is_named_with_what_installs_it(self):
        from matplotlib import font_manager
        self.write(two_paths())
        found = font_manager.fontManager.ttflist
        self.addCleanup(setattr, font_manager.fontManager, "ttflist", found)
        font_manager.fontManager.ttflist = []
        font_manager.fontManager._findfont_cached.cache_clear()
        self.addCleanup(font_manager.fontManager._findfont_cached.cache_clear)
        code, images, errors = self.run_plot()
        self.assertEqual((code, images), (plot.MACHINE_ERROR, []))
        self.assertIn("DejaVu Sans", errors)
        self.assertIn("scripts/setup", errors)

    def test_a_sign_that_the_font_does_not_have_is_told_and_drawn_as_a_box(self):
        rows = two_paths()
        for one in rows:
            one["scenario"] = "\u4e2d $x_{ <b>"
        self.write(rows)
        code, images, errors = self.run_plot()
        self.assertEqual((code, len(images) > 0), (0, True))
        self.assertIn("plots: Glyph 20013", errors)


if __name__ == "__main__":
    unittest.main()

"""Runs the scenarios that figures need and reads their rows. Everything drawn comes from these result folders."""
import collections
import dataclasses
import json
import pathlib
import subprocess
import sys

import result_rows as data

QUICK_SEEDS, QUICK_REQUESTS, QUICK_ITEMS = 2, 100, 40


class Interrupted(Exception):
    """The user asked to stop; finished rows are kept and the next call goes on with them."""


@dataclasses.dataclass(frozen=True)
class Runner:
    program: str          # the reprefill that runs sweeps
    home: pathlib.Path    # holds scenarios/
    out: pathlib.Path     # holds results/, and figures beside it
    quick: bool = False
    force: bool = False
    jobs: int = 0         # at the same time; 0: as many as there are cores

    def result_folder(self, name):
        return self.out / "results" / name

    def sweep(self, name):
        """Runs scenarios/paper/NAME.json, or goes on with it: rows that are there are not simulated again."""
        scenario = self.home / "scenarios" / "paper" / f"{name}.json"
        folder = self.result_folder(name)
        words = ["sweep", str(scenario), "--out", str(folder), "--json"] + self.jobs_words()
        if self.force:
            words.append("--force")
        elif folder.exists():
            words.append("--resume")
        if self.quick:
            words += ["--set", f"repeats={QUICK_SEEDS}", "--set", f"workload.measured_requests={QUICK_REQUESTS}"]
        try:
            self.call(words)
        except data.InputError as error:
            if folder.exists() and not self.force:
                raise data.InputError(f"{error}\n{folder} holds results of other inputs; --force replaces them") from None
            raise

    def importance(self, preset):
        """Statistics of an importance preset, kept as a file like any result."""
        self.keep(self.result_folder("importance") / f"{preset}.json", self.call(["trace", "importance", "--preset", preset, "--json"]))

    def has_scenario(self, name):
        return (self.home / "scenarios" / "paper" / f"{name}.json").exists()

    def tornado(self, name, baseline, sets, file):
        """Every assumption varied alone; kept as a file like any result."""
        words = ["tornado", str(self.home / "scenarios" / "paper" / f"{name}.json"), "--over", baseline, "--json"] + self.jobs_words()
        for assignment in sets:
            words += ["--set", assignment]
        self.keep(file, self.call(words))

    def evaluate(self, model, task, systems, file):
        """Answers of a real checkpoint; items that were asked are not asked again as long as model and task are the same files."""
        inputs = f"{pathlib.Path(model).resolve()} {pathlib.Path(task).resolve()} {' '.join(systems)}"
        marker = file.with_name(file.stem + "-inputs.txt")
        if not self.force and file.exists() and marker.exists() and marker.read_text(encoding="utf-8") == inputs:
            return
        words = ["eval", "--model", str(model), "--task", str(task), "--systems", ",".join(systems), "--json"]
        if self.quick:
            words += ["--limit", str(QUICK_ITEMS)]
        self.keep(file, self.call(words))
        self.keep(marker, inputs)

    def keep(self, file, text):
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_name(file.name + ".unfinished")
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(file)

    def jobs_words(self):
        return ["--jobs", str(self.jobs)] if self.jobs else []

    def call(self, words):
        """Its progress goes through to the terminal; its output comes back."""
        process = subprocess.Popen([self.program, *words], stdout=subprocess.PIPE, text=True)
        try:
            output, _ = process.communicate()
        except KeyboardInterrupt:
            process.communicate()  # it has the same signal and keeps what is finished
            raise Interrupted() from None
        if process.returncode == 130:
            raise Interrupted()
        if process.returncode == 2:
            raise data.InputError(f"reprefill {words[0]} refused {words[1]} (above)")
        if process.returncode != 0:
            raise data.MachineError(f"reprefill {words[0]} {words[1]} ended with status {process.returncode} (above)")
        return output


class Sweep:
    """The rows of one result folder, grouped over replicas."""

    def __init__(self, folder):
        self.folder = folder
        self.rows, self.num_left_out = data.read_rows(folder)

    def where(self, **wanted):
        """Rows whose keys, axes or nested keys (a__b) have these values."""
        return [row for row in self.rows if all(value_at(row, key) == value for key, value in wanted.items())]

    def values(self, key):
        """Distinct values in order of appearance; what rows do not have is left out."""
        found = collections.OrderedDict.fromkeys(hashable(value_at(row, key)) for row in self.rows)
        return [value for value in found if value is not None]

    @property
    def num_seeds(self):
        return len({row.get("replica", 0) for row in self.rows})

    @property
    def requests(self):
        """Measured requests of a row: the fewest and the most."""
        counts = [row["workload"]["measured_requests"] for row in self.rows]
        return min(counts), max(counts)


def hashable(value):
    return json.dumps(value) if isinstance(value, (dict, list)) else value


def value_at(row, key):
    """A key of the row, an axis of it (by its name, '.' as written), or a nested key a__b; None where it is not there."""
    if key in row.get("axes", {}):
        return row["axes"][key]
    value = row
    for part in key.split("__"):
        if not isinstance(value, dict) or part not in value:
            return None
        value = value[part]
    return value


def read_importance(folder):
    try:
        return json.loads(folder.read_text())
    except FileNotFoundError:
        raise data.InputError(f"{folder}: not there") from None


def note(text):
    print(f"figures: {text}", file=sys.stderr, flush=True)

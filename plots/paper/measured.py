"""What the engine measured on an H100 where the papers report a number: scenarios/paper/measured.csv, by hand from docs/performance.md."""
import csv

import result_rows as data

COLUMNS = ("figure", "panel", "system", "x", "quantity", "value", "unit", "source", "note")
PATHS = ("prototype", "direct")


class Measured:
    """Values by path, system, prefix tokens and quantity; ratios of them as ranges over the prefixes that both have."""

    def __init__(self, values):
        self.values = values

    def of(self, path, system, prefix, quantity):
        return self.values.get((f"{path} path", system, prefix, quantity))

    def prefixes(self):
        return sorted({prefix for _, _, prefix, _ in self.values}, key=int)

    def text(self, function):
        """`function(path, prefix)` is a number or None: "prototype 10.5 to 11.4; direct 4.44 to 5.78", "-" where there is none."""
        parts = []
        for path in PATHS:
            found = [function(path, prefix) for prefix in self.prefixes()]
            found = [value for value in found if value is not None]
            if found:
                low, high = min(found), max(found)
                parts.append(f"{path} {low:.3g}" + (f" to {high:.3g}" if high > low else ""))
        return "; ".join(parts) or "-"

    def ratio(self, above, below, quantities):
        """The same quantities, summed, of two systems."""
        def at(path, prefix):
            sums = [[self.of(path, system, prefix, quantity) for quantity in quantities] for system in (above, below)]
            return None if any(value is None for values in sums for value in values) or not sum(sums[1]) else sum(sums[0]) / sum(sums[1])
        return self.text(at)

    def share(self, system, parts, whole):
        def at(path, prefix):
            values = [self.of(path, system, prefix, quantity) for quantity in parts]
            total = self.of(path, system, prefix, whole)
            return None if total is None or None in values else sum(values) / total
        return self.text(at)


def read_measured(path):
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return Measured(checked(csv.DictReader(file), path))
    except FileNotFoundError:
        raise data.InputError(f"{path}: no such file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise data.InputError(f"{path}: not a CSV file in UTF-8: {error}") from None


def checked(reader, path):
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise data.InputError(f"{path}: line 1: found columns {', '.join(reader.fieldnames or ['none'])}; expected {', '.join(COLUMNS)}")
    values = {}
    for line in reader:
        place = f"{path}: line {reader.line_num}"
        if None in line or None in line.values():
            raise data.InputError(f"{place}: expected {len(COLUMNS)} cells")
        key = line["panel"], line["system"], line["x"], line["quantity"]
        if key in values:
            raise data.InputError(f"{place}: {', '.join(key)}: is there twice")
        try:
            values[key] = float(line["value"])
        except ValueError:
            raise data.InputError(f"{place}: value: found {line['value']!r}; expected a number") from None
        if not 0 <= values[key] < float("inf") or not line["x"].isdigit():
            raise data.InputError(f"{place}: found {line['value']!r} at {line['x']!r}; expected a finite number at a number of tokens")
    return values

"""Values that papers and others report, as scenarios/paper/reported.csv holds them; a user's own file has the same columns."""
import csv
import dataclasses

import result_rows as data

COLUMNS = ("paper", "figure", "panel", "system", "x", "quantity", "value", "unit", "kind", "source", "note")
KINDS = ("read", "secondary", "derived", "reproduction", "own")  # own: digitised by the user


@dataclasses.dataclass(frozen=True)
class Reported:
    paper: str
    figure: str      # name in `reprefill figures --list`, "" where no figure shows it
    panel: str
    system: str
    x: str
    quantity: str
    value: float
    unit: str
    kind: str
    source: str
    note: str


def read_reported(path):
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return checked(csv.DictReader(file), path)
    except FileNotFoundError:
        raise data.InputError(f"{path}: no such file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise data.InputError(f"{path}: not a CSV file in UTF-8: {error}") from None
    except OSError as error:
        raise data.MachineError(str(error)) from None


def checked(reader, path):
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise data.InputError(f"{path}: line 1: found columns {', '.join(reader.fieldnames or ['none'])}; "
                              f"expected {', '.join(COLUMNS)}")
    values = []
    for line in reader:
        place = f"{path}: line {reader.line_num}"
        if None in line or None in line.values():
            raise data.InputError(f"{place}: expected {len(COLUMNS)} cells")
        if line["kind"] not in KINDS:
            raise data.InputError(f"{place}: kind: found {line['kind']!r}; allowed: {', '.join(KINDS)}")
        try:
            value = float(line["value"])
        except ValueError:
            raise data.InputError(f"{place}: value: found {line['value']!r}; expected a number") from None
        if value != value or abs(value) == float("inf"):
            raise data.InputError(f"{place}: value: found {line['value']!r}; expected a finite number")
        values.append(Reported(**{**line, "value": value}))
    return values

"""What a figure is made of: panels of points, each with the rows that it comes from."""
import dataclasses

import result_rows as data
from paper.sweeps import value_at


@dataclasses.dataclass
class Point:
    system: str
    x: object            # a text (bars) or a number (lines)
    value: float
    low: float           # over seeds
    high: float
    rows: list           # result rows behind it, of one or more systems
    source: str = ""     # where it comes from instead, if not from rows


@dataclasses.dataclass
class Panel:
    title: str
    y: str
    points: list
    x: str = ""
    kind: str = "bars"   # bars, lines, stack (systems are the parts of a bar)
    log: bool = False
    if_empty: str = ""   # said in place of points; without it a panel must have some


@dataclasses.dataclass
class Figure:
    name: str
    title: str
    panels: list
    notes: list = dataclasses.field(default_factory=list)
    sweeps: list = dataclasses.field(default_factory=list)
    provisional: bool = False
    columns: int = 3     # of panels; 2 where the software paths stand side by side


def point_of(system, x, rows, metric, scale=1.0):
    """Mean over replicas; the range over replicas beside it. None where no row has the metric."""
    values = [value_at(row, metric) for row in rows]
    values = [scale * value for value in values if value is not None]
    if not values:
        return None
    return Point(system, x, sum(values) / len(values), min(values), max(values), rows)


def ratio_point(system, x, above, below, metric):
    """Ratio of two systems' means, seed by seed: rows with the same replica belong together."""
    pairs = []
    for row in above:
        partner = [other for other in below if other.get("replica", 0) == row.get("replica", 0)]
        if len(partner) != 1:
            raise data.InputError(f"{system} at {x}: found {len(partner)} rows to compare with replica {row.get('replica', 0)}")
        top, bottom = value_at(row, metric), value_at(partner[0], metric)
        if top is not None and bottom:
            pairs.append(top / bottom)
    if not pairs:
        return None
    return Point(system, x, sum(pairs) / len(pairs), min(pairs), max(pairs), above + below)


def present(points):
    return [point for point in points if point is not None]

"""What it would take to see a difference: how many prompt groups, or how many training runs an arm."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtri, stdtrit

from eval.differences import Difference

_POWER = 0.8
_MOST_RUNS = 100


def rows_needed(found: Difference, size: float, level: float) -> int | None:
    """How many rows would show two runs' difference of `size` at `level` (two-sided) four times in five.

    Rows are counted by the groups that hold them: (z_level/2 + z_power)² · (group_sd / size)². None where the
    spread is unknown.
    """
    if math.isnan(found.group_sd) or not found.groups:
        return None
    wanted = (ndtri(1 - level / 2) + ndtri(_POWER)) * found.group_sd / size
    return math.ceil(max(2.0, wanted**2) * found.rows / found.groups)


def runs_needed(found: Difference, size: float, level: float) -> int | None:
    """How many runs in each of the arms would show a difference of `size` on these rows four times in five.

    Runs are judged as in `differences`; what groups add stays. None where 100 runs would not do, or nothing is known.
    """
    runs = np.arange(2, _MOST_RUNS + 1)
    freedom = 2.0 * runs - 2
    of_runs = 2 * found.run_sd**2 / runs
    of_groups = found.group_sd**2 / found.groups if found.groups else np.nan
    both = of_runs + of_groups
    with np.errstate(invalid="ignore"):
        degrees = np.nan_to_num(both**2 / (of_runs**2 / freedom + of_groups**2 / (found.groups - 1)), nan=2.0)
    margin = np.maximum(
        np.sqrt(of_runs) * stdtrit(freedom, 1 - level / 2), np.sqrt(both) * stdtrit(degrees, 1 - level / 2)
    )
    enough = np.flatnonzero(margin + stdtrit(degrees, _POWER) * np.sqrt(both) <= size)
    return int(runs[enough[0]]) if len(enough) else None

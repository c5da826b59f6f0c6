"""Imported first by every program: what lies in the working folder is data, never a module.

`python -m` looks there before anywhere else, so that a `logging.py`, `polars.py` or `hydra_plugins/` among somebody's
data would be run. (For a folder `pipeline`, `train` or `eval` of that kind, and for the few modules that `python -m`
itself needs, `types.py` say, this comes too late: `python -P -m` and the console script do not look there at all.)
"""

from __future__ import annotations

import os
import sys

_PACKAGES = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

if not sys.flags.safe_path and sys.path and os.path.realpath(sys.path[0]) == os.getcwd() != _PACKAGES:
    del sys.path[0]

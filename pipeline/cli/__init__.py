"""The command line: one module a verb, the front over Hydra that they share, and nothing that knows data."""

from pathlib import Path


def root() -> Path:
    """The folder that holds `conf/` and `data_pools/samples/`: the package itself in a wheel, else the checkout."""
    package = Path(__file__).resolve().parents[1]
    return package if (package / "conf").is_dir() else package.parent

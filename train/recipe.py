"""Commands of poolmix run on the way of another, each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline import ending
from pipeline.errors import PoolmixError, StoreError
from train.settings import Train


class CommandError(PoolmixError):
    """A command that another one ran has failed, and said why."""


def build_bundle(settings: Train, say: Callable[[str], None]) -> Path:
    """Build a bundle with the settings in `build`; returns its folder. Raises: StoreError if that fails.

    `rows=FILE` is the path of the source that `build` calls `rows`.
    """
    paths = [f"paths.pools={settings.paths.pools}", f"paths.bundles={settings.paths.bundles}"]
    rows = settings.config.get("rows")
    own = [f"sources.rows.path={rows}"] if rows is not None else []
    try:
        return Path(run_command("pipeline", ["build", *paths, *settings.build, *own], say)[-1])
    except CommandError as error:
        raise StoreError(
            "build", "the bundle was not built, as is said above", "mend it, or name a bundle=PATH"
        ) from error


def run_command(module: str, arguments: Sequence[str], say: Callable[[str], None]) -> list[str]:
    """Run `python -m MODULE …`, hand on each line as it comes, and return all of them.

    Raises: CommandError if it fails; KeyboardInterrupt if it was interrupted.
    """
    package = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    lines: list[str] = []
    with (
        ending.waiting(),
        subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=os.environ | {"PYTHONPATH": path},
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                lines.append(line.rstrip("\n"))
                say(lines[-1])
        except BaseException:
            _end(process)
            raise
    if process.returncode - 128 in (signal.SIGINT, signal.SIGTERM):
        ending.told()
        raise KeyboardInterrupt if process.returncode - 128 == signal.SIGINT else ending.Terminated
    if process.returncode or not lines:
        what = f"ended with status {process.returncode}, as is said above"
        raise CommandError(f"python -m {module} {arguments[0]}", what, "mend that, and run the same command again")
    return lines


def _end(process: subprocess.Popen[str]) -> None:
    """End a command as this one ends; it has as long for that as it takes itself."""
    process.send_signal(ending.received() or signal.SIGINT)
    try:
        process.wait(ending.GRACE + ending.MORE / 2)
        ending.told()
    except subprocess.TimeoutExpired:
        process.kill()

"""Look at raw data nobody described: print the YAML of a source for it, with the reasons as comments.

Examples:
  python -m pipeline sniff path=rows.json
  python -m pipeline sniff path=folder/
  python -m pipeline sniff path='parts/*.jsonl.gz' write=true name=mine
  python -m pipeline build mix=custom +mix.weights.mine=1

Often used:
  path=FILE      a file, a glob or a folder: JSON, JSON lines, CSV with any delimiter, Parquet, Arrow
  write=true     write it to conf/source/NAME.yaml in the working folder, where +mix.weights.NAME=1
                 finds it; an existing file is never overwritten. The last line printed is its path
  name=NAME      the name of the source
  records=N      look at so many records of each file

The content decides, not the file's ending. Known shapes: Alpaca, ShareGPT, messages of OpenAI, prompt
and completion, Dolly, Open-Orca, question and answer by other names, GSM8K, preference pairs,
MAWPS, bilingual answers, dialogues, trees of replies. How many rows fit is found by trying the shape
on the rows. The exit status is 2 where no shape is found: then the message names the columns.
"""

from __future__ import annotations

import glob
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.cli.front import Job
from pipeline.errors import ConfigError, ConfigErrors, PoolmixError

_FOLDER = Path("conf/source")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_RESERVED = ("hydra", "true", "false", "null", "nan", "inf")  # an override reads them as something else
_LOG = logging.getLogger(__name__)


def run(config: dict[str, Any], job: Job) -> None:
    """Print the YAML, or write it and print its path."""
    from pipeline.cli import prepare_libraries, root

    prepare_libraries(None)
    from pipeline.settings import Settings, is_bool, is_text, is_whole
    from pipeline.sniff.page import source_yaml
    from pipeline.sniff.sniff import sniff

    errors: list[PoolmixError] = []
    top = Settings(config, "", errors)
    path = top.required("path", is_text, "a file, a glob or a folder", "FILE", "")
    name = top.value("name", _is_name, "letters (a–z), digits, _ and -, a letter first", "mine") or name_of(path)
    write = top.required("write", is_bool, "true or false", "true", False)
    records = top.required("records", is_whole(1), "a whole number above 0", "4000", 1)
    max_chars = Settings(config.get("normalize"), "normalize", errors).required(
        "max_chars", is_whole(1), "a whole number above 0", "1000000", 1
    )
    if errors:
        raise ConfigErrors(errors)
    file = _FOLDER / f"{name}.yaml"
    if write:
        _require_free(name, [file, root() / file])
    finding = sniff(path, records, max_chars)
    build = f"{job.command.partition(' sniff')[0]} build mix=custom +mix.weights.{name}=1"
    if not write:
        named = "" if config.get("name") else f" name={name}"
        print(source_yaml(finding, [f"to write it: {job.command} write=true{named}", f"then: {build}"]), end="")
        return
    absolute = str(Path(finding.path).expanduser().absolute())
    _write(file, source_yaml(replace(finding, path=absolute), []))
    _LOG.info("next: %s", build)
    print(file)


def name_of(path: str) -> str:
    """A name for the source, after the file or folder: `my rows.v2.jsonl.gz` → `my_rows`."""
    place = Path(path)
    parts = [part for part in place.parts if not glob.has_magic(part)] or ["data"]
    stem = parts[-1].lstrip(".").partition(".")[0]
    name = re.sub(r"[^a-z0-9_-]+", "_", stem.lower()).strip("_-")
    return name if _is_name(name) else f"data_{name}".rstrip("_")


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None and value.lower() not in _RESERVED


def _require_free(name: str, places: Sequence[Path]) -> None:
    """Raises: ConfigError if the name is taken, by a source of the project or one written before."""
    for place in places:
        if place.exists():
            what = f"the source {name} is there already, in {place}"
            raise ConfigError(f"name={name}", what, f"name={name}_2, or take that file away")


def _write(file: Path, text: str) -> None:
    """A new file in one step. Raises: ConfigError if it exists, StoreError if it cannot be written."""
    from pipeline.errors import StoreError
    from pipeline.leftovers import hidden

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with hidden(file) as place:
            place.write_text(text, encoding="utf-8", newline="\n")
            os.link(place, file)  # unlike a rename, never over another process's file
    except OSError as error:
        _require_free(file.stem, [file])
        raise StoreError(str(file), f"cannot be written ({error.strerror})", "sniff from another folder") from error

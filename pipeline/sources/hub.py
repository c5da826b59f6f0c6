"""Data sets on the Hugging Face Hub: a revision becomes a commit, and its data files lie in the hub's own cache."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from pipeline.errors import SourceError, nearest
from pipeline.names import is_inside
from pipeline.sources.files import COMPRESSIONS, FORMATS, RawFile, find_files

_ENDINGS = tuple(f"{ending}{packed}" for ending in FORMATS for packed in ("", *COMPRESSIONS))
# They end like data and describe it: written by `datasets`, by the hub, or for a model beside the data.
_METADATA = frozenset(
    {
        "dataset_info.json",
        "dataset_infos.json",
        "dataset_dict.json",
        "state.json",
        "config.json",
        "croissant.json",
        "package.json",
        "package-lock.json",
    }
)


@dataclass(frozen=True)
class HubFiles:
    """Files of one commit of a data set, sorted by their path in it, which is also their `name`."""

    files: list[RawFile]
    commit: str  # 40 hex digits


def fetch(source: str, repo: str, revision: str, files: str | None, format: str | None = None) -> HubFiles:
    """The data files of `repo` at a branch, tag or commit, downloaded where the cache has them not yet.

    `files` and `format` choose as in `data_files`. Without a network, what the cache knows is used: a full
    commit hash, or a branch or tag as last seen, and only if every chosen file is there.
    Raises: SourceError if the data set, the revision or its files cannot be had.
    """
    import httpx2
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, OIDCError, RevisionResolutionError
    from huggingface_hub.utils import disable_progress_bars

    where = f"source {source}"
    try:
        _check_token(where)
        commit = HfApi().resolve_revision(repo, repo_type="dataset", revision=revision).resolved
        names = data_files(source, repo, _inside(where, repo, _listing(repo, commit)), files, format)
        with contextlib.nullcontext() if sys.stderr.isatty() else disable_progress_bars():
            folder = snapshot_download(
                repo, repo_type="dataset", revision=commit, allow_patterns=[glob.escape(name) for name in names]
            )
    except (
        httpx2.HTTPError,
        httpx2.InvalidURL,
        OSError,
        EntryNotFoundError,
        RevisionResolutionError,
        OIDCError,
        HFValidationError,
        json.JSONDecodeError,
    ) as error:
        what, fix = _explained(error, source, repo, revision)
        raise SourceError(where, what, fix) from error
    found = [dataclasses.replace(find_files(source, str(Path(folder, name)), format)[0], name=name) for name in names]
    return HubFiles(found, commit)


def _inside(where: str, repo: str, names: Sequence[str]) -> Sequence[str]:
    """Raises: SourceError if a listing names a file that would not lie in the data set's folder."""
    for name in names:
        if not is_inside(name):
            what = f"{repo} lists the file {name}, which leads out of its folder"
            raise SourceError(where, what, "do not use this data set, or ask those who keep it")
    return names


def data_files(source: str, repo: str, names: Iterable[str], files: str | None, format: str | None) -> list[str]:
    """The paths in a repository that are data, sorted: those with a known ending, plain or compressed, that
    neither lie in a hidden folder nor are known metadata (`dataset_infos.json` and the like).

    `files`, a glob over the whole path (`*` crosses `/`), narrows them down, and with `format` it also takes
    other endings. A path that it names in full is taken whatever it is.
    Raises: SourceError if nothing is left.
    """
    there = sorted(names)
    any_ending = files is not None and format is not None
    known = [name for name in there if _is_data(name, any_ending)]
    chosen = (
        known
        if files is None
        else [name for name in there if name == files or (fnmatchcase(name, files) and _is_data(name, any_ending))]
    )
    if chosen:
        return chosen
    have = f"have: {_shown(known or there, files)}"
    if files is not None and there:
        raise SourceError(
            f"source {source}",
            f"no data file of {repo} matches {files} ({have})",
            f"set sources.{source}.files to a glob that matches the ones you want",
        )
    raise SourceError(
        f"source {source}",
        f"no data files in {repo} ({have}; known endings: {' '.join(FORMATS)})",
        f"set sources.{source}.revision=refs/convert/parquet, the hub's own copy of many data sets, "
        f"or sources.{source}.path=FILE",
    )


def _is_data(name: str, any_ending: bool) -> bool:
    path = PurePosixPath(name.lower())
    hidden = any(part.startswith((".", "__")) for part in path.parts)
    return not hidden and path.name not in _METADATA and (any_ending or path.name.endswith(_ENDINGS))


def _shown(names: Sequence[str], wanted: str | None, most: int = 8) -> str:
    """Some names, those most like the wanted one first."""
    first = nearest(wanted, names) if wanted else []
    shown = list(dict.fromkeys([*first, *names]))[:most]
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(shown)}{more}" if shown else "nothing at all"


def _listing(repo: str, commit: str) -> list[str]:
    """The paths of all files of a commit. It never changes, so a listing in the cache is as good as the hub's."""
    from huggingface_hub import HfApi, get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError
    from huggingface_hub.hf_api import RepoFile

    try:
        return [file.path for file in get_cached_repo_tree(repo, repo_type="dataset", revision=commit)]
    except CachedRepoTreeNotFoundError:
        # Fails at once where the hub is out of reach; listing would try for half a minute, and say so each time.
        HfApi().dataset_info(repo, revision=commit)
        entries = HfApi().list_repo_tree(repo, recursive=True, repo_type="dataset", revision=commit)
        return [entry.path for entry in entries if isinstance(entry, RepoFile)]


def _check_token(where: str) -> None:
    """Raises: SourceError for a token that no header can carry, as the error of HTTP would show it."""
    from huggingface_hub import get_token

    token = get_token() or ""
    if not (token.isascii() and token.isprintable()):
        raise SourceError(
            where,
            "the hub's token has characters that no token has",
            "log in again with `hf auth login`, or set HF_TOKEN anew",
        )


def _explained(error: Exception, source: str, repo: str, revision: str) -> tuple[str, str]:
    """What went wrong and how to mend it, in our words: theirs are long and may hold URLs that are signed."""
    import httpx2
    from huggingface_hub import errors

    elsewhere = f"set sources.{source}.path=FILE, or corpus=samples"
    wrapped = isinstance(error, errors.RevisionResolutionError | errors.LocalEntryNotFoundError)
    cause = error.__cause__ if wrapped and error.__cause__ else error
    match cause:
        case errors.HFValidationError():
            return f"'{repo}' is no id of a data set on the hub", f"set sources.{source}.hub=ORG/NAME"
        case errors.GatedRepoError():
            return (
                f"the data set {repo} is gated",
                f"ask for access on its page, then log in with `hf auth login`; or {elsewhere}",
            )
        case errors.RepositoryNotFoundError():
            return (
                f"no data set {repo} on the hub at {_host()}, or it is private",
                f"set sources.{source}.hub=ORG/NAME; for a private one, log in with `hf auth login`",
            )
        case errors.RevisionNotFoundError():
            return (
                f"the data set {repo} has no revision '{revision}'",
                f"set sources.{source}.revision to a branch, a tag or a commit, such as main",
            )
        case errors.HfHubHTTPError():
            return _refused(cause.response.status_code, repo, elsewhere)
        case errors.OIDCError():
            return "the hub gave no token for this job (OIDC)", "unset HF_OIDC_RESOURCE, or set HF_TOKEN"
        case errors.OfflineModeIsEnabled():
            return f"{_not_cached(repo, revision)} and HF_HUB_OFFLINE is set", f"unset HF_HUB_OFFLINE, {elsewhere}"
        case json.JSONDecodeError() | errors.FileMetadataError() | httpx2.InvalidURL() | httpx2.UnsupportedProtocol():
            return (
                f"what answers at {_host()} is no hub ({type(cause).__name__})",
                f"check HF_ENDPOINT and the proxy, {elsewhere}",
            )
        case (
            httpx2.HTTPError()
            | ConnectionError()
            | TimeoutError()
            | errors.EntryNotFoundError()
            | errors.RevisionResolutionError()
        ):
            return (
                f"the hub at {_host()} cannot be reached ({type(cause).__name__}), and {_not_cached(repo, revision)}",
                f"try again with a network, {elsewhere}",
            )
        case OSError(errno=int()):
            return (
                f"the hub's cache cannot be used ({cause.strerror}: {cause.filename})",
                "mend that, or set HF_HOME to a folder with room that can be written",
            )
        case _:
            return f"the download of {repo} broke off ({type(cause).__name__})", f"try again, {elsewhere}"


def _refused(status: int, repo: str, elsewhere: str) -> tuple[str, str]:
    """The same for an answer of the hub that says no more than a number."""
    if status in (401, 403):
        return (
            f"the hub gives no access to {repo} (HTTP {status})",
            f"log in again with `hf auth login`, unset HF_TOKEN if it is old, or {elsewhere}",
        )
    if status == 429:
        return "the hub has had too many requests from here (HTTP 429)", f"wait some minutes, or {elsewhere}"
    return f"the hub cannot give {repo} now (HTTP {status})", f"try again later, {elsewhere}"


def _not_cached(repo: str, revision: str) -> str:
    return f"{repo} at '{revision}' is not, or not wholly, in the cache"


def _host() -> str:
    """The hub's address without a scheme, and without the name and password that it may hold."""
    from huggingface_hub import constants

    return constants.ENDPOINT.rpartition("@")[2].removeprefix("https://").removeprefix("http://")

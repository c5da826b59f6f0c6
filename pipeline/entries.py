"""The entries of manifests, and of what type each is: what those who read them rely on."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

import msgspec


class Entry(TypedDict):
    """What a manifest says of a file."""

    bytes: int
    xxh3_128: str


class _Size(TypedDict):
    train: float
    available: float
    largest: float


class _Source(TypedDict):
    raw_rows: int
    quarantined: dict[str, int]
    duplicates: dict[str, int]
    unique: int
    validation: int
    available: int
    train_rows: int
    requested_weight: float
    quota: int
    achieved_weight: float
    epochs: float
    files: list[dict[str, Any]]
    pool: str
    size: NotRequired[_Size]
    stages: NotRequired[list[int]]
    stage_rows: NotRequired[list[int]]


class _Stage(TypedDict):
    until: float
    weights: dict[str, float]


class _Mix(TypedDict):
    weights: dict[str, float]
    strategy: str
    unit: str
    stop: str
    replacement: bool
    max_epochs: float | None
    on_shortage: str
    schedule: NotRequired[list[_Stage] | None]


class _Split(TypedDict):
    validation_from: NotRequired[str | None]


class _Dedup(TypedDict):
    prefer: NotRequired[list[str] | None]


class _Config(TypedDict):
    mix: _Mix
    split: _Split
    dedup: _Dedup


class _Splits(TypedDict):
    train: int
    validation: int


class _Digests(TypedDict):
    train: str
    validation: str


class _Template(TypedDict):
    name: str
    key: str


class _Name(TypedDict):
    name: str


class _SourceTokens(TypedDict):
    rows: int
    tokens: int
    target_tokens: int
    lost_tokens: int
    lost_target_tokens: int
    dropped: dict[str, int]


class _SplitTokens(TypedDict):
    sequences: int
    fill: float
    rows: int
    tokens: int
    target_tokens: int
    dropped: dict[str, int]
    sources: dict[str, _SourceTokens]


class _BothTokens(TypedDict):
    train: _SplitTokens
    validation: _SplitTokens


class _Tokens(TypedDict):
    key: str
    tokenizer: _Name
    template: _Name
    max_length: int
    on_long: str
    pack: bool
    splits: _BothTokens


class BundleManifest(TypedDict):
    """What everything that reads a bundle relies on in its manifest."""

    name: str
    created: str
    digest: _Digests
    rows: _Splits
    sources: dict[str, _Source]
    config: _Config
    files: dict[str, Entry]
    template: NotRequired[_Template]
    tokens: NotRequired[_Tokens]


class _Input(TypedDict):
    path: str


class PoolManifest(TypedDict):
    """What a build relies on in a pool's manifest."""

    format: str
    name: str
    fingerprint: str
    settings: dict[str, Any]
    inputs: list[_Input]
    raw_rows: int
    rows: int
    quarantined: dict[str, int]
    counts: dict[str, int]
    files: dict[str, Entry]


class KeptManifest(TypedDict):
    """What stands in the manifest of anything kept beside a pool."""

    format: str
    rows: int
    files: dict[str, Entry]


class TokensManifest(TypedDict):
    """What `verify` relies on in the manifest of sequences."""

    format: str
    max_length: int
    on_long: str
    pack: bool
    splits: dict[str, _SplitTokens]
    files: dict[str, Entry]


def misfit(manifest: Any, kind: Any) -> str | None:
    """What keeps a manifest from being what `kind` says, or None."""
    try:
        msgspec.convert(manifest, kind)
    except (ValueError, RecursionError) as error:
        return f"not as it is written ({error})"
    return None

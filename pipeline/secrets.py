"""What gives access to something, taken out of text that is kept or shown."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_GONE = "…"
_LEAST = 8  # characters: a shorter value is a word or a switch, and taking it out would hurt other text
_NAMES = re.compile(
    r"(^|_)((TOKEN|(API)?KEY)S?[0-9]*|PASS|PASSWD|PASSPHRASE|CREDENTIALS?|PAT|AUTH|JWT)$|SECRET|PASSWORD"
)
# What a variable that names a file with a secret in it has; 40 characters without a dot may be a key of AWS, too.
_PLACE, _AWS = re.compile(r"(~|\.{0,2})(/[\w.@ -]+)+/?"), re.compile(r"[\w/+]{40}")
# A word, which honest text may have as well.
_WORD, _LONG_WORD = re.compile(r"[a-z]+|[A-Z]+|[0-9]+"), 16
# Settings that hold one. Not every *_token, nor a token of its own: `eos_token` is part of a template.
_SETTING = r"(?:api|access|auth|hf)[-_]?(?:token|key)|(?:client[-_]?)?secret|password"
_SETTINGS = re.compile(_SETTING, re.IGNORECASE)
_NONE = r"(?!(?:null|none|true|false)\b)"
_FORMS = (
    # Hugging Face, OpenAI and its like, GitHub, GitLab, AWS, Slack, Google, JSON web tokens.
    re.compile(
        r"(?<![\w-])(?:hf_[A-Za-z0-9]{30,}|api_org_[A-Za-z0-9]{30,}|sk-(?:[a-z0-9]+-)*[A-Za-z0-9_]{20,}[\w-]*"
        r"|gh[opsur]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|glpat-[\w-]{20,}|(?:AKIA|ASIA)[A-Z0-9]{16}"
        r"|xox[abprs]-[\w-]{20,}|AIza[\w-]{35}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,})(?![\w-])"
    ),
    # What stands behind the word in a header, in the query of an address, before the @ of one, and in a setting.
    re.compile(r"(?P<left>\bBearer )[\w.~+/-]{8,}=*", re.IGNORECASE),
    re.compile(r"(?P<left>\bauthorization['\"]?\s*[=:]\s*['\"]?(?:\w+ )?)[\w.~+/-]{8,}=*", re.IGNORECASE),
    re.compile(
        r"(?P<left>[?&;](?:[\w.-]*[_-])?(?:token|key|secret|password|signature|credential|sig|auth)=)[^&\s#'\"]+",
        re.IGNORECASE,
    ),
    re.compile(r"(?P<left>://)[^\s/?#@'\"]+(?=@)"),
    re.compile(rf"(?P<left>(?<!\w)(?:x-)?(?:{_SETTING})['\"]?\s*[=:]\s*['\"]?){_NONE}[^\s,;}}\])'\"&]+", re.IGNORECASE),
)


def without_secrets(text: str) -> str:
    """The text with `…` in place of each secret: the values of environment variables whose names say so and the hub's
    stored token (of 8 characters or more), tokens by their form, names and passwords in addresses."""
    return _without(text, _values(_environment(), _stored()))


def scrubbed(value: Any) -> Any:
    """Plain data with each text in it `without_secrets`, but for keys; a setting that holds a secret is `…`."""
    return _scrubbed(value, "", _values(_environment(), _stored()))


def _scrubbed(value: Any, setting: str, values: re.Pattern[str] | None) -> Any:
    if isinstance(value, Mapping):
        return {key: _scrubbed(inner, str(key), values) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_scrubbed(inner, setting, values) for inner in value]
    if not isinstance(value, str):
        return value
    if value and _SETTINGS.fullmatch(setting.replace("-", "_")):
        return _GONE
    return _without(value, values)


def _without(text: str, values: re.Pattern[str] | None) -> str:
    if len(text) < _LEAST:
        return text
    if values is not None:
        text = values.sub(_GONE, text)
    for form in _FORMS:
        text = form.sub(lambda found: found.groupdict().get("left", "") + _GONE, text)
    return text


def names_secret(variable: str) -> bool:
    """Whether a variable of the environment holds a secret, by its name."""
    return bool(_NAMES.search(variable.upper()))


def _environment() -> tuple[str, ...]:
    """The values of variables that hold a secret by their names."""
    return tuple(value.strip() for name, value in os.environ.items() if names_secret(name))


@cache
def _stored() -> tuple[str, ...]:
    """The hub's token as `hf auth login` keeps it, read once."""
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    home = Path(os.environ.get("HF_HOME") or cache_home / "huggingface").expanduser()
    place = Path(os.environ.get("HF_TOKEN_PATH") or home / "token").expanduser()
    try:
        return (place.read_text(encoding="utf-8").strip(),) if place.is_file() else ()
    except (OSError, UnicodeDecodeError):
        return ()


@cache
def _values(*found: tuple[str, ...]) -> re.Pattern[str] | None:
    """Secrets as they may stand in a text, plain, in an address or in JSON, broken into lines or not; None for none."""
    from urllib.parse import quote

    known = {value for own in found for value in own if _can_be_told(value)}
    spelt = {form for value in known for form in (value, quote(value, safe=""), json.dumps(value)[1:-1])}
    longest_first = sorted(spelt, key=lambda value: (-len(value), value))
    forms = (r"\s+".join(map(re.escape, value.split())) for value in longest_first)
    return re.compile("|".join(forms)) if spelt else None


def _can_be_told(value: str) -> bool:
    """Whether a value is long enough, no place of a file, and no common word."""
    if len(value) < _LEAST or (len(value) < _LONG_WORD and _WORD.fullmatch(value)):
        return False
    return not (_PLACE.fullmatch(value) and (not _AWS.fullmatch(value) or os.path.exists(value)))

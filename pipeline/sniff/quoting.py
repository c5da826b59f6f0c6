"""Raw text put where other text is: on one line of a comment or a message, and into YAML."""

from __future__ import annotations

import json
import re

from pipeline.visible import code

_CHARACTERS = 60  # of an example
# Plain to every YAML reader: no number, truth value, null or sign of YAML.
_PLAIN = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null)$)[A-Za-z_][\w./-]*", re.ASCII | re.IGNORECASE)


def one_line(text: str, most: int = _CHARACTERS) -> str:
    """At most so many characters, on one line, nothing that acts on a terminal or ends a comment in it."""
    cut = text[: most + 1]
    shown = "".join(sign if sign.isprintable() else code(sign) for sign in re.sub(r"[ \n\r\t]+", " ", cut))
    return f"{shown[:most]}…" if len(text) > most else shown


def scalar(text: str) -> str:
    """The text in YAML, read as exactly this text by YAML and by OmegaConf, which would fill in `${…}`."""
    if _PLAIN.fullmatch(text):
        return text
    escaped = re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", text)
    quoted = json.dumps(escaped, ensure_ascii=False)
    return "".join(sign if sign.isprintable() else code(sign) for sign in quoted)

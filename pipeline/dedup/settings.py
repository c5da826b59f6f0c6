"""Reading `dedup`: which copies go, and which row of several stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.dedup.near import Near
from pipeline.errors import ConfigError, known_names
from pipeline.settings import Settings, is_number, is_text_list, is_whole

ON_CONFLICT = ("keep", "first", "drop")


@dataclass(frozen=True)
class Dedup:
    """`prefer` names sources that keep a row which several have; `near` is None where near copies stay.

    `on_conflict` says which rows of one prompt with different answers stay: all (keep), the first, none (drop).
    """

    prefer: Sequence[str]
    on_conflict: str
    near: Near | None

    @property
    def kinds(self) -> list[str]:
        """The kinds of copies that a build with these settings tells apart."""
        asked = {"near": self.near is not None, "conflict": self.on_conflict != "keep"}
        return ["within", "across", *(kind for kind, is_asked in asked.items() if is_asked)]


def read_dedup(node: Settings, sources: Sequence[str]) -> Dedup:
    """The settings of deduplication over these sources; every mistake goes to `node.errors`."""
    node.known({"name", "prefer", "near", "on_conflict"})
    return Dedup(prefer=_prefer(node, sources), on_conflict=node.one_of("on_conflict", ON_CONFLICT), near=_near(node))


def _near(node: Settings) -> Near | None:
    if node.node.get("near") is None:
        return None
    near = Settings(node.node["near"], node.path("near"), node.errors)
    near.known({"threshold", "tokens", "permutations"})
    return Near(
        near.required("threshold", is_number(0.5, 1), "a number from 0.5 to 1", "0.8", 0.8),
        near.required("tokens", is_whole(1), "a whole number above 0", "5", 5),
        near.required("permutations", is_whole(1), "a whole number above 0", "128", 128),
    )


def _prefer(node: Settings, sources: Sequence[str]) -> Sequence[str]:
    names = node.value("prefer", is_text_list, "a list of sources", "[cmath]", [])
    for name in names:
        if name not in sources:
            node.errors.append(
                ConfigError(
                    "dedup.prefer",
                    f"no source {name} in this build ({known_names(name, sources)})",
                    "name sources of the mix",
                )
            )
    return names

"""Which parts of a rendered conversation are trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.errors import PoolmixError
from pipeline.settings import Settings

# The generation blocks that a template of the project writes for each turn of the assistant, in this order.
KINDS = ("reasoning", "content", "tool_calls", "end")
_TARGETS = ("all", "last", "text")


@dataclass(frozen=True)
class Loss:
    """`targets`: all turns of the assistant, the last one, or the whole text as plain language modelling.

    `tool_calls` and `reasoning` say whether these parts of a turn are trained on.
    """

    targets: str = "all"
    tool_calls: bool = False
    reasoning: bool = True

    def settings(self) -> dict[str, Any]:
        """As data, for keys and manifests."""
        return asdict(self)

    def chosen(self, blocks: Sequence[Sequence[int]], weights: Sequence[float | None]) -> list[tuple[int, int]] | None:
        """The ranges trained on, from a conversation's generation blocks; those that touch are joined.

        In: `blocks` as (start, end) in any unit, one or four (`KINDS`) for each turn of the assistant, and the loss
        weight of each such turn (null: 1; 0 or less: not trained on). None: the blocks belong to no turns.

        The end of a turn is trained on where what stands right before it is. Where a template marks whole turns,
        they are trained on whole.
        """
        turns = len(weights)
        each, rest = divmod(len(blocks), turns) if turns else (0, len(blocks))
        if rest or each not in (1, len(KINDS)):
            return None
        ranges: list[tuple[int, int]] = []
        for turn, weight in enumerate(weights):
            if (weight is not None and weight <= 0) or (self.targets == "last" and turn != turns - 1):
                continue
            own = blocks[turn * each : (turn + 1) * each]
            for start, end in [(own[0][0], own[0][1])] if each == 1 else self._turn(own):
                if start == end:
                    continue
                if ranges and ranges[-1][1] == start:
                    ranges[-1] = (ranges[-1][0], end)
                else:
                    ranges.append((start, end))
        return ranges

    def _turn(self, own: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
        reasoning, content, calls, end = ((block[0], block[1]) for block in own)
        written = [(reasoning, self.reasoning), (content, True), (calls, self.tool_calls)]
        written = [(block, trained) for block, trained in written if block[0] != block[1]]
        before = written[-1][1] if written else True
        return [block for block, trained in written if trained] + ([end] if before else [])


def read_loss(config: Mapping[str, Any], where: str, errors: list[PoolmixError], usual: Loss = Loss()) -> Loss:
    """The node `loss` of a build, or of a source (which overrides the build's key by key)."""
    node = Settings(config.get("loss"), where, errors)
    node.known({"targets", "tool_calls", "reasoning"})

    def flag(name: str, default: bool) -> bool:
        return bool(node.value(name, lambda value: isinstance(value, bool), "true or false", "true", default))

    return Loss(
        targets=node.value("targets", lambda value: value in _TARGETS, "all, last or text", "all", usual.targets),
        tool_calls=flag("tool_calls", usual.tool_calls),
        reasoning=flag("reasoning", usual.reasoning),
    )

"""The parity gate: a template gives the rows of a bundle the text, the targets and the prompts that it should."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.arrow import integers
from pipeline.folder import DATA
from pipeline.input_settings import InputSettings
from pipeline.manifest import Bundle
from pipeline.places import batches
from pipeline.render.blocks import begin_of_last, first_difference, part_at, wrong_blocks
from pipeline.render.loss import KINDS
from pipeline.render.renderer import Renderer
from pipeline.store import open_table
from pipeline.tokens.codec import Codec
from pipeline.tokens.encode import encode
from pipeline.tokens.of_bundle import rendered
from pipeline.tools import tools
from pipeline.verify.checks import Check
from pipeline.verify.parity_rows import MISFIT, Faults, Row, Voices, read_rows, replaced

_BATCH_ROWS = 1 << 10
_COLUMNS = ("id", "source", "messages", "tools", "meta", "epoch", "text", "targets")


def parity(bundle: Bundle, settings: InputSettings, progress: Callable[[int], None] = lambda _: None) -> list[Check]:
    """Each promise of a template about a bundle's rows; every unique row is looked at once.

    In: settings with the losses of the bundle, the template in question, and a tokenizer where its own chat template
    is the original that the template must equal.
    Raises: ConfigError if the tokenizer is not there; TemplateError if a template is not valid.
    """
    with tools(settings) as with_, ExitStack() as stack:
        if with_.renderer is None:
            return []
        gate = Gate(bundle, settings, with_.renderer, with_.codec, stack)
        for split in ("train", "validation"):
            table = open_table(bundle.folder / split / DATA)
            for batch in batches(table.select([name for name in _COLUMNS if name in table.column_names]), _BATCH_ROWS):
                first = pl.Series(pl.from_arrow(batch.column("epoch"))) == 0
                gate.take(batch.take(integers(np.flatnonzero(first.to_numpy()))))
                progress(batch.num_rows)
        return gate.checks()


class Gate:
    """What was found in the rows taken so far."""

    def __init__(
        self, bundle: Bundle, settings: InputSettings, renderer: Renderer, codec: Codec | None, stack: ExitStack
    ) -> None:
        self.settings, self.renderer, self.codec = settings, renderer, codec
        self.same = bundle.manifest.get("template", {}).get("key") == renderer.template.key()
        self.ours = Voices(renderer, stack)
        self.original: Voices | None = None
        if codec is not None and codec.file.chat_template is not None:
            # Its special tokens are those of the tokenizer, whatever ours are.
            given = {name: value for name, value in renderer.template.variables.items() if not name.endswith("_token")}
            self.original = Voices(stack.enter_context(Renderer(codec.file.template(given))), stack)
        self.marked: bool = renderer.about()["marked"]
        self.text, self.prompt, self.equal, self.blocks, self.special = (Faults() for _ in range(5))
        self.refused, self.rendered = Faults(), Faults()
        self.unmarked = 0  # rows without tokens
        self.end: str | None = None

    def take(self, rows: pa.RecordBatch) -> None:
        """Look at some rows."""
        read = read_rows(rows, self.settings, self.renderer)
        for row in read:
            self._look_at_refusal(row)
            if self.same:
                self._compare_text(row)
        given = [row for row in read if row.error is None]
        for row in given:
            self._look_at_blocks(row)
        self._compare_prompts(given)
        if self.original is not None:
            self._compare_original(given, self.original)
        if self.codec is not None:
            literal = self.codec.file.special_texts
            at = [k for k, row in enumerate(read) if row.error is None and replaced(row.plain, literal) != row.plain]
            if at:
                self._count_special(rows.take(integers(np.array(at))), [read[k] for k in at], self.codec)

    def _look_at_refusal(self, row: Row) -> None:
        if row.error == MISFIT:
            self.blocks.add(MISFIT, row.id)
        elif row.error is not None:
            self.refused.add(row.error, row.id)
            if row.text is not None:
                self.rendered.add(f"the bundle has a text, but the template refuses: {row.error}", row.id)

    def _compare_text(self, row: Row) -> None:
        wanted = row.given if row.error is None else None
        if row.text is None or wanted is None:
            if row.text != wanted:
                self.text.add(
                    "a text is missing" if row.text is None else "a text is there, but the row refused", row.id
                )
        elif row.text != wanted:
            self.text.add("another text", row.id, first_difference(row.text, wanted)[1])
        elif row.targets != row.chosen:
            self.text.add("other targets", row.id, f"{row.targets}, not {row.chosen}")

    def _look_at_blocks(self, row: Row) -> None:
        if len(row.blocks) != len(KINDS) * row.turns:
            return  # as many as turns, or the row would be refused
        for what, where in wrong_blocks(row.given, row.blocks, row.plain["messages"]):
            self.blocks.add(what, row.id, where)
        cut = self.codec is not None and any(
            found.start() < border < found.end()
            for found in self.codec.file.special_texts.finditer(row.given)
            for border in row.blocks[-1]
        )
        if cut:
            self.blocks.add("the end of a turn cuts a special token in two", row.id)
        end = row.given[slice(*row.blocks[-1])]
        self.end = end if self.end is None else self.end
        if end != self.end:
            self.blocks.add("turns of different rows have different ends", row.id, f"{end!r}, not {self.end!r}")

    def _compare_prompts(self, rows: Sequence[Row]) -> None:
        """A template that marks no turns is asked as configured: that prompt is how its turns were found."""
        voices = self.original or self.ours
        for row, answer in zip(rows, voices.prompts(rows, lambda row: not self.marked or row.thinks), strict=True):
            if "error" in answer:
                self.prompt.add(f"the prompt is refused: {answer['error']}", row.id)
                continue
            before, prompt = row.given[: begin_of_last(row.blocks, row.turns)], answer["text"]
            if before != prompt:
                self.prompt.add("the last turn begins after another text", row.id, first_difference(before, prompt)[1])

    def _compare_original(self, rows: Sequence[Row], original: Voices) -> None:
        for row, answer in zip(rows, original.usual.rows([row.plain for row in rows]), strict=True):
            if "error" in answer:
                self.equal.add(f"the original refuses: {answer['error']}", row.id)
            elif answer["text"] != row.given:
                at, where = first_difference(row.given, answer["text"])
                self.equal.add(f"another text {part_at(row.blocks, row.turns, at)}", row.id, where)

    def _count_special(self, rows: pa.RecordBatch, read: Sequence[Row], codec: Codec) -> None:
        """The special tokens in the ids of rows, and in the text of the same rows with letters for such literals."""
        special = set(codec.file.special.values())
        encoded = encode(
            rows, rendered([rows], self.settings, self.renderer)[0], codec, self.renderer, fast=False
        ).columns.column("input_ids")
        self.unmarked += sum(len(ids) == 0 for ids in encoded)
        plain = self.renderer.rows([replaced(row.plain, codec.file.special_texts) for row in read])
        for row, ids, answer in zip(read, encoded.to_pylist(), plain, strict=True):
            if not ids or "error" in answer:
                continue
            wanted = codec.slow.encode(answer["text"], add_special_tokens=False).ids
            found, wanted = ([token for token in its if token in special] for its in (ids, wanted))
            if found != wanted:
                where = f"{len(found):,} of them, and {len(wanted):,} without the literals"
                self.special.add("other special tokens", row.id, where)

    def checks(self) -> list[Check]:
        """One for each promise that this bundle, template and tokenizer can be held to."""
        refusals = "; ".join(self.refused.lines()[:1])
        found = [Check("text", "text and targets are what the template itself gives", self.text.lines())] * self.same
        found.append(
            Check(
                "generation_prompt",
                f"the last turn begins where the {self._whose()} generation prompt ends",
                self.prompt.lines(),
            )
        )
        if self.original is not None:
            found.append(Check("original", "the text is that of the tokenizer's own chat template", self.equal.lines()))
        elif self.codec is not None:
            found.append(Check("original", "nothing to compare with: the tokenizer has no chat template", []))
        found.append(
            Check("blocks", "what is marked are the assistant's turns, part by part, with one end", self.blocks.lines())
        )
        if self.codec is not None:
            without = f" ({self.unmarked:,} such rows have no tokens)" if self.unmarked else ""
            promise = f"special tokens in people's texts stay text{without}"
            found.append(Check("special_tokens", promise, self.special.lines()))
        refused = f" (it refuses {refusals})" if refusals and not self.rendered.counts else ""
        promise = f"the template renders every row that has a text{refused}"
        return [*found, Check("rendered", promise, self.rendered.lines())]

    def _whose(self) -> str:
        return "template's" if self.original is None else "tokenizer's"

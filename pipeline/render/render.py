"""The stage: rows → `text` and `targets`."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.arrow import integers
from pipeline.render.fill import Conversations, Filled, fill, form_fields, forms
from pipeline.render.loss import Loss
from pipeline.render.renderer import Renderer
from pipeline.rows import flat_turns
from pipeline.schema import RENDERED

# A form with fewer rows in a batch is not worth an outline of its own.
_FEW = 4
# Rows of each form and batch that the template itself renders too, so that an outline is never merely believed.
_CHECKED = 3


@dataclass
class Rendering:
    """A template in its sandbox, with a loss, and the outlines made so far. Safe to share by threads.

    `differing` is a row for which an outline did not give what the template gives: nothing rendered with outlines
    may then be used.
    """

    renderer: Renderer
    loss: Loss
    outlines: bool = True
    differing: str | None = None
    _known: dict[str, Any] = field(default_factory=dict[str, Any])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def outline(self, form: str) -> dict[str, Any] | None:
        """The outline of a form, made once."""
        with self._lock:
            if form not in self._known:
                messages, meta, _ = form_fields(form)
                self._known[form] = self.renderer.outline(messages, meta)
            return self._known[form]


@dataclass(frozen=True)
class Rendered:
    """`text` and `targets` (the columns RENDERED) of a batch; null and empty where a row cannot be rendered.

    `refused` has such rows' `at` in the batch and the template's `error`.
    """

    columns: pa.RecordBatch
    refused: list[tuple[int, str]]


def render(rows: pa.RecordBatch, with_: Rendering) -> Rendered:
    """Render rows that have `messages`, `tools` and `meta`.

    Raises: TemplateError if the template is not valid, or takes more time or memory than it may.
    """
    batch = conversations(rows)
    about = with_.renderer.about()
    filled: list[Filled] = []
    slow = np.arange(len(batch.rows))
    if about["outlined"] and with_.outlines:
        of = forms(batch, about["reads_meta"])
        numbered = pl.DataFrame({"form": of, "at": np.arange(len(of))}).drop_nulls()
        slow_parts = [np.flatnonzero(of.is_null().to_numpy())]
        for (form,), group in numbered.group_by("form", maintain_order=True):
            at = group["at"].to_numpy()
            done = _filled(batch, str(form), at, with_) if len(at) >= _FEW else None
            slow_parts.append(at if done is None else done.exceptions)
            filled += [done] if done is not None else []
        slow = np.sort(np.concatenate(slow_parts))
    return _together(batch, filled, slow, with_)


def conversations(rows: pa.RecordBatch) -> Conversations:
    """Rows of a pool or bundle, flat."""
    columns = {name: rows.column(name) for name in ("messages", "tools", "meta")}
    turns, offsets = flat_turns(pa.chunked_array([columns["messages"]]))
    plain = {
        name: array.storage if isinstance(array, pa.ExtensionArray) else array
        for name, array in columns.items()
        if name != "messages"
    }
    frame = pl.DataFrame([pl.Series(name, pl.from_arrow(array)).cast(pl.String) for name, array in plain.items()])
    return Conversations(turns, offsets, frame)


def _filled(batch: Conversations, form: str, at: np.ndarray, with_: Rendering) -> Filled | None:
    """Rows of one form from its outline, some of them compared with what the template itself gives."""
    outline = with_.outline(form)
    if outline is None:
        return None
    done = fill(batch, at, outline, form_fields(form)[2], with_.loss)
    if done is None or len(done.at) == 0:
        return done
    for k in sorted({0, len(done.at) - 1, int(done.text.str.len_bytes().arg_max() or 0)})[:_CHECKED]:
        row = int(done.at[k])
        text, targets, _ = slowly(batch, [row], with_)[0]
        if text != done.text[k] or targets != [tuple(pair) for pair in done.targets[k].tolist()]:
            with_.differing = form
    return done


def slowly(
    batch: Conversations, at: list[int], with_: Rendering
) -> list[tuple[str | None, list[tuple[int, int]], str | None]]:
    """Rows rendered by the template itself: text, targets, and the error where it refuses."""
    found: list[tuple[str | None, list[tuple[int, int]], str | None]] = []
    answers = with_.renderer.rows(batch.plain(at))
    for answer, weights in zip(answers, batch.weights(at), strict=True):
        if "error" in answer:
            found.append((None, [], answer["error"]))
            continue
        text: str = answer["text"]
        ranges = [(0, len(text))] if with_.loss.targets == "text" else with_.loss.chosen(answer["blocks"], weights)
        wrong = "its generation blocks are neither one nor four for each turn of the assistant"
        found.append((text, ranges, None) if ranges is not None else (None, [], wrong))
    return found


def _together(batch: Conversations, filled: list[Filled], slow: np.ndarray, with_: Rendering) -> Rendered:
    """All rows in their order as Arrow columns."""
    rendered = slowly(batch, slow.tolist(), with_)
    at = np.concatenate([*(part.at for part in filled), slow]).astype(np.int64)
    texts = [part.text.rename("text") for part in filled]
    texts.append(pl.Series("text", [text for text, _, _ in rendered], pl.String))
    counts = [np.full(len(part.at), part.targets.shape[1]) for part in filled]
    counts.append(np.array([len(targets) for _, targets, _ in rendered], np.int64))
    pairs = [part.targets.reshape(-1, 2) for part in filled]
    pairs.append(np.array([pair for _, targets, _ in rendered for pair in targets], np.int32).reshape(-1, 2))
    text, targets = pl.concat(texts).to_arrow().cast(pa.string()), _lists(np.concatenate(counts), np.concatenate(pairs))
    if not np.array_equal(at, np.arange(len(at))):
        back = integers(np.argsort(at))
        text, targets = text.take(back), targets.take(back)
    refused = [(int(row), error) for row, (_, _, error) in zip(slow, rendered, strict=True) if error is not None]
    return Rendered(pa.record_batch([text, targets], schema=RENDERED), refused)


def _lists(counts: np.ndarray, pairs: np.ndarray) -> pa.ListArray:
    kind = RENDERED.field("targets").type
    fields = [integers(np.ascontiguousarray(pairs[:, k])) for k in (0, 1)]
    bounds = integers(np.append(0, np.cumsum(counts)).astype(np.int32))
    values = pa.StructArray.from_arrays(fields, fields=list(kind.value_type))
    return pa.ListArray.from_arrays(bounds, values, type=kind)

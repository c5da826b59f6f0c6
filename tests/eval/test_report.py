"""The pages of results: whatever the data hold, they are whole, load nothing, and say what was measured."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.arms import facts
from eval.measures import SCALES
from eval.plots import axis_of, charts, mark
from eval.report import MEANINGS, comparison_report, evaluation_report
from eval.texts import MOST, shorten, visible

VOID = {"meta", "br", "input"}
CHECKS = ("not_empty", "ended", "no_loop", "correct")
BUCKETS = ("all", "cmath", "tag:zh")
HOSTILE = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("<>&\"'\\{}%`=/\r\n\t\0\x1b\u202e\u2066\u2069\u200d\u05e9\ufffe😀\ud800"),
    ),
    min_size=1,
    max_size=40,
).flatmap(
    lambda text: st.sampled_from(
        [
            text,
            f"{text}<script>alert(1)</script>",
            f"{text}</pre></script></style><img src=//a onerror=b>",
            f'{text}" onload="alert(1)',
            f"{text}{{{{ 7 * 7 }}}}{{% raw %}}&lt;b&#60;",
            f"{text}--><!--]]>",
        ]
    )
)


class Page(HTMLParser):
    """A page's elements, with what stands in them; fails where they are not closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs))
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert {"svg", "g"} & set(self.open)
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self.texts.append(("", " "))

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def within(self, tag: str) -> list[str]:
        return [text for where, text in self.texts if where == tag]

    def named(self, class_: str) -> list[dict[str, str | None]]:
        return [attrs for _, attrs in self.elements if class_ in (attrs.get("class") or "").split()]

    @property
    def text(self) -> str:
        """What is read, in one line."""
        return " ".join("".join(text for where, text in self.texts if where not in ("style", "script")).split())


def value(measure: str, bucket: str, number: float | None, n: int = 40, **of: Any) -> dict[str, Any]:
    low, high = (None, None) if number is None else (number * 0.9, number * 1.1)
    return {"measure": measure, "bucket": bucket, "value": number, "low": low, "high": high, "n": n, "groups": n} | of


def finding(measure: str, bucket: str, number: float | None, seen: bool, n: int = 40) -> dict[str, Any]:
    p = None if number is None else 0.001 if seen else 0.4
    ends = {"low": None, "high": None} if number is None else {"low": number - 0.02, "high": number + 0.02}
    return {"measure": measure, "bucket": bucket, "value": number, **ends, "p": p, "p_holm": p} | {
        "seen": seen,
        "n": n,
        "groups": n,
        "runs": [1, 1],
    }


def generation(model: str, at: int, failed: Sequence[str] = (), **of: Any) -> dict[str, Any]:
    scores = {name: float(name not in failed) for name in CHECKS}
    return {
        "model": model,
        "id": f"cmath:{at}",
        "source": "cmath",
        "tags": ["math", "zh"],
        "prompt": f"<|im_start|>user\nquestion {at}<|im_end|>",
        "reply": f"reply {at} of {model}",
        "gold": "gold",
        "answer": "3",
        "tokens": 5,
        "ended": True,
        "scores": {"usable": float(not failed), **scores, "characters": 12.0},
        "notes": {"extracted": "4"} if failed else {},
    } | of


def generations(rows: int = 30) -> list[dict[str, Any]]:
    base = [generation("base", at, CHECKS[: at % 5]) for at in range(rows)]
    return base + [generation("tuned", at, CHECKS[: at % 3]) for at in range(rows)]


def evaluation(models: Sequence[str] = ("base", "tuned"), **of: Any) -> dict[str, Any]:
    names = ("perplexity", "usable", "correct", "characters")
    pairs = [(name, bucket) for name in names for bucket in BUCKETS]
    two = len(models) == 2
    return {
        "format": "poolmix evaluation 1",
        "created": "2026-01-01T00:00:00+00:00",
        "command": "python -m eval run",
        "config": {"seed": 42, "model": {"name": "smollm2_135m"}},
        "versions": {"poolmix": "0.1.0"},
        "bundle": {"name": "math_heavy", "digest": {"validation": "f" * 32}, "weights": {"cmath": 1}, "other": False},
        "model": {"name": "smollm2_135m", "short": "SmolLM2-135M"},
        "run": {"name": "run-1", "bundle": {"digest": {"validation": "f" * 32}}} if two else None,
        "models": list(models),
        "rows": {"cmath": 40},
        "values": [value(*pair, 0.5, model=model) for model in models for pair in pairs],
        "differences": [finding(*pair, 0.061 * (-1) ** at, at % 2 == 0) for at, pair in enumerate(pairs)]
        if two
        else [],
        "verdict": ["tuned differs from base", "usable: tuned better on all: +6.1 points"] if two else [],
        "seconds": {"generation": 1.5},
    } | of


def comparison(a: str = "math_heavy", b: str = "chat_heavy", runs: int = 2, **of: Any) -> dict[str, Any]:
    pairs = [(name, bucket) for name in ("perplexity", "usable") for bucket in BUCKETS]
    places = [(arm, run) for arm in (a, b) for run in range(runs)]
    one = evaluation()
    return (
        {key: one[key] for key in ("format", "created", "command", "config", "versions", "rows", "verdict")}
        | {
            "a": a,
            "b": b,
            "arms": {
                arm: [{"name": f"{arm}-{run}", "seed": run, "tokens": 9} for run in range(runs)] for arm in (a, b)
            },
            "values": [value(*pair, 0.5 + run / 10, arm=arm, run=run) for arm, run in places for pair in pairs],
            "differences": [finding(*pair, 0.061, True) for pair in pairs],
            "unlike": [],
            "curves": [
                {"arm": arm, "run": run, "step": step, "target_tokens": 100 * step, "eval_loss": 2.5 - step / 9}
                | {"eval_loss_cmath": 3.0 - step / 5 if step else None}
                for arm, run in places
                for step in range(4)
            ],
        }
        | of
    )


def replaced(node: Any, change: Callable[[str], str]) -> Any:
    """The same value with other texts, but for keys that say what a text is."""
    if isinstance(node, str):
        return change(node)
    if isinstance(node, Mapping):
        return {key: replaced(one, change) for key, one in node.items()}
    return [replaced(one, change) for one in node] if isinstance(node, list) else node


def shape(page: Page) -> Counter[Any]:
    return Counter((tag, *sorted(attrs), attrs.get("class")) for tag, attrs in page.elements)


@pytest.mark.parametrize(
    "make",
    [
        lambda change: evaluation_report(replaced(evaluation(), change), replaced(generations(2), change)),
        lambda change: comparison_report(replaced(comparison(), change), []),
    ],
)
@given(hostile=st.lists(HOSTILE, min_size=3, max_size=3, unique=True))
@settings(max_examples=25)
def test_a_page_of_hostile_texts_has_the_elements_of_one_of_harmless_texts(
    make: Callable[[Callable[[str], str]], str], hostile: list[str]
) -> None:
    def with_hostile(text: str) -> str:
        return text + hostile[len(text) % 3]

    def with_letters(text: str) -> str:
        return text + re.sub(r"[^\n]", "x", visible(hostile[len(text) % 3]))

    # arms are named by keys, which keep their texts
    keep = {"math_heavy", "chat_heavy"}
    found, wanted = (
        make(lambda text, change=change: text if text in keep else change(text))
        for change in (with_hostile, with_letters)
    )
    assert shape(Page(found)) == shape(Page(wanted))
    assert "<script>alert" not in found
    found.encode()


@given(HOSTILE, HOSTILE)
@settings(max_examples=25)
def test_a_reply_can_be_read_as_it_was(reply: str, gold: str) -> None:
    page = Page(evaluation_report(evaluation(), [generation("tuned", 0, ["ended"], reply=reply, gold=gold)]))
    texts = page.within("pre")
    assert f"\n{visible(reply)}" in texts
    assert f"\n{visible(gold)}" in texts


@pytest.mark.parametrize("report", ["evaluation", "comparison"])
def test_pages_load_nothing_and_allow_nothing_but_themselves(report: str) -> None:
    text = (
        evaluation_report(evaluation(), generations())
        if report == "evaluation"
        else comparison_report(comparison(), replaced(generations(), arm_of))
    )
    page = Page(text)
    loading = {"src", "href", "srcset", "action", "data", "poster", "xlink:href", "background", "style", "formaction"}
    links = [value for _, attrs in page.elements for name, value in attrs.items() if name in loading]
    assert links
    assert all(link is not None and link.startswith("#") for link in links)
    targets = {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    assert {link[1:] for link in links if link} <= targets
    (style,), (script,) = page.within("style"), page.within("script")
    assert not re.search(r"url\(|@import|https?:|//\w", style)
    assert not re.search(r"https?:|fetch|XMLHttp|import\(|eval\(", script)
    policy = next(attrs["content"] or "" for tag, attrs in page.elements if attrs.get("http-equiv"))
    assert policy.startswith("default-src 'none'; ")
    for inside in (style, script):
        assert base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode() in policy
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]


def arm_of(text: str) -> str:
    return {"base": "math_heavy", "tuned": "chat_heavy"}.get(text, text)


def test_the_same_content_is_the_same_text() -> None:
    assert evaluation_report(evaluation(), generations()) == evaluation_report(evaluation(), generations())
    assert comparison_report(comparison(), []) == comparison_report(comparison(), [])


def test_a_page_can_be_read_by_all() -> None:
    for text in (evaluation_report(evaluation(), generations()), comparison_report(comparison(), [])):
        page = Page(text)
        assert ("html", {"lang": "en"}) in page.elements
        assert ("meta", {"charset": "utf-8"}) in page.elements
        tags = [tag for tag, _ in page.elements]
        assert tags.count("h1") == tags[: tags.index("body")].count("title") == 1
        assert all("scope" in attrs for tag, attrs in page.elements if tag == "th")
        tables = tags.count("table")
        assert tables == tags.count("caption") > 0
        for at, (tag, attrs) in enumerate(page.elements):
            assert tag != "svg" or "role" not in attrs or "aria-label" in attrs or tags[at + 1] == "title"


def test_the_verdict_stands_before_everything_else() -> None:
    text = evaluation_report(evaluation(), generations())
    order = ["tuned differs from base", "What was measured", "Where the adapter gains", "Each measure", "Checks<"]
    places = [text.index(what, text.index("<main>")) for what in [*order, "Worst replies of", "Examples side by side"]]
    assert places == sorted(places)


@pytest.mark.parametrize("other", [True, False])
def test_another_bundle_is_warned_of(other: bool) -> None:
    one = evaluation()
    page = Page(evaluation_report(one | {"bundle": one["bundle"] | {"other": other}}, []))
    assert bool(page.named("warning")) is other


def test_settings_in_which_arms_differ_are_warned_of() -> None:
    page = Page(comparison_report(comparison(unlike=["train.lora.r: 16 | 8"]), []))
    assert page.named("warning")
    assert "train.lora.r: 16 | 8" in page.text
    page = Page(comparison_report(comparison(), []))
    assert not page.named("warning")
    assert "Their settings are the same but for weights and seeds." in page.text


def test_better_is_told_by_the_measure_and_seen_by_the_finding() -> None:
    # perplexity falls, so it is better; usable falls, so it is worse; lengths are neither
    found = [finding("perplexity", "all", -0.1, True), finding("usable", "all", -0.061, False)]
    found.append(finding("characters", "all", 30.0, True))
    one = evaluation(differences=found)
    one["values"] = [entry for entry in one["values"] if entry["bucket"] == "all" and entry["measure"] != "correct"]
    page = Page(evaluation_report(one, []))
    marks = Counter(attrs["class"] for attrs in page.named("mark"))
    assert marks == {"mark gain seen": 2, "mark loss": 2, "mark other seen": 2}  # overall, and by measure
    assert "−9.5 [−11.3, −7.7]" in page.text  # percent of the perplexity, from nats
    assert "−6.1 [−8.1, −4.1]" in page.text  # points
    assert "usable on all: −6.1 [−8.1, −4.1] points, not seen" in " ".join(page.within("title"))


def test_a_measure_that_is_not_compared_shows_its_values() -> None:
    one = evaluation()
    one["differences"] = [entry for entry in one["differences"] if entry["measure"] != "correct"]
    page = Page(evaluation_report(one, []))
    assert "Shown, but not compared" in page.text
    assert "50.0 % [45.0, 55.0]" in page.text.replace("\N{NO-BREAK SPACE}", " ")


def test_a_measure_without_rows_says_so() -> None:
    one = evaluation()
    for entry in [*one["values"], *one["differences"]]:
        if entry["measure"] == "correct" or entry["bucket"] == "tag:zh":
            entry |= {"value": None, "low": None, "high": None, "n": 0, "groups": 0, "p": None, "p_holm": None}
            entry["seen"] = False
    text = Page(evaluation_report(one, generations())).text
    assert "No rows (n = 0) on tag:zh." in text
    assert "No rows: n = 0." in text
    assert "nan" not in text.lower()


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_values_that_are_not_known_are_no_numbers(nothing: float | None) -> None:
    one = evaluation()
    for entry in one["values"]:
        entry |= {"low": nothing, "high": nothing} | ({"value": nothing} if entry["measure"] == "usable" else {})
    for entry in one["differences"]:
        entry |= {"low": nothing, "high": nothing, "p": nothing, "p_holm": nothing, "seen": False}
    scores = {"scores": {"ended": nothing, "correct": 0.0}}
    page = Page(evaluation_report(one, [generation(model, 0, **scores) for model in ("base", "tuned")]))
    assert not re.search(r"\bnan\b|None(?!\.)", page.text)
    assert "n = 0" in page.text  # of the check `ended`


def test_a_base_model_alone_has_values_and_no_differences() -> None:
    page = Page(evaluation_report(evaluation(["base"]), generations()[:30]))
    assert "nothing to compare" in page.text
    assert page.named("mark")
    assert not page.named("zero")
    assert "Changed most" not in page.text
    assert "Worst replies of base" in page.text


def test_results_without_replies_or_without_anything_are_pages() -> None:
    assert "No replies were generated." in Page(evaluation_report(evaluation(), [])).text
    bare = evaluation(values=[], differences=[], verdict=[], rows={}, run=None, seconds={})
    assert "Nothing was measured." in Page(evaluation_report(bare, [])).text
    assert Page(comparison_report(comparison(values=[], differences=[], curves=[], verdict=[]), [])).text


def articles(text: str, section: str) -> list[str]:
    """The articles below a heading, up to the next one."""
    return text.partition(f"{section}</h")[2].partition("<h2")[0].partition("<h3")[0].split("<article")[1:]


def test_examples_are_those_that_changed_most() -> None:
    replies = [generation("base", at, CHECKS[: at % 5]) for at in range(20)]
    replies += [generation("tuned", at, CHECKS[: (at * 3) % 5]) for at in range(20)]
    text = evaluation_report(evaluation(), replies)
    for heading, sign in (("Changed most for the better", 1), ("Changed most for the worse", -1)):
        failed = [[side.count('"failed"') for side in one.split("cell reply")[1:]] for one in articles(text, heading)]
        changes = [sign * (before - after) for before, after in failed]
        wanted = sorted((max(0, sign * (at % 5 - at * 3 % 5)) for at in range(20)), reverse=True)
        assert changes == [change for change in wanted if change][: len(changes)]
        assert changes
    worst = [
        one.count('"failed"') for one in text.partition('id="worst"')[2].partition("</section")[0].split("<article")[1:]
    ]
    assert worst == sorted((at * 3 % 5 for at in range(20) if at * 3 % 5), reverse=True)


def test_counts_of_checks_add_up() -> None:
    replies = generations(60)
    page = Page(evaluation_report(evaluation(), replies))
    for check in CHECKS:
        fails = [
            sum(not one["scores"][check] for one in replies if one["model"] == model) for model in ("base", "tuned")
        ]
        pairs = Counter(
            zip(*([bool(one["scores"][check]) for one in half] for half in (replies[:60], replies[60:])), strict=True)
        )
        told = "".join(f" {count} of 60 ({count / 0.6:.1f} %)" for count in fails)
        assert f"{check}{told} {pairs[False, True]} {pairs[True, False]}" in page.text


def test_many_long_replies_make_a_page_of_bounded_size() -> None:
    long = [
        generation(model, at, CHECKS[: at % 5], reply="x" * 90_000) for model in ("base", "tuned") for at in range(200)
    ]
    text = evaluation_report(evaluation(), long)
    page = Page(text)
    assert sum(tag == "article" for tag, _ in page.elements) <= 60
    assert len(text) < 2_000_000
    assert "86,000 more characters are not shown" in text
    assert all(len(one) <= MOST + 1 for one in page.within("pre"))


def test_ten_thousand_replies_take_less_than_two_seconds() -> None:
    replies = generations(5_000)
    evaluation_report(evaluation(), [])  # compiles the templates
    began = time.process_time()
    evaluation_report(evaluation(), replies)
    assert time.process_time() - began < 2


@given(st.text(st.sampled_from("ab\u0301\u200d👩👧🏽\ufe0f\n"), max_size=60), st.integers(1, 50))
def test_a_text_is_not_cut_within_a_character(text: str, most: int) -> None:
    cut = shorten(text, most)
    assert text.startswith(cut.text)
    assert len(cut.text) + cut.more == len(text)
    assert len(cut.text) <= most
    if 0 < len(cut.text) < len(text):
        assert cut.text[-1] != "\u200d"
        assert text[len(cut.text)] not in "\u0301\u200d🏽\ufe0f"


@given(st.lists(st.floats(-1e9, 1e9), max_size=8))
def test_an_axis_holds_its_values_in_their_order(values: list[float]) -> None:
    axis = axis_of(values)
    places = [axis.at(one) for one in sorted(values)]
    assert places == sorted(places)
    assert all(0 <= place <= 100 for place in places)
    assert 2 <= len(axis.ticks) <= 8
    room = (axis.high - axis.low) * 1e-8
    assert all(axis.low - room <= one <= axis.high + room for one in values)
    assert len({label for _, label in axis.labels()}) == len(axis.ticks)


def test_an_interval_that_leaves_the_axis_says_so() -> None:
    axis = axis_of([0.0, 10.0])
    found = mark(axis, 5.0, -20.0, 8.0)
    assert found is not None
    assert found.beyond == (True, False)
    assert found.low == axis.at(0.0)
    assert mark(axis, float("nan"), 0.0, 1.0) is None


def test_curves_have_a_line_for_each_run_and_skip_what_is_missing() -> None:
    found = charts(comparison()["curves"], ["math_heavy", "chat_heavy"])
    assert [chart.name for chart in found] == ["all", "cmath"]
    assert [[len(points) for _, _, points in chart.lines] for chart in found] == [[4] * 4, [3] * 4]
    assert [arm for arm, _, _ in found[0].lines] == ["math_heavy"] * 2 + ["chat_heavy"] * 2
    assert charts([], []) == []


def test_what_differs_between_arms_is_told_from_what_differs_between_runs() -> None:
    arms = [[{"seed": run, "mix": {"weights": weight}, "r": 8} for run in (0, 1)] for weight in (1, 2)]
    assert {fact.name: fact.between for fact in facts(arms)} == {"seed": "runs", "mix.weights": "arms", "r": ""}


def test_several_runs_are_shown_by_their_mean_and_range() -> None:
    text = Page(comparison_report(comparison(), [])).text.replace("\N{NO-BREAK SPACE}", " ")
    assert "55.0 % (50.0 % to 60.0 %)" in text
    assert "0.548 (0.500 to 0.600)" in text  # the geometric mean of perplexities
    assert "Each run" in text
    assert "Each run" not in Page(comparison_report(comparison(runs=1), [])).text


def test_every_measure_has_a_meaning() -> None:
    assert set(MEANINGS) == set(SCALES)

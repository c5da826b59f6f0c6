"""Pages and cards of hostile names and rows: text in a browser, text in Markdown, text in a spreadsheet."""

from __future__ import annotations

import csv
import http.server
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.folder import Folder
from pipeline.manifest import card
from pipeline.markdown import block, link, plain, span
from pipeline.visible import visible

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MARK = "owned-by-data"
SCRIPT = f"document.title='{MARK}';document.body.append(Object.assign(document.createElement('b'),{{id:'{MARK}'}}))"
HOSTILE = [
    f"<script>{SCRIPT}</script>",
    f"</script><script>{SCRIPT}</script>",
    f'</pre></td></svg></style></title><img src=x onerror="{SCRIPT}">',
    f'" autofocus onfocus="{SCRIPT}" x="',
    f"' onload='{SCRIPT}' x='",
    f'<svg onload="{SCRIPT}"><iframe src="javascript:{SCRIPT}">',
    "{{7*7}}{% for x in y %}{{ cycler.__init__ }}${7*7}#{7*7}",
    "<img src=ADDRESS/img><link rel=stylesheet href=ADDRESS/css><iframe src=ADDRESS/frame></iframe>",
    "<meta http-equiv=refresh content='0;url=ADDRESS/go'><base href=ADDRESS/>",
    "a\u2028b\u2029c]]>--><!--\ttab",
]


class Listener(http.server.BaseHTTPRequestHandler):
    asked: list[str]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(204)
        self.end_headers()


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """A server that notes what it is asked for: its address, and the notes."""
    asked: list[str] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Listener,), {"asked": asked}))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


class Dom(HTMLParser):
    """What a browser made of a page: its title, the ids, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.tags: set[str] = set()
        self.open, self.title, self.texts = "", "", list[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open = tag
        self.tags.add(tag)
        self.ids |= {value or "" for name, value in attrs if name == "id"}

    def handle_data(self, data: str) -> None:
        if self.open == "title":
            self.title += data
        elif self.open not in ("script", "style"):
            self.texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        self.open = ""

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


def shown(page: str, folder: Path) -> Dom:
    """The page after a browser ran it for two (virtual) seconds."""
    if BROWSER is None:
        pytest.skip("no Chromium here")
    (folder / "page.html").write_text(page, "utf-8")
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]
    alone = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--virtual-time-budget=2000"]
    place = (folder / "page.html").as_uri()
    done = subprocess.run(
        [BROWSER, *alone, *quiet, f"--user-data-dir={folder / 'profile'}", "--dump-dom", place],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return Dom(done.stdout)


def pages(texts: list[str]) -> dict[str, str]:
    """Both kinds of page with hostile text in every place that takes one."""
    pytest.importorskip("scipy")
    from eval.report import comparison_report, evaluation_report
    from tests.eval.test_report import comparison, evaluation, generations, replaced

    def hostile(text: str) -> str:
        return text if text in keep else f"{text} {texts[(len(text) + sum(map(ord, text))) % len(texts)]}"

    keep = {"math_heavy", "chat_heavy", "base", "tuned"}
    replies = zip(generations(len(texts)), texts * 2, strict=True)
    rows = [one | {"prompt": text, "reply": text, "gold": text} for one, text in replies]
    return {
        "evaluation": evaluation_report(replaced(evaluation(), hostile), rows),
        "comparison": comparison_report(replaced(comparison(), hostile), []),
    }


@pytest.mark.parametrize("kind", ["evaluation", "comparison"])
def test_a_browser_shows_hostile_text_and_runs_none_of_it(
    kind: str, listener: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, asked = listener
    texts = [text.replace("ADDRESS", address) for text in HOSTILE]
    pytest.importorskip("scipy")
    dom = shown(pages(texts)[kind], tmp_path)
    assert dom.title != MARK
    assert MARK not in dom.ids
    assert not {"iframe", "img", "link", "base"} & dom.tags
    assert asked == []
    if kind == "evaluation":
        for text in texts:
            assert " ".join(text.split()) in dom.text


def test_the_browser_would_have_told(listener: tuple[str, list[str]], tmp_path: Path) -> None:
    address, asked = listener
    dom = shown(f"<title>t</title><body><img src={address}/img>{HOSTILE[0]}", tmp_path)
    assert (dom.title, MARK in dom.ids, asked) == (MARK, True, ["/img"])


MARKDOWN = [
    *HOSTILE,
    "a | b | c\n| d |",
    "x\n---\nlicense: evil\n---\n# heading",
    "[click](javascript:alert(1)) ![i](http://evil/i.png) <javascript:alert(1)>",
    "`code` ``` *em* **strong** __b__ ~~s~~ $x$ &lt;b&gt; \\<b>",
    "\x1b[31mred\u202e",
    "- item\n1. one\n> quote\n    code",
]


@pytest.mark.parametrize("text", MARKDOWN)
def test_text_in_markdown_is_text(text: str) -> None:
    for made in (plain(text), span(text), link(text, "https://e.org/a_(b)"), link(text, f"https://e.org/{text}")):
        assert "\n" not in made
        assert "\x1b" not in made
        assert not re.search(r"(?<!\\)\|", made)
    assert "<" not in plain(text) + link(text, f"https://e.org/{text}")
    assert not re.search(r"(?<!\\)\]\(", plain(text))
    assert all(line.startswith("    ") for line in block(text).split("\n"))
    assert link(text, "javascript:alert(1)") == link(text, "data:text/html,x") == link(text, None) == plain(text)


@pytest.mark.parametrize("text", MARKDOWN)
def test_a_renderer_of_markdown_makes_the_same_elements_of_hostile_text(text: str) -> None:
    markdown = pytest.importorskip("markdown_it").MarkdownIt("gfm-like", {"html": True, "linkify": False})
    found, wanted = (markdown.render(bundle_card(other)) for other in (text, "harmless"))
    assert re.findall(r"<[a-z/][^>]*>", found) == re.findall(r"<[a-z/][^>]*>", wanted)


def bundle_card(text: str) -> str:
    entry = {"train_rows": 3, "validation": 1, "licence": text}
    rows = {"train": 3, "validation": 1}
    return card({"name": text, "command": f"python -m pipeline build {text}", "rows": rows, "sources": {"mine": entry}})


@pytest.mark.parametrize("text", MARKDOWN)
def test_the_front_matter_of_a_bundle_s_card_says_nothing_of_the_data(text: str) -> None:
    assert _front(bundle_card(text)) == _front(bundle_card("harmless"))


@pytest.mark.parametrize("text", MARKDOWN)
def test_the_card_of_an_adapter_holds_names_as_text(text: str) -> None:
    from train.card import model_card

    def made(text: str) -> str:
        return model_card(adapter_manifest(text), text, merged=False)

    found, wanted = made(text), made("harmless")
    front = _front(found)
    assert set(front) == set(_front(wanted))
    assert front["tags"][-1] == text
    body = found.split("\n---\n", 1)[1]
    text_of_it = re.sub(r"`[^`]*`", "", body)
    assert "<script" not in text_of_it
    assert not re.search(r"(?<!\\)\]\((?!https://)", text_of_it)
    assert len(body.splitlines()) == len(wanted.split("\n---\n", 1)[1].splitlines())


def adapter_manifest(text: str) -> dict[str, Any]:
    losses = {"step": 0, "eval_loss": 3.2, f"eval_loss_{text}": 3.1}
    return {
        "model": {"id": text, "short": text, "origin": "hub", "commit": None},
        "bundle": {"path": "nowhere", "name": text, "mix": text, "digest": {"train": text}, "weights": {text: 1.0}},
        "template": {"name": text},
        "versions": {text: text},
        "seed": 42,
        "device": {"dtype": text, "quant": "none"},
        "steps": {"total": 4, "sequences": 2, "target_tokens": 9},
        "config": {
            "model": {"licence": text},
            "lora": {"r": 4, "alpha": 8, "dropout": 0.0},
            "train": {"learning_rate": 1e-4, "lr_scheduler_type": text},
        },
        "results": {"validation": {"before": losses, "after": losses}},
    }


def _front(card: str) -> Mapping[str, Any]:
    _, front, _ = re.split(r"^---\n", card, maxsplit=2, flags=re.MULTILINE)
    return yaml.safe_load(front)


def test_a_spreadsheet_computes_nothing_of_the_measures(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    from eval.record import write_csv

    names = ['=HYPERLINK("http://evil")', "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "tag:zh", 'a "quoted", one']
    records = [{"bucket": name, "value": value} for name in names for value in (-0.5, None)]
    write_csv(Folder(tmp_path), records)
    with (tmp_path / "metrics.csv").open(newline="", encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    assert [line["bucket"].removeprefix("'") for line in lines] == [visible(one["bucket"]) for one in records]
    assert not [line for line in lines if line["bucket"][0] in "=+-@\t\r"]
    assert {line["value"] for line in lines} == {"-0.5", ""}

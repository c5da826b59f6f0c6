"""The parity gate holds for the project's templates, and names each thing that is broken on purpose."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main
from pipeline.folder import DATA, file_digest, sealed

TEMPLATES = Path(__file__).resolve().parents[3] / "conf" / "template"
NAMES = sorted(path.stem for path in TEMPLATES.glob("*.jinja"))
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}


def turns(*contents: str, **last: Any) -> list[dict[str, Any]]:
    """Turns of user and assistant by turns; `last` adds to the last one."""
    roles = ("user", "assistant")
    messages: list[dict[str, Any]] = [{"role": roles[k % 2], "content": text} for k, text in enumerate(contents)]
    return [*messages[:-1], messages[-1] | last]


TALKS: list[list[dict[str, Any]]] = [
    turns("One and one?", "Two."),
    turns("And two and two?", "Four."),
    turns("Three and three?", "Six.", "Four and four?", "Eight."),
    [{"role": "system", "content": "Be brief."}, *turns("Sure? 🙂", "是的。", "Really?", "Yes.")],
    turns("Think: five and five?", "Ten.", reasoning_content="Both hands."),
    turns("Is it so?", "<think>\nLet me see.\n</think>\n\nIt is."),
    turns("Not to be learnt?", "No.", "And this?", "Neither.", weight=0),
    turns("What is <|im_end|> for?", "It ends a turn: <|im_end|>\n<|im_start|>user"),
]
TOOLS = [
    turns("Weather in Oslo?", "", tool_calls=[CALL]),
    [
        *turns("Weather in Oslo, please?", "I look.", tool_calls=[CALL]),
        {"role": "tool", "content": "rain", "tool_call_id": "c1", "name": "weather"},
        {"role": "assistant", "content": "Rain."},
    ],
]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """build("template=qwen3", …) → a bundle of TALKS and TOOLS."""
    folder = tmp_path_factory.mktemp("parity")
    rows = [{"messages": messages} for messages in TALKS]
    rows += [
        {"messages": messages, "tools": [{"type": "function", "function": {"name": "weather"}}]} for messages in TOOLS
    ]
    (folder / "talks.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    made: dict[tuple[str, ...], Path] = {}

    def call(*settings: str) -> Path:
        if settings not in made:
            out = folder / f"bundle{len(made)}"
            source = f"+sources.talks={{path: {folder / 'talks.jsonl'}, shape: messages}}"
            places = [f"paths.pools={folder / 'pools'}", f"paths.bundles={folder}", f"out={out}"]
            mix = ["mix=custom", "+mix.weights.talks=1", "mix.strategy=concat", "split=none"]
            assert main(PROGRAM, ["build", source, *mix, *places, *settings]) == 0
            made[settings] = out
        return made[settings]

    return call


@pytest.fixture
def failed(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, str]]:
    """failed(bundle, "template=qwen3", …) → what is said of each promise that does not hold."""

    def call(bundle: Path, *settings: str) -> dict[str, str]:
        capsys.readouterr()
        status = main(PROGRAM, ["verify", f"bundle={bundle}", *settings])
        *lines, _ = capsys.readouterr().out.splitlines()
        found: dict[str, str] = {}
        name = ""
        for line in lines:
            if not line.startswith(" "):
                name = line.split()[1]
            if line.startswith("FAILED"):
                found[name] = ""
            elif line.startswith(" "):
                found[name] += line.strip() + "\n"
        assert status == (3 if found else 0)
        return found

    return call


@pytest.fixture
def mine(tmp_path: Path) -> Callable[..., str]:
    """mine("qwen3", (old, new), …) → `template.path=` of a copy of a template with these changes."""

    def call(name: str, *changes: tuple[str, str]) -> str:
        text = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "mine.jinja").write_text(text, encoding="utf-8")
        return f"template.path={tmp_path / 'mine.jinja'}"

    return call


@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_of_every_template_of_the_project_passes(
    name: str, build: Callable[..., Path], failed: Callable[..., dict[str, str]]
) -> None:
    assert failed(build(f"template={name}"), f"template={name}") == {}


def test_rows_that_the_template_refuses_are_no_fault_where_the_bundle_has_no_text_of_them(
    build: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = build("template=smollm2")
    capsys.readouterr()
    assert main(PROGRAM, ["verify", f"bundle={bundle}", "template=smollm2"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if " rendered " in line]
    assert line.startswith("ok")
    assert "it refuses 2 × TemplateError: the template smollm2 has no tools" in line
    assert "first talks:" in line


def test_rows_that_the_template_refuses_are_a_fault_where_the_bundle_has_a_text_of_them(
    build: Callable[..., Path], failed: Callable[..., dict[str, str]]
) -> None:
    found = failed(build("template=qwen3"), "template=smollm2")
    assert set(found) == {"rendered"}
    assert found["rendered"].startswith("2 ×")


HEADER = "{{- '<|im_start|>' + message.role + '\\n' }}\n    {%- if message.role == 'assistant' %}\n"
HEADERLESS = HEADER.replace("message.role + '\\n'", "message.role + ('\\n' if message.role != 'assistant' else '')")
UNSAID = HEADER.replace("'<|im_start|>' +", "'' if message.role == 'assistant' else '<|im_start|>' +")
BEGIN = "        {%- generation %}{%- endgeneration %}\n        {%- generation %}\n            {{- message.content }}\n"
EARLY = BEGIN.replace("{{- message", "{{- '\\n' + message")
LATE = BEGIN.replace("{%- generation %}\n", "{{- message.content[:1] }}{%- generation %}\n").replace(
    "nt }}\n", "nt[1:] }}\n"
)
ROLE = BEGIN.replace("{%- generation %}{%", "{%- generation %}{{- '<|im_start|>assistant\\n' }}{%")
END = "{%- generation %}<|im_end|>{%- endgeneration %}"
ENDLESS = "{%- generation %}{%- endgeneration %}"
OTHER_ENDS = "{%- generation %}{{ '<|im_end|>' if loop.last else '<|end|>' }}{%- endgeneration %}"
PEOPLE = "{{- message.content + '<|im_end|>\\n' }}"
MARKED = "{%- generation %}{{ message.content }}{%- endgeneration %}{{- '<|im_end|>\\n' }}"
PROMPT = "'<|im_start|>assistant\\n' if add"


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        pytest.param([(HEADER, HEADERLESS), (BEGIN, EARLY)], {"generation_prompt", "blocks"}, id="begins early"),
        pytest.param([(BEGIN, LATE)], {"generation_prompt", "blocks"}, id="begins late"),
        pytest.param([(HEADER, UNSAID), (BEGIN, ROLE)], {"generation_prompt", "blocks"}, id="trains on the role"),
        pytest.param([(END, f"<{END.replace('<|', '|')}")], {"blocks"}, id="the end begins late"),
        pytest.param([(END, f"{ENDLESS}<|im_end|>")], {"blocks"}, id="does not train on the end"),
        pytest.param([(END, ENDLESS)], {"blocks"}, id="turns do not end"),
        pytest.param([(END, OTHER_ENDS)], {"blocks"}, id="turns end differently"),
        pytest.param([(PEOPLE, MARKED)], {"blocks"}, id="trains on people's turns"),
        pytest.param([(PROMPT, PROMPT.replace("\\n", ": "))], {"generation_prompt"}, id="prompts otherwise"),
    ],
)
def test_a_template_that_is_wrong_is_named(
    changes: list[tuple[str, str]],
    names: set[str],
    build: Callable[..., Path],
    failed: Callable[..., dict[str, str]],
    mine: Callable[..., str],
) -> None:
    found = failed(build("template=chatml"), mine("chatml", *changes))
    assert set(found) == names
    assert "first talks:" in "".join(found.values())


def test_rows_without_reasoning_are_prompted_without_thinking(
    build: Callable[..., Path], failed: Callable[..., dict[str, str]], mine: Callable[..., str]
) -> None:
    """The prompt lacks the empty think block that the last turn has."""
    changed = mine("qwen3", ("enable_thinking is defined and enable_thinking is false", "enable_thinking is none"))
    found = failed(build("template=qwen3"), changed)
    assert set(found) == {"generation_prompt"}
    assert "8 × the last turn begins after another text" in found["generation_prompt"]
    assert "<think>" in found["generation_prompt"]


def edit(bundle: Path, folder: Path, **columns: Callable[[Any], Any]) -> Path:
    """A copy of a bundle whose first training row has other values in these columns, with digests to match."""
    copy = Path(shutil.copytree(bundle, folder / "copy"))
    path = copy / "train" / DATA
    table = pa.ipc.open_stream(path.read_bytes()).read_all()
    for name, change in columns.items():
        first, *others = table[name].to_pylist()
        column = pa.array([change(first), *others], table.schema.field(name).type)
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"][f"train/{DATA}"] = {"bytes": path.stat().st_size, "xxh3_128": file_digest(path)}
    (copy / "manifest.json").write_text(sealed(manifest), encoding="utf-8")
    return copy


def test_an_edited_text_is_named(
    build: Callable[..., Path], failed: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    copy = edit(build("template=qwen3"), tmp_path, text=lambda text: text[:-3] + "!" + text[-3:])
    assert failed(copy) == {}
    found = failed(copy, "template=qwen3")
    assert set(found) == {"text"}
    assert found["text"].startswith("1 × another text; first talks:")


def test_targets_off_by_one_are_named(
    build: Callable[..., Path], failed: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    def late(targets: list[dict[str, int]]) -> list[dict[str, int]]:
        return [*targets[:-1], targets[-1] | {"start": targets[-1]["start"] + 1}]

    found = failed(edit(build("template=qwen3"), tmp_path, targets=late), "template=qwen3")
    assert set(found) == {"text"}
    assert found["text"].startswith("1 × other targets; first talks:")


def test_a_text_that_is_missing_is_named(
    build: Callable[..., Path], failed: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    copy = edit(build("template=qwen3"), tmp_path, text=lambda _: None, targets=lambda _: [])
    assert set(failed(copy, "template=qwen3")) == {"text"}


def test_a_bundle_of_messages_alone_can_be_held_to_a_template(
    build: Callable[..., Path], failed: Callable[..., dict[str, str]], mine: Callable[..., str]
) -> None:
    assert failed(build("template=none")) == {}
    assert set(failed(build("template=none"), mine("chatml", (END, ENDLESS)))) == {"blocks"}


@pytest.fixture
def qwen3(shared: Path) -> str:
    return f"tokenizer={shared / 'qwen3_tokenizer'}"


def test_the_projects_qwen3_is_the_tokenizers(
    qwen3: str, build: Callable[..., Path], failed: Callable[..., dict[str, str]]
) -> None:
    assert failed(build("template=qwen3"), "template=qwen3", qwen3) == {}


def test_what_differs_from_the_tokenizers_template_is_named(
    qwen3: str, build: Callable[..., Path], failed: Callable[..., dict[str, str]], mine: Callable[..., str]
) -> None:
    role = "'<|im_start|>' + message.role + '\\n"
    spaced = mine("qwen3", (role, f"{role} "), (END, "{%- generation %}<|im_en{%- endgeneration %}d|>"))
    found = failed(build("template=qwen3"), spaced, qwen3)
    assert set(found) == {"generation_prompt", "original", "blocks"}
    assert found["original"].startswith("10 × another text outside the assistant's turns; first talks:")
    assert "at character 17, after '<|im_start|>user\\n': ' " in found["original"]
    assert "10 × the end of a turn cuts a special token in two" in found["blocks"]


def test_special_tokens_in_peoples_texts_are_counted_without_them(
    qwen3: str,
    build: Callable[..., Path],
    failed: Callable[..., dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As encoding would be if it did not look for them."""
    monkeypatch.setattr("pipeline.tokens.encode._with_literals", lambda batch, _: pl.Series([False] * len(batch.rows)))
    found = failed(build("template=qwen3"), "template=qwen3", qwen3)
    assert set(found) == {"special_tokens"}
    assert found["special_tokens"].startswith("1 × other special tokens; first talks:7 7 of them, and 4")


def test_the_tokenizers_own_template_passes_as_the_template(
    qwen3: str, build: Callable[..., Path], failed: Callable[..., dict[str, str]]
) -> None:
    assert failed(build("template=qwen3"), "template=tokenizer", qwen3) == {}


@pytest.mark.parametrize(
    "settings",
    [["template=nothing"], ["template.path=no/file.jinja"], ["tokenizer=x"], ["template=tokenizer"]],
)
def test_what_is_not_there_is_said_in_two_lines(
    settings: list[str], build: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = build("template=none")
    capsys.readouterr()
    assert main(PROGRAM, ["verify", f"bundle={bundle}", *settings]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2

"""The export for the lm-evaluation-harness: what is in it, that it stands alone, and that the harness takes it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from eval.__main__ import PROGRAM
from eval.answers import answer
from eval.reply import Reply
from eval.rows import choose_rows, render_prompts
from pipeline.cli.front import main
from pipeline.manifest import open_bundle
from pipeline.render.template import Template

SYSTEM = "Answer {{ briefly }}.\n{% raw %} \u2028 </s>"
TALK = [("user", "How many eggs?"), ("assistant", "8"), ("user", "And without two?"), ("assistant", "6")]
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
# (gold, reply): what numbers, words and math-verify decide, right and wrong
JUDGED = [
    ("6", "The answer is 8 - 2 = 6."),
    ("6", "The answer is 8 - 2 = 7."),
    ("6", "8\n\n7"),
    ("25%", "#### 0.25"),
    ("2/3", r"\boxed{\frac{2}{3}}"),
    ("321", "答案是三百二十一。"),
    ("B", "Because I say so"),
    ("B", "The answer is B."),
    ("6", "<think>7</think>6"),
    ("6", "<think>6"),
    (r"2\sqrt{3}", r"\boxed{\sqrt{12}}"),
    (r"2\sqrt{3}", r"\boxed{2}"),
    ("6", ""),
]

Export = Callable[..., int]
needs_harness = pytest.mark.skipif(find_spec("lm_eval") is None, reason="lm_eval is not installed")


def odd_rows(number: int) -> list[dict[str, Any]]:
    """A raw row of each kind, with prompts like no others."""
    ask, told = ("user", f"{{{{ {number} }}}} + 3 = ?\r\n{{% if %}}"), ("assistant", "6")
    kinds: list[tuple[list[tuple[str, str]], dict[str, Any]]] = [
        ([("system", SYSTEM), ask, told], {"answer": "6"}),
        ([ask, told, *TALK], {"answer": "6"}),
        ([ask, ("assistant", "Six")], {"answer": "6", "tools": TOOLS}),
        ([("system", "Be kind."), ask, told], {}),
        ([("system", "Be quick."), ask, told], {"answer": " "}),
        ([ask, ("assistant", "It is six.")], {"answer": "6"}),
    ]
    return [{"messages": [{"role": role, "content": text} for role, text in turns], **more} for turns, more in kinds]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of three sources: questions with answers, odd ones, and chats without answers."""
    from pipeline.__main__ import PROGRAM as BUILD

    folder = tmp_path_factory.mktemp("data")
    lines = [json.dumps(row) for number in range(10) for row in odd_rows(number)]
    (folder / "odd.jsonl").write_text("\n".join(lines), "utf-8")
    source = f"+sources.odd={{path: {folder / 'odd.jsonl'}, shape: messages}}"
    weights = [f"+mix.weights.{name}=1" for name in ("cmath", "emoji", "odd")]
    settings = ["mix=custom", source, *weights, "mix.total_rows=12", "split.valid_ratio=0.1"]
    assert main(BUILD, ["build", *settings, f"paths.pools={folder / 'pools'}", f"out={folder / 'my bundle'}"]) == 0
    return folder / "my bundle"


@pytest.fixture
def export(tmp_path: Path, bundle: Path) -> Export:
    """export("limit=5", …) → the exit status; the export is at tmp_path / "out"."""

    def run(*overrides: str, out: str = "out") -> int:
        place = [f"bundle={bundle}", f"out={tmp_path / out}", f"paths.pools={bundle.parent / 'pools'}"]
        return main(PROGRAM, ["export", "to=lm_eval", *place, *overrides])

    return run


def rows(folder: Path) -> list[dict[str, Any]]:
    """The exported rows."""
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text("utf-8").split("\n") if line]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of an export."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.parent.name != "__pycache__")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def task(folder: Path, name: str) -> dict[str, Any]:
    """A task's YAML, what it calls by its name."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))
    return yaml.load((folder / f"{name}.yaml").read_text("utf-8"), Loader)  # noqa: S506


def ours(gold: str, text: str) -> float:
    """The verdict of `eval run`."""
    found = answer(Reply({"answer": gold}, text, 1, True, ""))
    assert found is not None
    return found.scores["correct"]


def test_rows_are_the_answered_ones_and_the_others_are_counted(export: Export, bundle: Path, tmp_path: Path) -> None:
    assert export("limit=null") == 0
    found = rows(tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))
    of = choose_rows(open_bundle(str(bundle), bundle.parent), None)
    answered = [row for row in of.values if (row["answer"] or "").strip()]
    left_out = manifest["rows"]["left_out"]
    assert left_out == {
        "no_answer": len(of.values) - len(answered),
        "several_turns": sum(len(row["messages"]) > 3 for row in answered),
        "tools": sum(row["tools"] is not None for row in answered),
    }
    assert all(left_out.values())
    assert len(found) + sum(left_out.values()) == len(of.values)
    assert manifest["rows"]["sources"] == {
        name: sum(row["source"] == name for row in found) for name in ("cmath", "odd")
    }
    order = [row["id"] for row in of.values]
    assert [row["id"] for row in found] == sorted((row["id"] for row in found), key=order.index)


def test_texts_are_those_of_the_bundle_to_the_letter(export: Export, bundle: Path, tmp_path: Path) -> None:
    assert export("limit=null") == 0
    values = {row["id"]: row for row in choose_rows(open_bundle(str(bundle), bundle.parent), None).values}
    for row in rows(tmp_path / "out"):
        messages = values[row["id"]]["messages"][:-1]
        assert row["user"] == messages[-1]["content"]
        assert row["system"] == (messages[0]["content"] if len(messages) > 1 else "")
    assert any("{{ briefly }}" in row["system"] for row in rows(tmp_path / "out"))


def test_a_template_writes_the_prompts_of_eval_run(export: Export, bundle: Path, tmp_path: Path, root: Path) -> None:
    assert export("limit=null", "template=qwen3") == 0
    template = Template("qwen3", (root / "conf" / "template" / "qwen3.jinja").read_text("utf-8"), {})
    of = choose_rows(open_bundle(str(bundle), bundle.parent), None)
    prompts = render_prompts(of, template)
    answered = [(row, prompt) for row, prompt in zip(of.values, prompts, strict=True) if (row["answer"] or "").strip()]
    expected = {row["id"]: prompt for row, prompt in answered}
    assert any(len(row["messages"]) > 3 for row, _ in answered)
    assert any(row["tools"] for row, _ in answered)
    assert {row["id"]: row["prompt"] for row in rows(tmp_path / "out")} == expected
    found = task(tmp_path / "out", "poolmix_my_bundle_odd")
    assert found["generation_kwargs"]["until"] == ["<|im_end|>"]
    assert "description" not in found


def test_tasks_are_greedy_and_stop_as_eval_run_does(export: Export, tmp_path: Path, root: Path) -> None:
    assert export() == 0
    usual = yaml.safe_load((root / "conf" / "eval.yaml").read_text("utf-8"))
    own = yaml.safe_load((root / "conf" / "eval_export.yaml").read_text("utf-8"))
    assert (own["limit"], own["max_new_tokens"]) == (usual["limit"], usual["eval"]["max_new_tokens"])
    group = task(tmp_path / "out", "poolmix_my_bundle")
    assert group["task"] == ["poolmix_my_bundle_cmath", "poolmix_my_bundle_odd"]
    for name in group["task"]:
        found = task(tmp_path / "out", name)
        assert found["task"] == name
        assert found["generation_kwargs"] == {"do_sample": False, "max_gen_toks": own["max_new_tokens"], "until": []}
        assert (found["doc_to_text"], found["description"], found["doc_to_target"]) == ("user", "{{system}}", "answer")


def test_the_readme_has_the_command_the_counts_and_the_digests(export: Export, tmp_path: Path) -> None:
    assert export() == 0
    readme = (tmp_path / "out" / "README.md").read_text("utf-8")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))
    assert "lm_eval --include_path . --tasks poolmix_my_bundle --model hf" in readme
    assert "--apply_chat_template" in readme
    assert manifest["bundle"]["validation"] in readme
    assert manifest["rows"]["xxh3_128"] in readme
    assert str(tmp_path) not in readme
    assert f"{manifest['rows']['left_out']['several_turns']} with several turns" in readme


def test_the_same_bundle_gives_the_same_bytes_wherever_it_is_written(export: Export, tmp_path: Path) -> None:
    assert export() == 0
    assert export(out="elsewhere/again") == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "elsewhere" / "again")


def test_an_earlier_export_is_replaced_and_nothing_else(
    export: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export() == 0
    first = contents(tmp_path / "out")
    (tmp_path / "out" / "__pycache__").mkdir()
    (tmp_path / "out" / "__pycache__" / "calls.cpython-311.pyc").touch()
    assert export("limit=3") == 0
    assert contents(tmp_path / "out") != first
    (tmp_path / "out" / "results.json").write_text("{}")
    capsys.readouterr()
    assert export() == 2
    assert "results.json is no part" in capsys.readouterr().err
    assert (tmp_path / "out" / "results.json").is_file()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    assert export(out="mine") == 2
    assert export(out="mine/file") == 2
    assert len(capsys.readouterr().err.splitlines()) == 4


@pytest.mark.parametrize("wrong", ["to=inspect", "limit=0", "max_new_tokens=0", "template=nope", "bundle=nope"])
def test_mistakes_are_said_in_two_lines(export: Export, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(wrong) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_folder_must_be_named(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(PROGRAM, ["export", f"bundle={bundle}"]) == 2
    assert "out=DIR" in capsys.readouterr().err


def test_a_bundle_without_answers_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pipeline.__main__ import PROGRAM as BUILD

    paths = [f"paths.pools={tmp_path / 'pools'}"]
    mix = ["mix=custom", "+mix.weights.emoji=1", "mix.total_rows=8", "split.min_validation=4"]
    assert main(BUILD, ["build", *mix, *paths, f"out={tmp_path / 'chats'}"]) == 0
    capsys.readouterr()
    assert main(PROGRAM, ["export", f"bundle={tmp_path / 'chats'}", f"out={tmp_path / 'out'}", *paths]) == 2
    assert "none of its validation rows has an answer" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_copied_rule_judges_alike_without_poolmix(export: Export, tmp_path: Path) -> None:
    pytest.importorskip("math_verify")
    assert export() == 0
    shutil.move(tmp_path / "out", tmp_path / "moved")
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "__init__.py").write_text("raise ImportError('not this one')\n")  # as the name is a common one
    code = """
import importlib.util, json, sys
sys.path[:] = [path for path in sys.path if path != sys.argv[2]]
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
spec = importlib.util.spec_from_file_location("/moved/calls", "moved/calls.py")
calls = importlib.util.module_from_spec(spec)
spec.loader.exec_module(calls)
judged = json.loads(sys.argv[1])
print(json.dumps([calls.process_results({"answer": gold}, [text])["correct"] for gold, text in judged]))
print([name for name in sys.modules if name.partition(".")[0] in ("eval", "pipeline", "train")])
"""
    root = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", code, json.dumps(JUDGED), root]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    verdicts, others = done.stdout.splitlines()
    assert json.loads(verdicts) == [ours(gold, text) for gold, text in JUDGED]
    assert {0.0, 1.0} == set(json.loads(verdicts))
    assert others == "[]"


def harness(folder: Path) -> tuple[Any, Mapping[str, Any]]:
    """The harness's manager of tasks with only these, and the tasks of the group."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    return manager, manager.load(["poolmix_my_bundle"])["tasks"]


@needs_harness
def test_the_harness_asks_what_eval_run_asks(export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert export("limit=null") == 0
    monkeypatch.chdir(tmp_path.parent)
    expected = {row["id"]: row for row in rows(tmp_path / "out")}
    _, tasks = harness(tmp_path / "out")
    seen: set[str] = set()
    for each in tasks.values():
        each.build_all_requests(apply_chat_template=True, chat_template=lambda messages, **_: json.dumps(messages))
        for request in each.instances:
            row = expected[request.doc["id"]]
            system = [{"role": "system", "content": row["system"]}] if row["system"] else []
            assert json.loads(request.args[0]) == [*system, {"role": "user", "content": row["user"]}]
            assert request.args[1] == {"do_sample": False, "max_gen_toks": 128, "until": []}
            assert each.doc_to_target(request.doc) == row["answer"]
            seen.add(row["id"])
            for reply in (f"The answer is {row['answer']}.", "I do not know.", "The answer is 123456789."):
                assert each.process_results(request.doc, [reply]) == {"correct": ours(row["answer"], reply)}
    assert seen == set(expected)


@needs_harness
def test_the_harness_gives_texts_of_a_template_as_they_are(export: Export, tmp_path: Path) -> None:
    assert export("limit=null", "template=chatml") == 0
    expected = {row["id"]: row["prompt"] for row in rows(tmp_path / "out")}
    found: dict[str, str] = {}
    for each in harness(tmp_path / "out")[1].values():
        each.build_all_requests()
        found |= {request.doc["id"]: request.args[0] for request in each.instances}
    assert found == expected


@needs_harness
def test_the_harness_counts_the_right_replies(export: Export, tmp_path: Path) -> None:
    """A whole run of the harness, with a model that is right in every second reply."""
    from lm_eval import simple_evaluate
    from lm_eval.api.model import LM

    class Known(LM):
        def loglikelihood(self, requests: Any) -> Any:
            raise NotImplementedError

        def loglikelihood_rolling(self, requests: Any) -> Any:
            raise NotImplementedError

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
            return [f"#### {request.doc['answer']}" if k % 2 else "no" for k, request in enumerate(requests)]

    assert export("limit=null") == 0
    manager, tasks = harness(tmp_path / "out")
    done = simple_evaluate(Known(), tasks=["poolmix_my_bundle"], task_manager=manager, log_samples=True)
    assert done is not None
    results, samples = done["results"], done["samples"]
    total = [sample["correct"] for name in tasks for sample in samples[name]]
    assert 0 < sum(total) < len(total) == len(rows(tmp_path / "out"))
    assert results["poolmix_my_bundle"]["correct,none"] == pytest.approx(sum(total) / len(total))
    assert results["poolmix_my_bundle"]["correct_stderr,none"] > 0
    for name in tasks:
        own = [sample["correct"] for sample in samples[name]]
        assert results[name]["correct,none"] == pytest.approx(sum(own) / len(own))
        assert own == [ours(sample["doc"]["answer"], sample["resps"][0][0]) for sample in samples[name]]

"""Talking with a model: the answers of greedy decoding, as they come, and the base model behind the same words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from pipeline.cli.front import main
from pipeline.errors import TemplateError
from pipeline.render.renderer import Renderer
from pipeline.visible import visible
from tests.train.finished import finished_run, project_template
from train.__main__ import PROGRAM
from train.adapted import run_template
from train.chat import Conversation, ask_all, opened, talk
from train.generate import prompts, replies
from train.model import load_tokenizer
from train.run import Run
from train.speaker import Answer, Speaker, Stream, choose_device, open_speaker

Model = Callable[[str], Path]
TOKENS = 12
TEXT = "一块橡皮8角。\n\n  👩‍👩‍👧 ☀️ é ñ\tcode:\n\n    x = 1\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Model) -> Run:
    """A finished run of a tiny Qwen3, whose adapter says other things than its base."""
    return finished_run(tmp_path_factory.mktemp("chat") / "run", tiny_model("qwen3"), scale=0.3)


@pytest.fixture(scope="module")
def speaker(run: Run) -> Speaker:
    """Its model, in float32."""
    return open_speaker(run, choose_device(run, "cpu", "fp32", "auto"), None, TOKENS, 0, print)


@pytest.fixture(scope="module")
def renderer(run: Run) -> Generator[Renderer]:
    """The sandbox of its template."""
    with opened(Renderer(run_template(run))) as found:
        yield found


@pytest.fixture
def conversation(speaker: Speaker, renderer: Renderer) -> Conversation:
    """One that begins."""
    return Conversation(speaker, renderer, None)


class Heard(list[str]):
    """What was written and said, in order."""

    @property
    def text(self) -> str:
        return "".join(self)


def test_a_stream_writes_the_text_of_its_tokens_and_never_half_a_character(run: Run) -> None:
    import torch

    tokenizer = load_tokenizer(run.adapter)
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    heard, end = Heard(), tokenizer.eos_token_id
    stream = Stream(tokenizer, [end], heard.append)
    stream.put(torch.tensor([[1, 2, 3]]))  # the prompt
    for token in [*ids, end]:
        stream.put(torch.tensor([token]))
    stream.finish()
    assert heard.text == stream.text == TEXT
    assert len(heard) > 20
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in heard)
    assert stream.count == len(ids) + 1


def test_a_character_that_is_never_finished_is_written_at_the_end(run: Run) -> None:
    import torch

    tokenizer = load_tokenizer(run.adapter)
    heard = Heard()
    stream = Stream(tokenizer, [], heard.append)
    stream.put(torch.tensor([[1]]))
    first = tokenizer("👩", add_special_tokens=False)["input_ids"][0]
    stream.put(torch.tensor([first]))
    assert not heard
    stream.finish()
    assert heard.text == tokenizer.decode([first])


def test_answers_are_those_of_greedy_decoding_tuned_and_base(run: Run, conversation: Conversation) -> None:
    from transformers import AutoModelForCausalLM

    speaker, question = conversation.speaker, "1 + 1 = ?"
    text = prompts(project_template("chatml"), [[{"role": "user", "content": question}]])
    heard = Heard()
    tuned = conversation.ask(question, heard.append)
    expected = [
        reply.text.strip() for _, reply in replies(speaker.model, speaker.tokenizer, text, TOKENS, speaker.ends)
    ]
    assert [tuned.text.strip()] == expected == [heard.text.strip()]
    conversation.reset()
    conversation.tuned = False
    plain = AutoModelForCausalLM.from_pretrained(run.manifest["model"]["path"], dtype="float32")
    base = conversation.ask(question, heard.append).text.strip()
    plainly = [reply.text.strip() for _, reply in replies(plain, speaker.tokenizer, text, TOKENS, speaker.ends)]
    assert [base] == plainly != expected


def test_the_whole_conversation_is_the_prompt_in_the_format_of_the_training(conversation: Conversation) -> None:
    seen: list[str] = []

    class Listening(Speaker):
        def answer(self, prompt: str, tuned: bool, write: Callable[[str], None]) -> Answer:
            seen.append(prompt)
            return super().answer(prompt, tuned, write)

    conversation.speaker = Listening(**vars(conversation.speaker))
    conversation.system = [{"role": "system", "content": "Be brief."}]
    first = conversation.ask("One?", lambda _: None).text.strip()
    conversation.ask("Two?", lambda _: None)
    assert seen[1] == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n"
        f"<|im_start|>assistant\n{first}<|im_end|>\n<|im_start|>user\nTwo?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_commands_switch_forget_and_end(conversation: Conversation) -> None:
    heard, said = Heard(), Heard()
    lines = ["/help", "", "Hello", "/base", "Hello", "/reset", "/colour", "/tuned", "Hello", "/quit", "never asked"]
    talk(conversation, lines, heard.append, said.append)
    assert [line for line in said if "answers)" in line] == ["(base answers)", "(tuned answers)"]
    assert sum("tokens/s" in line for line in said) == 3
    assert any("/colour is none of" in line for line in said)
    assert any("ctrl-D" in line for line in said)
    assert [message["content"] for message in conversation.messages[::2]] == ["Hello"]
    assert "never asked" not in heard.text


def test_ctrl_c_stops_the_answer_and_the_talk_goes_on(conversation: Conversation) -> None:
    heard = Heard()

    def interrupted(text: str) -> None:
        heard.append(text)
        if len(heard) == 3:
            raise KeyboardInterrupt

    found = conversation.ask("Hello", interrupted)
    assert found.stopped
    assert found.tokens < TOKENS
    assert found.text == heard.text
    assert conversation.messages[-1]["content"] == found.text.strip()
    assert not conversation.ask("Go on", lambda _: None).stopped


def test_ctrl_c_at_the_terminal_reaches_the_chat_alone(conversation: Conversation) -> None:
    program = conversation.renderer._child._process  # the terminal sends it to every process behind it
    assert program is not None
    program.send_signal(signal.SIGINT)
    before = signal.getsignal(signal.SIGINT)
    assert before is signal.default_int_handler
    assert conversation.ask("Still there?", lambda _: None).tokens


def test_listed_questions_are_asked_each_by_itself(conversation: Conversation) -> None:
    heard, again, said = Heard(), Heard(), Heard()
    ask_all(conversation, ["Hello", "1 + 1?"], heard.append, said.append)
    ask_all(conversation, ["1 + 1?"], again.append, said.append)
    assert heard.text.endswith(again.text)
    assert [line for line in said if line.startswith("> ")] == ["> Hello", "> 1 + 1?", "> 1 + 1?"]
    assert conversation.messages == []


def test_what_the_template_or_the_model_has_no_room_for_is_said(speaker: Speaker, renderer: Renderer) -> None:
    small = Conversation(replace(speaker, room=20), renderer, None)
    with pytest.raises(TemplateError, match="room for 20"):
        small.ask("Hello, how are you today, and what is the time?", print)
    assert small.messages == []
    text = "{{ raise_exception('no second turn') if messages | length > 1 else messages[0].content }}"
    with Renderer(replace(renderer.template, text=text)) as strict:
        heard, said = Heard(), Heard()
        talk(Conversation(speaker, strict, None), ["One", "Two", "/reset", "Three"], heard.append, said.append)
    assert sum("tokens/s" in line for line in said) == 2
    assert any("no second turn" in line and "/reset" in line for line in said)


def test_a_temperature_draws_tokens(conversation: Conversation) -> None:
    conversation.speaker = replace(conversation.speaker, temperature=5.0)
    answers = set()
    for _ in range(3):
        conversation.reset()
        answers.add(conversation.ask("Hello", lambda _: None).text)
    assert len(answers) > 1


def test_a_pipe_gets_the_answers_and_nothing_else(run: Run, conversation: Conversation) -> None:
    heard = Heard()
    talk(conversation, ["Hi", "/base", "And now?"], heard.append, lambda _: None)
    command = [sys.executable, "-m", "train", "chat", f"run={run.folder}", "dtype=fp32", f"max_new_tokens={TOKENS}"]
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [*command, "threads=1"],
        input="Hi\n/base\nAnd now?\n",
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": root, "HF_HUB_OFFLINE": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # The line breaks of the pipe are no part of the questions; control characters of an answer are spelt out.
    assert done.stdout == visible(heard.text, keep="\n\t")
    assert "tokens/s" in done.stderr


def test_questions_alone_come_from_a_file(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "questions.txt").write_text("Hello\n\n1 + 1?\n")
    asked = [f"questions={tmp_path / 'questions.txt'}", "talk=false", "max_new_tokens=4", "dtype=fp32"]
    assert main(PROGRAM, ["chat", f"run={run.folder}", *asked]) == 0
    captured = capsys.readouterr()
    assert "> Hello\n" in captured.err
    assert "> " not in captured.out
    assert main(PROGRAM, ["chat", f"run={run.folder}", "temperature=-1", "talk=perhaps", "quant=nf3"]) == 2
    said = capsys.readouterr().err
    for setting in ("temperature=-1", "talk=perhaps", "quant=nf3"):
        assert setting in said

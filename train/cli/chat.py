"""Talk with a tuned model in the terminal, and with the base model that it was made of.

Examples:
  python -m train chat
  python -m train chat run=math_heavy-1a2b3c4d-Qwen3-0.6B-20260101-120000 temperature=0.7
  python -m train chat system='Answer in one sentence.'
  python -m train chat questions=FILE talk=false > answers.txt
  echo "What is 12 times 7?" | python -m train chat

In the talk:
  /base, /tuned     who answers from now on: one model, with the adapter off or on
  /reset            begin a new conversation
  /help, /quit      ctrl-D ends, too; ctrl-C stops an answer

Often used:
  questions='[…]'   asked first, each in a conversation of its own; or a file with one a line
  talk=false        only these questions
  system=TEXT       before each conversation
  temperature=T     0 takes the likeliest token each time
  base=DIR          the base model, where it is no longer where it was and cannot be found again

Prompts are written by the template that the run was trained with. On stdout are the answers alone (and
on a terminal the prompt); all else is on stderr. Where stdin is no terminal, each line is a turn.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.front import Job

if TYPE_CHECKING:
    from train.run import Run

_KEYS = {
    *("run", "questions", "talk", "system", "max_new_tokens", "temperature", "device", "dtype", "quant", "base"),
    *("threads", "paths"),
}


def run(config: dict[str, Any], _job: Job) -> None:
    """Ask the questions, then talk."""
    from pipeline.cli import prepare_libraries

    prepare_libraries(config.get("threads"))
    found, asked = _read(config)
    from pipeline.ending import answered
    from pipeline.render.renderer import Renderer
    from train.adapted import run_template
    from train.chat import Conversation, ask_all, opened, talk, typed_lines
    from train.quiet import quiet
    from train.speaker import choose_device, open_speaker

    quiet()
    device = choose_device(found, asked["device"], asked["dtype"], asked["quant"])
    _say(f"{found.folder.name} on {device.name}, {device.dtype}, quant {device.quant}")
    for note in device.notes:
        _say(f"note       {note}")
    with opened(Renderer(run_template(found))) as renderer:
        speaker = open_speaker(found, device, asked["base"], asked["max_new_tokens"], asked["temperature"], _say)
        conversation = Conversation(speaker, renderer, asked["system"])
        terminal = sys.stdin.isatty()
        with answered(signal.SIGINT):
            ask_all(conversation, asked["questions"], _write, _say)
            if asked["talk"] if asked["talk"] is not None else terminal or not asked["questions"]:
                if terminal:
                    _say("the tuned model answers; /help says what else there is")
                talk(conversation, typed_lines(_say) if terminal else sys.stdin, _write, _say)


def _read(config: dict[str, Any]) -> tuple[Run, dict[str, Any]]:
    """The run and what is asked for. Raises: ConfigErrors, StoreError."""
    from pipeline.errors import ConfigErrors, PoolmixError
    from pipeline.settings import Settings, is_bool, is_number, is_text, is_whole
    from train.run import open_run
    from train.settings import DEVICES, DTYPES, QUANTS, read_questions

    errors: list[PoolmixError] = []
    top = Settings(config, "", errors)
    top.known(_KEYS)

    base = top.value("base", is_text, "a folder or null", "DIR")
    asked = {
        "questions": read_questions(top),
        "talk": top.value("talk", is_bool, "true, false or null", "true"),
        "system": top.value("system", is_text, "a text", "'Be brief.'"),
        "max_new_tokens": top.required("max_new_tokens", is_whole(1), "a whole number above 0", "512", 1),
        "temperature": top.required("temperature", is_number(0), "a number from 0", "0.7", 0),
        "device": top.one_of("device", DEVICES),
        "dtype": top.one_of("dtype", DTYPES),
        "quant": top.one_of("quant", QUANTS),
        "base": Path(base).expanduser() if base is not None else None,
    }
    top.value("threads", is_whole(1), "a whole number above 0", "2")
    name = top.required("run", is_text, "a run's folder or name, or latest", "latest", "latest")
    runs = Settings(config.get("paths"), "paths", errors).required("runs", is_text, "a folder", "DIR", ".")
    if errors:
        raise ConfigErrors(errors)
    return open_run(name, Path(runs).expanduser()), asked


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _write(text: str) -> None:
    print(text, end="", flush=True)

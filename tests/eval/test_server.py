"""Replies of a server with OpenAI's API: a real one on this machine, small, that fails where it is told to."""

from __future__ import annotations

import http.server
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

from eval import bounded
from eval.reply import Reply as Judged
from eval.server import Prompt, Server, server_replies
from eval.server_errors import ServerError
from eval.tool_calls import split_calls
from pipeline.errors import ConfigError
from train.generate import Reply

ROOT = Path(__file__).parents[2]
MODELS = ("small", "large:latest")
EMOJI = "Grüße 你好 مرحبا 👩‍👩‍👧‍👦🏳️‍🌈 e\u0301 \u2028 \x07 \N{ZERO WIDTH JOINER} 𝔘"


@dataclass
class Fault:
    """What the server does once instead of answering a prompt: it sends this, or cuts its answer, or says nothing."""

    status: int = 200
    body: Any = ""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    silent: float = 0.0


@dataclass
class Asked:
    """A request as it came."""

    path: str
    body: dict[str, Any]
    key: str
    at: float
    encoding: str = ""


class Served:
    """A server of two models that say what they are asked, a word a token."""

    def __init__(self) -> None:
        self.log: list[Asked] = []
        self.faults: dict[str, list[Fault]] = {}
        self.messages: dict[str, dict[str, Any]] = {}  # what is answered to a prompt, where that is not its own text
        self.delays: dict[str, float] = {}
        self.counts = True
        self.now = self.most = 0
        self.left = threading.Event()
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"served": self})
        self.server = _Listening(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def asked(self, text: str = "") -> list[Asked]:
        """The prompts that came, or only one's."""
        prompts = [asked for asked in self.log if not asked.path.endswith("/models")]
        return [asked for asked in prompts if not text or _prompt(asked.body) == text]


def _prompt(body: dict[str, Any]) -> str:
    return body["prompt"] if "prompt" in body else body["messages"][-1]["content"]


class _Listening(http.server.ThreadingHTTPServer):
    request_queue_size = 64  # of five, a sixth that connects at the same time waits for a second


class _Handler(http.server.BaseHTTPRequestHandler):
    served: Served
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.served.log.append(Asked(self.path, {}, "", time.monotonic()))
        if fault := self.fault("GET"):
            return self.answer(fault)
        if self.path != "/v1/models":
            return self.answer(Fault(404, {"detail": "Not Found"}))
        return self.answer(Fault(body={"object": "list", "data": [{"id": name, "object": "model"} for name in MODELS]}))

    def do_POST(self) -> None:
        served = self.served
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if not data:
            return  # the one who began to ask has gone
        body = json.loads(data)
        with served.lock:
            served.now += 1
            served.most = max(served.most, served.now)
            accepted = self.headers["Accept-Encoding"]
            served.log.append(Asked(self.path, body, self.headers["Authorization"], time.monotonic(), accepted))
        try:
            answer = self.fault(_prompt(body)) or self.replied(body)
            self.leave(answer.silent + served.delays.get(_prompt(body), 0.0))
        finally:
            with served.lock:
                served.now -= 1
        self.answer(answer)

    def fault(self, prompt: str) -> Fault | None:
        with self.served.lock:
            faults = self.served.faults.get(prompt)
            return faults.pop(0) if faults else None

    def leave(self, seconds: float) -> None:
        """Take time, and notice that the one who asked has gone."""
        self.connection.settimeout(seconds or 1e-6)
        try:
            if self.connection.recv(1, socket.MSG_PEEK) == b"":
                self.served.left.set()
        except (TimeoutError, BlockingIOError):
            pass
        self.connection.settimeout(None)

    def replied(self, body: dict[str, Any]) -> Fault:
        chat = self.path == "/v1/chat/completions"
        if not chat and self.path != "/v1/completions":
            return Fault(404, {"detail": "Not Found"})
        if body["model"] not in MODELS:
            said = f"The model `{body['model']}` does not exist."
            return Fault(404, {"error": {"message": said, "type": "NotFoundError", "code": 404}})
        tokens = _prompt(body).split(" ")
        text = " ".join(tokens[: body["max_tokens"]])
        message = self.served.messages.get(_prompt(body), {"content": text})
        reason = "length" if len(tokens) > body["max_tokens"] else "stop"
        reason = "tool_calls" if message.get("tool_calls") else reason
        choice = {"index": 0, "finish_reason": message.get("finish_reason", reason)}
        choice |= {"message": {"role": "assistant", **message}} if chat else {"text": text}
        usage = {"prompt_tokens": 9, "completion_tokens": min(len(tokens) + 1, body["max_tokens"])}
        return Fault(body={"id": "1", "choices": [choice], **({"usage": usage} if self.served.counts else {})})

    def answer(self, fault: Fault) -> None:
        data = fault.body.encode() if isinstance(fault.body, str) else json.dumps(fault.body).encode()
        self.send_response(fault.status)
        self.send_header("Content-Type", "text/html" if isinstance(fault.body, str) else "application/json")
        for key, value in {"Content-Length": str(len(data)), **fault.headers}.items():
            self.send_header(key, value)
        try:
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if fault.cut else data)
        except OSError:
            self.served.left.set()
        self.close_connection = self.close_connection or fault.cut


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    for name in list(os.environ):
        if name.startswith("OPENAI_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    found = Served()
    yield found
    found.close()


@pytest.fixture
def server(served: Served) -> Server:
    return Server(served.url, "small", "chat", "OPENAI_API_KEY", 8, 5.0, 2, {})


def prompt(text: str) -> Prompt:
    return Prompt(text, [{"role": "user", "content": text}], None)


def replies(server: Server, texts: Sequence[str], max_new_tokens: int = 100) -> dict[int, Any]:
    found = list(server_replies(server, [prompt(text) for text in texts], max_new_tokens))
    assert len(dict(found)) == len(found), "a prompt was answered twice"
    return dict(found)


def until_error(server: Server, texts: Sequence[str]) -> tuple[dict[int, Reply | None], str]:
    """What came before the error, and its text."""
    found: dict[int, Reply | None] = {}

    def take() -> None:
        for at, reply in server_replies(server, [prompt(text) for text in texts], 100):
            found[at] = reply

    with pytest.raises(ServerError) as caught:
        take()
    first, second = str(caught.value).split("\n")
    assert first.startswith(f"server {server.address}: ")
    assert second.startswith("  fix: ")
    return found, str(caught.value)


QUICKLY = {"Retry-After": "0.01"}


@pytest.mark.parametrize(
    "said",
    [
        {"error": {"message": "This model's maximum context length is 64 tokens.", "code": 400}},
        {"error": {"message": "the request exceeds the available context size", "type": "exceed_context_size_error"}},
        {"error": {"message": "too much", "code": "context_length_exceeded"}},
    ],
    ids=["vllm", "llama.cpp", "openai"],
)
def test_a_prompt_that_is_too_long_for_the_server_does_not_end_the_others(
    served: Served, server: Server, said: dict[str, Any]
) -> None:
    served.faults = {"long": [Fault(400, said)] * 9}
    found = replies(server, ["a", "long", "b"])
    assert {at: reply and reply.text for at, reply in found.items()} == {0: "a", 1: None, 2: "b"}
    assert len(served.asked("long")) == 1


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_every_prompt_has_its_own_reply_letter_for_letter(served: Served, server: Server, api: str) -> None:
    texts = [f"{number} {EMOJI}" for number in range(200)]
    began = time.perf_counter()
    found = replies(replace(server, api=api), texts)
    assert time.perf_counter() - began < 5
    assert found == {at: Reply(text, len(text.split(" ")) + 1, True) for at, text in enumerate(texts)}
    assert len(served.asked()) == 200


def test_an_answer_is_read_up_to_its_limit(served: Served, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps({"choices": [{"finish_reason": "stop", "message": {"content": "x" * 5000}}]})
    for most in (len(body), len(body) - 1):
        served.faults = {"a": [Fault(body=body)]}
        monkeypatch.setattr(bounded, "MOST_BYTES", most)
        if most == len(body):
            assert replies(server, ["a"])[0].text == "x" * 5000
        else:
            assert "answers without a reply in it" in until_error(server, ["a"])[1]


def test_an_answer_is_not_unpacked(served: Served, server: Server) -> None:
    """Nor is it asked for: a megabyte could become a gigabyte."""
    served.faults = {"a": [Fault(body="", headers={"Content-Encoding": "gzip"})]}
    assert "answers without a reply in it" in until_error(server, ["a"])[1]
    assert served.asked("a")[0].encoding == "identity"


@pytest.mark.parametrize("concurrency", [1, 5])
def test_so_many_requests_run_at_once_and_no_more(served: Served, server: Server, concurrency: int) -> None:
    texts = [str(number) for number in range(15)]
    served.delays = dict.fromkeys(texts, 0.03)
    assert len(replies(replace(server, concurrency=concurrency), texts)) == 15
    assert served.most == concurrency


def test_replies_come_as_they_are_ready(served: Served, server: Server) -> None:
    served.delays = {"slow": 0.4}
    found = list(server_replies(server, [prompt(text) for text in ("slow", "a", "b", "c")], 9))
    assert [reply.text for _, reply in found][-1] == "slow"
    assert {at: reply.text for at, reply in found} == {0: "slow", 1: "a", 2: "b", 3: "c"}


def test_a_reply_that_was_cut_did_not_end(server: Server) -> None:
    found = replies(server, ["one two three", "one"], max_new_tokens=2)
    assert found == {0: Reply("one two", 2, False), 1: Reply("one", 2, True)}


def test_tokens_that_nobody_counted_are_not_made_up(served: Served, server: Server) -> None:
    served.counts = False
    assert replies(server, ["one"])[0].tokens is None


def test_a_request_is_greedy_and_holds_what_the_api_knows(served: Served, server: Server) -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": "ü"}}}]
    blank = {"name": None, "reasoning_content": None, "tool_call_id": None, "weight": None}
    messages = [
        {"role": "user", "content": "1 + ü?", "tool_calls": None, **blank},
        {"role": "assistant", "content": None, "tool_calls": calls, **blank, "weight": 1.0},
        {"role": "tool", "content": "2", "tool_calls": None, **blank, "tool_call_id": "1"},
    ]
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    extra = {"chat_template_kwargs": {"enable_thinking": False}, "seed": None}
    list(server_replies(replace(server, extra=extra), [Prompt("", messages, tools)], 7))
    texts = [calls[0] | {"function": {"name": "add", "arguments": '{"a": 1, "b": "ü"}'}}]
    assert served.asked()[0].body == {
        "model": "small",
        "temperature": 0,
        "max_tokens": 7,
        "messages": [
            {"role": "user", "content": "1 + ü?"},
            {"role": "assistant", "tool_calls": texts},
            {"role": "tool", "content": "2", "tool_call_id": "1"},
        ],
        "tools": tools,
        "chat_template_kwargs": {"enable_thinking": False},
    }


def test_a_rendered_prompt_is_sent_as_it_is(served: Served, server: Server) -> None:
    text = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert replies(replace(server, api="completions"), [text])[0].text == text
    assert served.asked()[0].path == "/v1/completions"
    assert served.asked()[0].body == {
        "model": "small",
        "temperature": 0,
        "seed": 0,
        "max_tokens": 100,
        "prompt": text,
        "add_special_tokens": False,
        "skip_special_tokens": False,
    }


def test_tool_calls_become_text_that_is_read_as_the_same_calls(served: Served, server: Server) -> None:
    given = [("add", {"a": 1, "b": [EMOJI]}), ("écho", {"text": "</tool_call> \\ </tool_call>"}), ("now", {})]
    calls = [{"function": {"name": name, "arguments": json.dumps(arguments)}} for name, arguments in given]
    calls[2]["function"]["arguments"] = ""
    served.messages = {
        "text before": {"content": "Wait.", "tool_calls": calls},
        "as objects": {"content": None, "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]},
        "broken": {"content": None, "tool_calls": [{"function": {"name": "add", "arguments": '{"a": 1'}}]},
    }
    found = replies(server, list(served.messages))
    assert split_calls(found[0].text) == ("Wait.", given)
    assert found[1].text == '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    assert found[2].text == '<tool_call>\n{"name": "add", "arguments": {"a": 1}\n</tool_call>'
    assert all(reply.ended for reply in found.values())


@pytest.mark.parametrize("names", [["reasoning"], ["reasoning_content"], ["reasoning", "reasoning_content"]])
def test_reasoning_goes_back_to_where_it_was(served: Served, server: Server, names: list[str]) -> None:
    thought = dict.fromkeys(names, "Hm.\nSo 4.")
    call = [{"function": {"name": "add", "arguments": "{}"}}]
    served.messages = {
        "answered": {"content": "4", **thought},
        "called": {"content": None, "tool_calls": call, **thought},
        "cut": {"content": None, "finish_reason": "length", **thought},
        "nothing": {"content": "", **thought},
    }
    found = replies(server, list(served.messages))
    texts = [found[at].text for at in range(4)]
    assert texts[0] == "<think>\nHm.\nSo 4.\n</think>\n\n4"
    assert texts[2] == "<think>\nHm.\nSo 4."
    contents = [Judged({}, text, 1, True, "").content for text in texts]
    assert contents == ["4", '<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>', "", ""]


def test_an_empty_reply_is_a_reply(served: Served, server: Server) -> None:
    ended = {"message": {"role": "assistant", "content": None}, "finish_reason": "stop"}
    served.faults = {"null": [Fault(body={"choices": [ended], "usage": {"completion_tokens": 1}})]}
    assert replies(server, ["", "null"]) == {0: Reply("", 2, True), 1: Reply("", 1, True)}


def test_half_a_surrogate_pair_is_text_that_a_file_can_hold(served: Served, server: Server) -> None:
    served.messages = {"half": {"content": "a \ud83d b"}}
    assert replies(server, ["half"])[0].text == "a ? b"


@pytest.mark.parametrize(
    "fault",
    [*(Fault(status, "", QUICKLY) for status in (408, 409, 429, 500, 503)), Fault(200, "x" * 99, cut=True)],
    ids=lambda fault: "cut" if fault.cut else str(fault.status),
)
def test_what_may_pass_is_tried_again(served: Served, server: Server, fault: Fault) -> None:
    served.faults = {"b": [fault] * (1 if fault.cut else 2)}
    assert {at: reply.text for at, reply in replies(server, ["a", "b", "c"]).items()} == {0: "a", 1: "b", 2: "c"}
    assert len(served.asked("b")) == (2 if fault.cut else 3)
    assert len(served.asked()) == len(served.asked("b")) + 2


def test_a_server_that_asks_for_time_gets_it(served: Served, server: Server) -> None:
    served.faults = {"a": [Fault(429, {}, {"Retry-After": "0.8"})]}
    replies(server, ["a"])
    first, second = served.asked("a")
    assert 0.8 <= second.at - first.at < 1.4, "without Retry-After it is half a second"


def vllm(status: int, said: str, **more: Any) -> Fault:
    return Fault(status, {"error": {"message": said, "type": "Error", "code": status}}, {**QUICKLY, **more})


def only(message: Any, **more: Any) -> Fault:
    return Fault(body={"choices": [{"message": message, "finish_reason": "stop", **more}], "usage": None})


CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("fault", "tries", "what", "fix"),
    [
        (vllm(503, "Loading model"), 3, "fails, HTTP 503 (Loading model), tried 3 times", "the log of the server"),
        (vllm(500, "CUDA out of memory"), 3, "fails, HTTP 500 (CUDA out of memory), tried 3", "what has come is kept"),
        (Fault(502, "<html>\n<h1>Bad Gateway</h1>", QUICKLY), 3, "HTTP 502 (<html> <h1>Bad Gateway</h1>)", "log"),
        (Fault(500, "", QUICKLY), 3, "fails, HTTP 500 (nothing)", "the log of the server"),
        (vllm(429, "Slow down"), 3, "too many requests, HTTP 429 (Slow down), tried 3 times", "server.concurrency=1"),
        (vllm(429, "Tomorrow", **{"Retry-After": "9999"}), 1, "too many requests, HTTP 429 (Tomorrow)\n", "wait"),
        (vllm(401, "No key"), 1, "asks for a key, HTTP 401 (No key)\n", "export OPENAI_API_KEY=KEY"),
        (vllm(403, "Not you"), 1, "asks for a key, HTTP 403 (Not you)\n", "export OPENAI_API_KEY=KEY"),
        (
            vllm(400, "max_tokens must be at least 9"),
            1,
            "HTTP 400 (max_tokens must be at least 9)\n",
            "eval.max_new_tokens",
        ),
        (
            Fault(422, {"detail": [{"msg": "x"}]}),
            1,
            'refuses a request, HTTP 422 ({"detail": [{"msg": "x"}]})',
            "extra",
        ),
        (Fault(404, "404 page not found"), 1, f"nothing at {CHAT}, HTTP 404 (404 page", "set server.api=completions"),
        (
            Fault(200, "<!doctype html>\n<title>"),
            1,
            "without a reply in it (<!doctype html> <title>)",
            "ends in /v1; or look at the log",
        ),
        (Fault(200, ""), 1, "without a reply in it (nothing)", "check base_url"),
        (Fault(200, "[" * 99_999), 1, "without a reply in it ([[[", "check base_url"),
        (Fault(body={"error": "no room"}), 1, 'without a reply in it ({"error": "no room"})', "log"),
        (Fault(body={"choices": []}), 1, 'without a reply in it ({"choices": []})', "check base_url"),
        (Fault(body=[None]), 1, "without a reply in it ([null])", "check base_url"),
        (only({"content": None}), 1, 'without a reply in it ({"choices": [{"message": {"content": null}', "log"),
        (only({"content": ["a"]}), 1, "without a reply in it", "log"),
        (only({"content": "", "tool_calls": [{"name": "add"}]}), 1, "without a reply in it", "log"),
        (only({"content": None, "tool_calls": [{"function": "x"}]}), 1, "without a reply in it", "log"),
        (only({"content": None, "tool_calls": [{"function": None}]}), 1, "without a reply in it", "log"),
        (only({"content": "so far"}, finish_reason="abort"), 1, "without a reply in it", "log"),
        (Fault(200, "x" * 99, cut=True), 2, "breaks off in the middle of an answer (peer closed conn", "log"),
        (Fault(silent=3), 2, f"no answer from {CHAT} within 0.2 s, tried 2 times", "raise server.timeout=0.2"),
    ],
)
def test_an_error_says_how_to_mend_it(
    served: Served, server: Server, fault: Fault, tries: int, what: str, fix: str
) -> None:
    served.faults = {"bad": [fault] * 9}
    if fault.silent or fault.cut:
        server = replace(server, timeout=0.2, retries=1)
    found, said = until_error(replace(server, concurrency=1), ["good", "bad", "never asked"])
    assert what in said.replace("  fix", "")
    assert fix in said.partition("\n")[2]
    assert found == {0: Reply("good", 2, True)}
    assert len(served.asked("bad")) == tries
    assert not served.asked("never asked")


@pytest.mark.parametrize("listed", ["[" * 99_999, {"data": [{"id": 5}, {"id": ["a"]}, {"id": "small"}, None]}])
def test_a_list_of_models_that_is_none_ends_nothing(served: Served, server: Server, listed: Any) -> None:
    served.faults = {"GET": [Fault(body=listed)], "bad": [Fault(400, {"detail": "no"})]}
    _, said = until_error(replace(server, model="smal"), ["bad"])
    assert "HTTP 400" in said


@pytest.mark.parametrize(
    ("model", "what", "fix"),
    [
        ("smal", "no model smal, HTTP 404 (The model `smal` does not exist.); did you mean small?", "model_name=small"),
        ("large", "no model large, HTTP 404 (The model `large` does not exist.); did", "model_name=large:latest"),
        ("gpt-9", "no model gpt-9, HTTP 404 (The model `gpt-9` does not exist.); have: large:latest, small", "=small"),
    ],
)
def test_a_model_that_is_not_there_is_named_with_those_that_are(
    served: Served, server: Server, model: str, what: str, fix: str
) -> None:
    _, said = until_error(replace(server, model=model), ["a"] * 9)
    assert what in said
    assert fix in said


def test_a_model_is_not_confused_with_a_path_where_none_are_listed(served: Served, server: Server) -> None:
    served.faults = {"GET": [Fault(404), Fault(404), Fault(404), Fault(200, "<html>")]}
    assert "no model smal, HTTP 404" in until_error(replace(server, model="smal"), ["a"])[1]
    root = replace(server, base_url=served.url.removesuffix("/v1"))
    said = until_error(root, ["a"])[1]
    assert f"nothing at /chat/completions, HTTP 404 (Not Found)\n  fix: set base_url={served.url}" in said
    other = replace(server, base_url=f"{served.url}/v2/")
    assert "fix: check base_url, which usually ends in /v1" in until_error(other, ["a"])[1]
    assert replies(server, ["a"]), "a server need not list its models"


def test_what_came_before_an_error_is_given_out_first(served: Served, server: Server) -> None:
    texts = [str(number) for number in range(20)]
    served.faults = {"9": [vllm(400, "no")]}
    served.delays = {"8": 0.3, "10": 0.3, "11": 0.3}
    found, _ = until_error(replace(server, concurrency=4), texts)
    assert {0, 1, 2, 3, 4, 5, 6, 7, 8, 10} <= set(found)
    assert set(found) == {int(_prompt(asked.body)) for asked in served.asked()} - {9}


def test_a_server_that_dies_leaves_what_it_said(served: Served, server: Server) -> None:
    stream = server_replies(replace(server, concurrency=2, retries=1), [prompt(str(at)) for at in range(50)], 9)
    found = [next(stream) for _ in range(10)]
    served.close()
    served.faults = {str(at): [Fault(cut=True, body="x" * 9)] * 9 for at in range(50)}
    with pytest.raises(ServerError, match=r"cannot be reached|breaks off"):
        found += stream
    assert len(dict(found)) == len(found) >= 10


def test_a_server_that_is_not_there_is_known_at_once(server: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    began = time.perf_counter()
    _, said = until_error(replace(server, base_url=url, retries=9), ["a"] * 100)
    assert "cannot be reached (" in said
    assert "fix: start the server, or check host and port in base_url" in said
    assert time.perf_counter() - began < 3


def test_a_host_that_nobody_knows_is_known_at_once(server: Server) -> None:
    _, said = until_error(replace(server, base_url="http://a-server.invalid/v1", retries=9), ["a"])
    assert "no host of that name" in said


def test_a_server_that_accepts_nobody_is_given_up(server: Server) -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for other in (first, second):
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        _, said = until_error(replace(server, base_url=url, timeout=0.3), ["a"])
    assert "accepts no connection in 0.3 s" in said


@pytest.mark.parametrize(
    "url",
    ["localhost:8000/v1", "http://me:secret@/v1", "http://me:secret@host/v1", "http://[::1/v1", "", "ftp://host/v1"],
)
def test_an_address_that_is_none_is_refused(server: Server, url: str) -> None:
    with pytest.raises(ConfigError, match=r"^base_url=.*: must begin with .*\n  fix: set base_url=http://") as caught:
        replace(server, base_url=url)
    assert "secret" not in str(caught.value)


def test_nothing_is_asked_where_nothing_is_to_be_answered(served: Served, server: Server) -> None:
    assert replies(server, []) == {}
    assert not served.log


def test_the_key_goes_to_the_server_and_nowhere_else(
    served: Served,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    replies(server, ["a"])
    monkeypatch.setenv("OPENAI_API_KEY", "sk-verysecret\n")
    monkeypatch.setenv("OTHER_KEY", "sk-othersecret")
    replies(server, ["b"])
    replies(replace(server, api_key_env="OTHER_KEY"), ["c"])
    replies(replace(server, api_key_env=None), ["d"])
    assert [asked.key.partition(" ")[2] for asked in served.asked()] == [
        "none",
        "sk-verysecret",
        "sk-othersecret",
        "none",
    ]
    served.faults = {"e": [vllm(401, "Incorrect API key: sk-verysecret")]}
    _, said = until_error(server, ["e"])
    assert "refuses the key, HTTP 401 (Incorrect API key: …)" in said
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very\x01secret")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY: has characters that no key has") as caught:
        replace(server)
    written = capfd.readouterr()
    assert "secret" not in said + str(caught.value) + caplog.text + written.out + written.err + repr(server)
    assert written.out + written.err == ""


def test_one_who_has_enough_leaves_nothing_running(served: Served, server: Server) -> None:
    served.delays = {"slow": 5.0}
    stream = server_replies(server, [prompt("fast"), prompt("next"), *[prompt("slow")] * 50], 9)
    assert {next(stream)[1].text for _ in range(2)} == {"fast", "next"}
    began = time.perf_counter()
    stream.close()  # type: ignore[attr-defined]
    assert time.perf_counter() - began < 1
    assert served.left.wait(2)
    assert len(served.asked()) <= 10


INTERRUPTED = """
import sys
from eval.server import Prompt, Server, server_replies
server = Server(sys.argv[1], "small", "chat", None, 4, 60.0, 5, {})
prompts = [Prompt("", [{"role": "user", "content": text}], None) for text in ["fast"] + ["slow"] * 50]
try:
    for at, reply in server_replies(server, prompts, 9):
        print(reply.text, flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_ends_at_once(served: Served) -> None:
    served.delays = {"slow": 30.0}
    command = [sys.executable, "-c", INTERRUPTED, served.url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "fast\n"
        wait_until(lambda: len(served.asked()) >= 5)
        began = time.perf_counter()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=5)
    assert time.perf_counter() - began < 2
    assert (out, err, process.returncode) == ("interrupted\n", "", 0)
    assert served.left.wait(2)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_evaluation_of_a_server_keeps_what_came_before_it_failed(
    evaluate: Callable[..., int], served: Served, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through the verb: the third prompt fails for good; asked again, only the missing replies are asked for."""
    told = [f"bundle={bundle}", "backend=openai", f"base_url={served.url}", "model_name=small", "template=chatml"]
    told += [f"out={tmp_path / 'out'}", "limit=4", "server.concurrency=1", "server.retries=0"]
    served.faults["GET"] = []
    assert evaluate("run", *told, "eval.metrics=[usability, style]") == 0
    first = len(served.asked())
    assert first == 8
    lines = [json.loads(line) for line in (tmp_path / "out" / "generations.jsonl").read_text("utf-8").splitlines()]
    assert {line["model"] for line in lines} == {"small"}
    assert all(line["reply"] for line in lines)
    capsys.readouterr()
    third = _prompt(served.asked()[2].body)
    longer = [*told, "eval.metrics=[usability, perplexity]", "eval.max_new_tokens=20"]
    served.faults[third] = [Fault(500, {"error": {"message": "out of order"}})]
    assert evaluate("run", *longer) != 0
    assert "out of order" in capsys.readouterr().err
    assert len(served.asked()) == first + 3
    assert evaluate("run", *longer) == 0
    out = capsys.readouterr().out
    assert "6 generated, 2 kept from before" in out
    assert "perplexity is left out" in out
    assert len(served.asked()) == first + 3 + 6
    capsys.readouterr()
    fourth = _prompt(served.asked()[3].body)
    served.faults[fourth] = [Fault(400, {"error": {"message": "maximum context length is 64"}})]
    assert evaluate("run", *longer[:-1], "eval.max_new_tokens=30") == 0
    out = capsys.readouterr().out
    assert "7 generated, 0 kept from before" in out
    assert "no reply to 1 of 8 prompts" in out
    assert len(json.loads((tmp_path / "out" / "metrics.json").read_text("utf-8"))["unanswered"]) == 1

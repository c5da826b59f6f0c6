"""Replies of a server with OpenAI's API, such as vLLM, Ollama, llama.cpp's or SGLang's."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from eval.server_errors import explained, is_too_long, no_reply
from eval.wire import read_reply, sent_message
from pipeline.errors import ConfigError
from pipeline.secrets import without_secrets
from train.generate import Reply

if TYPE_CHECKING:
    from openai import AsyncOpenAI

APIS = {"chat": "/chat/completions", "completions": "/completions"}
_CONNECT, _LIST = 5.0, 10.0  # seconds: a server that is up accepts connections and lists its models sooner
_Found = tuple[int, Reply | None]


@dataclass(frozen=True)
class Server:
    """Where a model is served, and how it is asked.

    `api` is `chat`, where the server writes the prompt with the template it has for the model, or `completions`, where
    it is given the rendered prompt (Ollama puts that into its own template again). `api_key_env` names the environment
    variable with the key. `concurrency` requests run at once, each may be silent for `timeout` seconds, and is sent
    again up to `retries` times. `extra` is put into the body of each request; null there takes a field out of it.

    Raises: ConfigError if `base_url` is no address of a server, or the key none that a header can carry.
    """

    base_url: str
    model: str
    api: str
    api_key_env: str | None
    concurrency: int
    timeout: float
    retries: int
    extra: Mapping[str, Any]

    def __post_init__(self) -> None:
        import httpx2

        try:
            url = httpx2.URL(self.base_url)
        except httpx2.InvalidURL:
            url = httpx2.URL("")
        if url.scheme not in ("http", "https") or not url.host or url.userinfo:
            what = "must begin with http:// or https:// and hold no name and password"
            raise ConfigError(f"base_url={self.address}", what, "set base_url=http://localhost:8000/v1")
        if not (self.key.isascii() and self.key.isprintable()):
            raise ConfigError(f"{self.api_key_env}", "has characters that no key has", f"set {self.api_key_env} anew")

    @property
    def key(self) -> str:
        """The key, empty if there is none."""
        return os.environ.get(self.api_key_env, "").strip() if self.api_key_env else ""

    @property
    def address(self) -> str:
        """`base_url` without the name and password that it may hold, or a key in its query."""
        scheme, slashes, rest = self.base_url.rpartition("://")
        return without_secrets(f"{scheme}{slashes}{rest.rpartition('@')[2]}".rstrip("/"))


@dataclass(frozen=True)
class Prompt:
    """What is to be answered: rendered, and as messages (a bundle's or OpenAI's) with the tools that may be called."""

    text: str
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] | None


def server_replies(server: Server, prompts: Sequence[Prompt], max_new_tokens: int) -> Generator[_Found]:
    """The greedy answer to each prompt with its place among them, as they come; nothing is asked without prompts.

    What an answer becomes says `read_reply`; it is None for a prompt that is longer than the server takes. The server
    is asked only while a reply is waited for. After an error no more prompts are sent, and it is raised when those
    under way have been answered. Raises: ConfigError, ServerError.
    """
    if not prompts:
        return
    found = _found(server, prompts, {"max_tokens": max_new_tokens})
    with asyncio.Runner() as runner:
        while (one := runner.run(_next(found))) is not None:
            yield one


async def _next(found: AsyncGenerator[_Found]) -> _Found | None:
    return await anext(found, None)


async def _found(server: Server, prompts: Sequence[Prompt], limits: Mapping[str, Any]) -> AsyncGenerator[_Found]:
    import httpx2
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    from eval.bounded import PLAIN, bound

    timeout = httpx2.Timeout(server.timeout, connect=min(server.timeout, _CONNECT))
    reached: Any = {"base_url": server.base_url, "api_key": server.key or "none", "timeout": timeout}
    bounded = DefaultAsyncHttpxClient(headers=PLAIN, event_hooks={"response": [bound]})
    async with AsyncOpenAI(max_retries=server.retries, http_client=bounded, **reached) as client:
        models = await _models(client, server)
        waiting = iter(enumerate(prompts))
        running: set[asyncio.Task[_Found]] = set()
        failed: BaseException | None = None
        try:
            while True:
                free = 0 if failed else server.concurrency - len(running)
                asked = (_ask(client, server, models, limits, *one) for one in islice(waiting, free))
                running |= {asyncio.create_task(one) for one in asked}
                if not running:
                    break
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                failed = next(filter(None, [failed, *(task.exception() for task in done)]), None)
                for task in done:
                    if task.exception() is None:
                        yield task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        if failed:
            raise failed


async def _models(client: AsyncOpenAI, server: Server) -> list[str] | None:
    """The models that the server lists, None if it does not. Raises: ServerError at once if it is not there."""
    import httpx2
    from openai import APIConnectionError, APIStatusError

    timeout = httpx2.Timeout(min(server.timeout, _LIST), connect=min(server.timeout, _CONNECT))
    quick = client.with_options(max_retries=0, timeout=timeout)
    try:
        response = await quick.get("/models", cast_to=httpx2.Response)
        match json.loads(response.content):
            case {"data": [*listed]}:
                names = [model.get("id") for model in listed if isinstance(model, dict)]
                return [name for name in names if isinstance(name, str)]
            case _:
                return None
    except APIConnectionError as error:
        raise explained(error, server, None) from error
    except (APIStatusError, ValueError, RecursionError):
        return None  # whether prompts are answered is seen from the first


async def _ask(
    client: AsyncOpenAI, server: Server, models: list[str] | None, limits: Mapping[str, Any], at: int, prompt: Prompt
) -> _Found:
    import httpx2
    from openai import APIError

    body = {"model": server.model, "temperature": 0, "seed": 0, **limits}
    if server.api == "chat":
        body |= {"messages": [sent_message(message) for message in prompt.messages], "tools": prompt.tools or None}
    else:
        # The prompt has all it needs, and special tokens in a reply are to be seen; servers without these pass over it.
        body |= {"prompt": prompt.text, "add_special_tokens": False, "skip_special_tokens": False}
    body = {name: value for name, value in (body | dict(server.extra)).items() if value is not None}
    try:
        response = await client.post(APIS[server.api], cast_to=httpx2.Response, body=body)
    except APIError as error:
        if is_too_long(error):
            return at, None
        raise explained(error, server, models) from error
    try:
        reply = read_reply(json.loads(response.content))
    except (ValueError, RecursionError):
        reply = None
    if reply is None:
        raise no_reply(response.text, server)
    return at, reply

"""What a server that gives no replies does instead, and how to mend it."""

from __future__ import annotations

import json
import re
import socket
from typing import TYPE_CHECKING, Any

from pipeline.errors import PoolmixError, known_names, nearest

if TYPE_CHECKING:
    from openai import APIError, APIStatusError

    from eval.server import Server


class ServerError(PoolmixError):
    """A server cannot be reached, or gives no replies."""


def explained(error: APIError, server: Server, models: list[str] | None) -> ServerError:
    """What went wrong and how to mend it, with the server's own words where it said something."""
    from openai import APIStatusError, APITimeoutError

    tries = int(error.request.headers.get("x-stainless-retry-count", 0)) + 1
    tried = f", tried {tries} times" if tries > 1 else ""
    if isinstance(error, APIStatusError):
        what, fix = _refused(error, server, models)
    elif isinstance(error, APITimeoutError):
        what, fix = _silent(error, server)
    else:
        what, fix = _unreached(error)
    return ServerError(f"server {server.address}", f"{what}{tried}", fix)


def is_too_long(error: APIError) -> bool:
    """Whether a server refuses a prompt because its context has no room for it, in the words of the usual ones."""
    from openai import BadRequestError

    said = json.dumps(error.body) if isinstance(error, BadRequestError) else ""
    return re.search(r"context.?(length|size|window)|exceed_context", said, re.IGNORECASE) is not None


def no_reply(answer: str, server: Server) -> ServerError:
    """An answer that is none of the API's, or has no reply in it."""
    what = f"answers without a reply in it ({_shown(answer, server)})"
    return ServerError(f"server {server.address}", what, f"{_guess(server)}; or look at the log of the server")


def _silent(error: APIError, server: Server) -> tuple[str, str]:
    import httpx2

    given: Any = error.request.extensions["timeout"]
    if isinstance(error.__cause__, httpx2.ConnectTimeout):
        return f"accepts no connection in {given['connect']:g} s", "check host and port in base_url, and the network"
    what = f"no answer from {error.request.url.path} within {given['read']:g} s"
    return what, f"raise server.timeout={server.timeout:g}, or lower server.concurrency={server.concurrency}"


def _unreached(error: APIError) -> tuple[str, str]:
    import httpx2

    causes: list[BaseException] = [error]
    while deeper := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(deeper)
    said = str(causes[-1]) or type(causes[-1]).__name__
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return f"no host of that name ({said})", "check the host's name in base_url, and the network"
    if any(isinstance(cause, httpx2.ConnectError) for cause in causes):
        return f"cannot be reached ({said})", "start the server, or check host and port in base_url"
    return f"breaks off in the middle of an answer ({said})", "look at the log of the server, then do the same again"


def _refused(error: APIStatusError, server: Server, models: list[str] | None) -> tuple[str, str]:
    """The same for an answer that is a number and some words."""
    status, said = error.status_code, _shown(error.body, server)
    answer = f"HTTP {status} ({said})"
    absent = models is not None and server.model not in models
    have = f"; {known_names(server.model, models)}" if models is not None and absent else ""
    if status in (401, 403):
        env = server.api_key_env
        fix = f"export {env}=KEY with one that it takes" if env else "set server.api_key_env=VARIABLE with a key in it"
        return f"{'refuses the key' if server.key else 'asks for a key'}, {answer}", fix
    if status == 404 and (absent or (models is None and server.model in said)):
        name = next(iter(nearest(server.model, models or []) or models or ["NAME"]))
        return f"no model {server.model}, {answer}{have}", f"set model_name={name}"
    if status == 404:
        other = "completions" if server.api == "chat" else "chat"
        fix = _guess(server) if models is None else f"set server.api={other}, if the server has that"
        return f"nothing at {error.request.url.path}, {answer}", fix
    if status == 429:
        return f"too many requests, {answer}", f"lower server.concurrency={server.concurrency}, or wait"
    if status in (408, 409) or status >= 500:
        return f"fails, {answer}", "look at the log of the server, then do the same again: what has come is kept"
    fix = "change what it names: eval.max_new_tokens, server.api, server.extra, or how the server was started"
    return f"refuses a request, {answer}{have if server.model in said else ''}", fix


def _guess(server: Server) -> str:
    """What is likely to be wrong with the address, if anything is."""
    bare = server.address.count("/") == 2
    return f"set base_url={server.address}/v1" if bare else "check base_url, which usually ends in /v1"


def _shown(answer: object, server: Server) -> str:
    """The beginning of what a server said, in one line, without the key that it may repeat."""
    match answer:
        case {"message": str(said)} | {"detail": str(said)} | str(said):
            pass
        case _:
            said = json.dumps(answer)
    said = " ".join(said.split()) or "nothing"
    return (said.replace(server.key, "…") if server.key else said)[:200]

"""A server's answers are read up to a limit: whatever stands at an address may have no end."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2

MOST_BYTES = 64 << 20
# An answer that is packed could be a thousand times as long as what comes.
PLAIN = {"Accept-Encoding": "identity"}


class _Beginning(httpx2.AsyncByteStream):
    """What comes, and at its limit no more."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MOST_BYTES
        async for chunk in self._stream:
            yield chunk[:left]
            left -= len(chunk)
            if left < 0:
                return

    async def aclose(self) -> None:
        await self._stream.aclose()


async def bound(response: httpx2.Response) -> None:
    """A hook for responses: what is beyond `MOST_BYTES` is cut off, and nothing is unpacked."""
    response.headers.pop("Content-Encoding", None)
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _Beginning(response.stream)

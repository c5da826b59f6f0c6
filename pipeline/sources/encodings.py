"""Text that is not UTF-8: recognized and named, but read as something else only if the settings say so."""

from __future__ import annotations

import codecs
from typing import Any, BinaryIO, cast

# What `sources.NAME.encoding` may be. GB18030 contains GBK.
ENCODINGS = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "gb18030", "gbk")

# Fewer Han characters than this may be anything.
_FEWEST = 4
_BOMS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def _no_text(error: UnicodeError) -> tuple[str, int]:
    """A lone surrogate for what cannot be decoded: as UTF-8 it is refused by every reader."""
    return "\udcff", cast(Any, error).end


codecs.register_error("poolmix.no_text", _no_text)


class _Transcoded:
    """A stream as UTF-8, whatever its own encoding."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self.stream = stream
        self.decoder = codecs.getincrementaldecoder(encoding)("poolmix.no_text")
        self.ended = False

    def read(self, size: int) -> bytes:
        """Some bytes, about `size` of them; none at the end."""
        data = b""
        while not data and not self.ended:
            raw = self.stream.read(size)
            self.ended = not raw
            data = self.decoder.decode(raw, final=self.ended).encode("utf-8", "surrogatepass")
        return data


def transcoded(stream: BinaryIO, encoding: str) -> BinaryIO:
    """The stream as UTF-8. Lines and offsets that readers then report are those of the UTF-8; a sequence that the
    encoding does not have stays invalid, so that its record is refused as `bad_utf8`."""
    return cast(BinaryIO, _Transcoded(stream, encoding))


def seems_to_be(head: bytes) -> str | None:
    """The encoding of a file that is surely not UTF-8, by its beginning; None for UTF-8 and for what is unclear.

    A few bad lines do not make another encoding: those are refused one by one. GB18030 it is where most of the
    lines beyond ASCII (and a tenth of all) are no UTF-8, all of it decodes, and most of that is common Han text.
    """
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    half = _nul_side(head)
    if half:
        return half
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "gb18030" if _is_chinese(head) else None
    return None


def _nul_side(head: bytes) -> str | None:
    """UTF-16 without a mark: it begins with ASCII, whose every other byte is NUL, and has more of that later on."""
    low, high = head[1::2].count(0), head[0::2].count(0)
    for name, half, mine, other in (("utf-16-le", 1, low, high), ("utf-16-be", 0, high, low)):
        if head[half : half + 1] == b"\0" and mine * 20 > len(head) and mine > 4 * other:
            return name
    return None


def _is_chinese(head: bytes) -> bool:
    lines = [line for line in head[: head.rfind(b"\n") + 1 or None].split(b"\n") if line.strip()]
    foreign = [line for line in lines if not line.isascii()]
    bad = sum(not _is_utf8(line) for line in foreign)
    if 2 * bad <= len(foreign) or 10 * bad <= len(lines) or (bad == 1 and len(lines) > 1):
        return False
    try:
        text = codecs.getincrementaldecoder("gb18030")().decode(head)
    except UnicodeDecodeError:
        return False
    common = sum("一" <= letter <= "\u9fff" for letter in text.encode("gb2312", "ignore").decode("gb2312"))
    return common >= max(_FEWEST, sum(not letter.isascii() for letter in text) / 2)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True

"""What is held of a stream that is read by and by."""

from __future__ import annotations

from collections.abc import Iterator


class Unread:
    """Some bytes of a file: `data[at:]` is still to be read, and begins at `offset` of the file and on `line`."""

    def __init__(self, pieces: Iterator[bytes], line: int, offset: int) -> None:
        self.pieces, self.line, self.offset = pieces, line, offset
        self.data, self.at, self.ended = b"", 0, False
        self._text: str | None = None

    @property
    def left(self) -> int:
        """How many bytes are still to be read of those that are held."""
        return len(self.data) - self.at

    @property
    def text(self) -> str:
        """The data with one character a byte."""
        if self._text is None:
            self._text = self.data.decode("latin-1")
        return self._text

    def more(self) -> bool:
        """Hold one piece more, if there is one, and no longer what has been read."""
        piece = b"" if self.ended else next(self.pieces, b"")
        self.ended = not piece
        self.data, self.at = self.data[self.at :] + piece, 0
        self._text = None
        return bool(piece)

    def go(self, to: int) -> None:
        """Be done with the data before `to`."""
        self.line += self.data.count(b"\n", self.at, to)
        self.offset += to - self.at
        self.at = to

    def take(self, to: int) -> bytes:
        """The bytes up to `to`, which are done with."""
        taken = self.data[self.at : to]
        self.go(to)
        return taken

"""What to say where a model or checkpoint cannot be written."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pipeline.room import refusal, writing


@contextmanager
def writing_tensors(path: Path) -> Generator[None]:
    """Raises: StoreError where the system refuses to write `path`, or below it; safetensors wraps what it says."""
    from safetensors import SafetensorError

    try:
        with writing(path):
            yield
    except SafetensorError as error:
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG):
            if f"code: {number}," in str(error):
                raise refusal(path, OSError(number, os.strerror(number))) from error
        raise

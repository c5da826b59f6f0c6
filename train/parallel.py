"""Several processes, one a device, as `torchrun` or `accelerate launch` start them."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from pipeline.errors import PoolmixError


def is_main() -> bool:
    """Whether this process is the one that writes and speaks."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def processes() -> Generator[int]:
    """How many there are, connected to each other while the block runs."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield 1
        return
    import torch
    from accelerate import PartialState

    PartialState(cpu=not torch.cuda.is_available())
    try:
        yield count
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def share(make: Callable[[], Any]) -> Any:
    """What `make` gives, called in the main process only. Raises: what it raised, in every process."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return make()
    import torch

    found: list[Any] = [None]
    if is_main():
        try:
            found = [make()]
        except PoolmixError as error:
            found = [error]
    torch.distributed.broadcast_object_list(found, src=0)
    if isinstance(found[0], PoolmixError):
        raise found[0]
    return found[0]

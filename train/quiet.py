"""What libraries say that is of no use to the user."""

from __future__ import annotations

import logging
import warnings

_LOGGERS = ("bitsandbytes", "trl", "transformers", "accelerate", "peft", "torch.distributed")
# Deprecations inside of the libraries, which only their makers can heed.
_WARNINGS = (
    (".*is_gradient_checkpointing.*", FutureWarning),
    (".*activation_checkpointing.*", FutureWarning),
    (".*MatMul8bitLt: inputs will be cast.*", UserWarning),
)


def quiet() -> None:
    """Leave out their progress bars and remarks; errors, and warnings about results, stay."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    for message, category in _WARNINGS:
        warnings.filterwarnings("ignore", message, category)

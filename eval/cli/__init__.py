"""The verbs of `python -m eval`, one module each."""

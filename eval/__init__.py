"""poolmix, the evaluation side."""

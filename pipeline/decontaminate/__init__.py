"""Evaluation sets held against the rows: what they have in common leaves before the split."""

"""From texts and targets to token ids and labels, and to packed sequences on disk."""

"""Proof that a bundle keeps its promises, from its files alone, and that a template gives what the model will see."""

"""Counting what is in a bundle or pool."""

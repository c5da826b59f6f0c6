"""poolmix, the data side: raw instruction data → pools → a bundle with an exact mix."""

__version__ = "0.1.0"

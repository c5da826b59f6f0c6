"""Looking at rows: as messages, as text, token by token, and where one raw row went."""

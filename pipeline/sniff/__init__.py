"""Looking at raw data that nobody described: how to read it, which shape it has, and how well it fits."""

"""From messages to the text a model sees, and to the parts of it that are trained on."""

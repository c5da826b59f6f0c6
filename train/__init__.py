"""poolmix, the training side: QLoRA SFT from a bundle."""

"""Training and fine-tuning. Nothing here yet: see training/README.md."""

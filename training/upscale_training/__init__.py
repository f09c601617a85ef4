"""Training and fine-tuning of this repository's networks. Start with training/README.md; recipes import from the modules."""

"""Pictures to learn from: found, read, cut into samples, and fed to the trainer. All chance comes from (seed, index)."""

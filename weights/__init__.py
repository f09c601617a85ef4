"""Data package `upscale.weights`: zoo.toml, which names every known model, and the small networks that ship with us."""

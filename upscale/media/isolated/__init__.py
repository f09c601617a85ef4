"""Reading in a process of its own, so that a hostile file is one failed file: `decoder.Decoder` is its front."""

"""`python -m upscale_training`, for torchrun."""

from upscale_training.cli import main

if __name__ == "__main__":
    main(prog_name="upscale-train")

"""`python -m upscale` is the command `upscale`."""

from upscale.cli import main

if __name__ == "__main__":
    main()

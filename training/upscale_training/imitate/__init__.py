"""Looking at a folder of bad pictures without originals, and writing a degradation that imitates them."""

"""How good a network is on annotated images: counts, and the scores that follow from them."""

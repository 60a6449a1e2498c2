"""Metrics of a model over any number of positions, and the pass over a data set that computes them."""

"""Labelled windows: data sets, and the batches that are made of them."""

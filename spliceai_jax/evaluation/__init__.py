"""What a model is worth: metrics over any number of positions, and the pass over a data set that fills them."""

"""The page about a run: what was run, the model before and after, and where it is most wrong."""

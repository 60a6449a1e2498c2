"""`transfer`: a run from its settings and its plan, through training, to its result."""

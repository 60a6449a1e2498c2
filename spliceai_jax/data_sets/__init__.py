"""Data sets made from a genome and its annotation: genes chosen, split, checked and written."""

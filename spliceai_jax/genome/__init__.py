"""Genomes: sequences, annotations, and the genes and splice sites in them."""

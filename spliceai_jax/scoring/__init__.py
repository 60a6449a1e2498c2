"""Genomes scored position by position: regions laid into rows, scored on every device, written as tracks."""

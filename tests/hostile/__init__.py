"""Attacks on the command line: hostile files, flipped bits, full disks, signals."""

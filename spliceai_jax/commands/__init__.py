"""The command line, one module per command: flags in, settings to the Python API, lines out."""

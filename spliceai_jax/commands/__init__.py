"""The command line, one module a command: flags in, settings to the Python API, lines out."""

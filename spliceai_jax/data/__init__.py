"""HDF5 data sets, genomes and annotations read from disk, and data sets cut into batches."""

"""What is read from disk, HDF5 data sets, genomes and annotations, and how it is cut into batches."""

"""The network, its weights in memory and on disk, and the devices that it is compiled for."""

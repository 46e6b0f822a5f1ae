"""Commands of the simulator: `edgeadapt demo` and `edgeadapt bench`."""

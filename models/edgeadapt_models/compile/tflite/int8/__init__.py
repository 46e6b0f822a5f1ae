"""8 bits: the float program with its convolutions and matrix products in integers."""

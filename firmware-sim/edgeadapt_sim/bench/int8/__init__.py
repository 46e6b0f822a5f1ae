"""`edgeadapt bench int8`: what 8 bits cost, at the base, with own statistics and under real patches."""

"""`edgeadapt demo`: the whole loop on one machine, real processes, and an evaluator that knows the truth."""

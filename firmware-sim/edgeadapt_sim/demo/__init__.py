"""`edgeadapt demo`: the whole loop on one machine, as real processes, with an evaluator that knows the truth."""

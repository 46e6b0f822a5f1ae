"""`edgeadapt bench outbox`: what the outbox costs, and what it loses when everything around it is killed."""

"""`edgeadapt bench ood`: how well scorers tell unknown classes from known ones, at home and elsewhere."""

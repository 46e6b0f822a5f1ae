"""`edgeadapt bench device`: what the device runtime costs above the bare one. Start at `study`."""

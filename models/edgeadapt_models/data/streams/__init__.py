"""Streams of domains: their grammar (`domain`), pictures (`sampling`), rendering (`stream`) and `files`."""

"""The conformance kit, held against our own device and against small ones that are wrong."""

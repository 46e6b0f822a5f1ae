"""Every decoder of foreign bytes: as Hypothesis tests (`test_decoders`), and under atheris (`harness`)."""

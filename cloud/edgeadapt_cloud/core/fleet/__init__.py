"""Where every device is: cohorts of segments, the devices, and what each cohort has to learn from."""

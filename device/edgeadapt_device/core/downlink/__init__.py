"""What comes down: whether it is believed (`intake`), and what the device does about it (`orders`)."""

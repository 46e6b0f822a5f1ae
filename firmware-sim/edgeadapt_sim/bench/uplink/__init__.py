"""Which frames are worth their bytes: accuracy of the adapted model against bytes sent, by policy."""

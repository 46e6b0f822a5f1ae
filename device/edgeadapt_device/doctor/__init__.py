"""`edgeadapt device doctor`: what would keep a device from working here, and the fix. Start at `examine`.

Every check looks, and leaves nothing behind: no message is consumed, no file of a source is used up, and a
device that runs is not disturbed.
"""

from edgeadapt_device.doctor.examine import examine
from edgeadapt_device.doctor.finding import Finding, Level

__all__ = ["Finding", "Level", "examine"]

"""What travels beside a message: the MQTT 5 properties that this protocol uses (MQTT 5.0, 3.3.2.3).

Values only; each side's link puts them into its client's form.
"""

from __future__ import annotations

import msgspec

#: Longer correlation data is not echoed: it is anybody's, and would be sent at the device's cost.
MAX_CORRELATION_BYTES = 64
#: MQTT's seconds have 32 bits.
LONGEST_EXPIRY_S = 0xFFFFFFFF


class MessageProperties(msgspec.Struct, frozen=True, kw_only=True):
    """Of one message.

    Attributes:
        expiry_s: the broker may forget the message after so many seconds; 0: never.
        response_topic: where the sender wants the answer; "" for nowhere in particular.
        correlation: what the answer has to bring back.
    """

    expiry_s: int = 0
    response_topic: str = ""
    correlation: bytes = b""


NO_PROPERTIES = MessageProperties()

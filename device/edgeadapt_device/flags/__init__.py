"""Why a frame was flagged and what it cost: a bounded journal that the driver keeps, and how it is read."""

"""A contact sheet: every corruption at every severity, for a person to look at.

Rows are corruptions, columns severities; the first column is the clean image. Each cell holds the same few
images, enlarged by whole pixels when they are small.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from edgeadapt_models.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt

_MIN_CELL_PX = 84
_GAP_PX = 4
_LABEL_PX = 130
_HEADER_PX = 16
_PAPER = (255, 255, 255)
_INK = (20, 20, 20)


def contact_sheet(images: NDArray[np.uint8], seed: int) -> Image.Image:
    """Draw ``images`` (uint8 ``[N, H, W, C]``, a handful) under all corruptions and severities."""
    columns = ["clean", *(f"severity {severity}" for severity in SEVERITIES)]
    enlarge = max(1, -(-_MIN_CELL_PX // images.shape[1]))
    height = images.shape[1] * enlarge + _GAP_PX
    width = images.shape[2] * enlarge * len(images) + _GAP_PX
    size = (_LABEL_PX + width * len(columns), _HEADER_PX + height * len(CORRUPTIONS))
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(columns):
        draw.text((_LABEL_PX + column * width, 2), title, fill=_INK)
    for row, name in enumerate(CORRUPTIONS):
        top = _HEADER_PX + row * height
        draw.text((4, top + height // 2 - 6), name, fill=_INK)
        sheet.paste(_strip(images, enlarge), (_LABEL_PX, top))
        for severity in SEVERITIES:
            corrupted = corrupt(images, name, severity, np.random.default_rng([seed, row]))
            sheet.paste(_strip(corrupted, enlarge), (_LABEL_PX + severity * width, top))
    return sheet


def _strip(images: NDArray[np.uint8], enlarge: int) -> Image.Image:
    """The images side by side, as RGB."""
    row = np.concatenate(list(images), axis=1).repeat(enlarge, axis=0).repeat(enlarge, axis=1)
    return Image.fromarray(np.broadcast_to(row, (*row.shape[:2], 3)).copy())

"""Labelled source data: replay and holdout come from different splits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgeadapt.errors import ConfigError
from edgeadapt_cloud.adapt import LabelledSource
from edgeadapt_cloud.adapt.settings import SourceSettings
from edgeadapt_models.data import Dataset


def dataset(count: int = 50) -> Dataset:
    """The label of an image is its position; so is its grey value."""
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 8, 8, 1)).copy()
    labels = np.arange(count, dtype=np.int64)
    classes = tuple(str(index) for index in range(count))
    return Dataset("counted", classes, images, labels, images, labels)


def test_parts_are_disjoint_capped_and_seeded() -> None:
    settings = SourceSettings(replay_images=20, holdout_images=6)
    source = LabelledSource.of(dataset(), settings, holdout=10)
    assert source.replay.labels.max() < 40 <= source.holdout.labels.min()
    assert (len(source.replay.labels), len(source.holdout.labels)) == (20, 6)
    again = LabelledSource.of(dataset(), settings, holdout=10)
    np.testing.assert_array_equal(source.replay.labels, again.replay.labels)


def test_drawn_images_keep_their_labels() -> None:
    source = LabelledSource.of(dataset(), SourceSettings(), holdout=10)
    images, labels = source.draw(30, torch.Generator().manual_seed(0))
    assert images.shape == (30, 1, 8, 8)
    torch.testing.assert_close(images[:, 0, 0, 0] * 255, labels.float())


def test_too_small_a_data_set_is_refused() -> None:
    with pytest.raises(ConfigError, match="kept back"):
        LabelledSource.of(dataset(), SourceSettings(), holdout=50)

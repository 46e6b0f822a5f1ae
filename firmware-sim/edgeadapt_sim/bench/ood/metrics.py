"""Areas, rates and windows of scores; higher scores are more familiar. numpy and scipy only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from edgeadapt.tensors import FloatArray
from edgeadapt_sim.bench.ood.plan import NOMINAL, WINDOW


def auroc(known: FloatArray, unknown: FloatArray) -> float:
    """Probability that a known frame scores above an unknown one, ties counted half (Mann-Whitney)."""
    ranks = rankdata(np.concatenate([known, unknown]))
    n, m = len(known), len(unknown)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def fpr95(known: FloatArray, unknown: FloatArray) -> float:
    """Share of unknown frames that score at least what 95 % of the known ones reach."""
    return float((unknown >= np.quantile(known, 1 - 0.95)).mean())


def below(p_values: FloatArray, alpha: float = NOMINAL) -> float:
    """Share of p-values of at most alpha."""
    return float((p_values <= alpha).mean())


def windows(count: int, number: int, seed: int) -> npt.NDArray[np.intp]:
    """[number, WINDOW] indices below `count`, no frame twice in a window."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.choice(count, WINDOW, replace=False) for _ in range(number)])


def window_rate(values: FloatArray, clean: FloatArray, drawn: npt.NDArray[np.intp]) -> float:
    """Share of windows whose mean is below what 5 % of windows of clean frames have.

    Args:
        values: scores of the frames in question.
        clean: scores of clean frames, other ones.
        drawn: windows of `values`, as from `windows`; ten times as many are drawn of `clean`.
    """
    usual = clean[windows(len(clean), 10 * len(drawn), 1)].mean(axis=1)
    return float((values[drawn].mean(axis=1) <= np.quantile(usual, NOMINAL)).mean())


def style_statistic(style: FloatArray, mean: FloatArray, std: FloatArray) -> FloatArray:
    """[W] of windows [W, n, S] of style features: mean of the squared, scaled shifts of features.

    T = mean_c (mean_n(E_c) - mu_c)^2 / (sigma_c^2 / n); 1 on the mean where nothing has moved.
    """
    n = style.shape[1]
    shift = (style.mean(axis=1, dtype=np.float64) - mean) / np.maximum(std, 1e-6)
    return np.asarray((shift**2).mean(axis=1) * n, dtype=np.float32)

"""Strategy `anchored`: distil a strong frozen teacher into the affine parameters, held near the source.

The student is trained as it is deployed: a device follows its own frames with its statistics, so here
every batch is normalised by its own moments, and the patch carries the statistics that devices reach
under the new affine values. Against forgetting there are labelled source replay (normalised as source
data) and source-weight ensembling (ROID, Marsden et al., WACV 2024); against noise sample weights
exp(E_max - E) (EATA, Niu et al., ICML 2022) on the teacher's entropy; against collapse the entropy of
the mean prediction; and in the end the values go back towards the source as far as source accuracy asks
(WiSE-FT). There is no early stopping: samples held back for it were worth more in training (measured),
and the gate looks at the outcome. No state is carried: each job starts at the base bundle and sees the
whole pool.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from edgeadapt_cloud.adapt.settings import AnchoredSettings
from edgeadapt_cloud.adapt.strategies.base import STRATEGIES, Lesson, Taught
from edgeadapt_cloud.adapt.student import Student, batch_statistics
from edgeadapt_cloud.adapt.views import as_tensor, jitter


@STRATEGIES.register("anchored")
def anchored(lesson: Lesson) -> Taught:
    """Teach and return affine values with the statistics that belong to them."""
    settings, student = lesson.settings.anchored, lesson.student
    weights = sample_weights(lesson.labels, settings)
    parameters, source = student.affine_parameters(), student.base_affine()
    optimiser = torch.optim.SGD(
        parameters, lr=settings.learning_rate, momentum=settings.momentum, nesterov=settings.momentum > 0
    )
    for step in range(settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * (1 + math.cos(math.pi * step / settings.steps)) / 2
        optimiser.zero_grad()
        picked = torch.randint(0, len(lesson.images), (settings.batch,), generator=lesson.generator)
        torch.autograd.backward(_upload_loss(lesson, picked, weights[picked]) + _replay_loss(lesson))
        optimiser.step()
        with torch.no_grad():
            for parameter, anchor in zip(parameters, source, strict=True):
                parameter.lerp_(anchor, 1.0 - settings.source_ensembling)
    share = rein_in(lesson)
    lesson.statistics.settle(student)
    return Taught(student.values(), b"", f"{settings.steps} steps, {share:.2f} of the way kept")


def sample_weights(labels: Tensor, settings: AnchoredSettings) -> Tensor:
    """exp(E_max - E) of soft labels [N, K], capped, float32 [N]: the sure ones count more."""
    entropy = -(labels * labels.clamp_min(1e-9).log()).sum(dim=1)
    bound = settings.entropy_bound * math.log(labels.shape[1])
    return (bound - entropy).exp().clamp_max(settings.weight_cap)


def distillation_loss(logits: Tensor, labels: Tensor, weights: Tensor, settings: AnchoredSettings) -> Tensor:
    """Weighted mean of KL(teacher || student) + c CE(teacher's class), less d H(mean prediction).

    Args:
        logits: float32 [B, K].
        labels: soft labels float32 [B, K].
        weights: float32 [B].
        settings: holds c and d.
    """
    log_p = logits.log_softmax(dim=1)
    divergence = (labels * (labels.clamp_min(1e-9).log() - log_p)).sum(dim=1)
    hard = functional.nll_loss(log_p, labels.argmax(dim=1), reduction="none")
    loss = (weights * (divergence + settings.hard_label_weight * hard)).sum() / weights.sum().clamp_min(1e-9)
    mean = log_p.exp().mean(dim=0)
    return loss + settings.diversity_weight * (mean * mean.clamp_min(1e-9).log()).sum()


def rein_in(lesson: Lesson) -> float:
    """Go back towards the source until accuracy on the source holdout is as allowed.

    Weights between the source's and the taught ones keep most of both (WiSE-FT, Wortsman et al., CVPR
    2022). Along that way the loss of source accuracy grows like share^`rein_exponent` (measured: 0.9 to
    2.2), so each measurement says how far to go back; a search would choose by noise, for neighbouring
    shares differ by a few images. The images are those of the gate's source-holdout check, which after
    this says that the rein held, and is no independent evidence that little was lost on the source.

    Returns:
        The share of the way that was kept; 0 is the base bundle.
    """
    settings, student = lesson.settings.anchored, lesson.student
    images, labels = as_tensor(lesson.source.holdout.images), torch.from_numpy(lesson.source.holdout.labels)
    taught = [parameter.detach().clone() for parameter in student.affine_parameters()]
    share = 1.0
    for _ in range(settings.rein_measurements):
        lost = lesson.base_accuracy - student.accuracy(images, labels)
        if lost <= settings.rein_loss:
            break
        share *= float((settings.rein_loss / lost) ** (1.0 / settings.rein_exponent))
        _go(student, taught, share)
    return share


def _go(student: Student, taught: list[Tensor], share: float) -> None:
    """Put the affine values at this share of the way from the source's to the taught ones."""
    with torch.no_grad():
        ways = zip(student.affine_parameters(), student.base_affine(), taught, strict=True)
        for parameter, anchor, value in ways:
            parameter.copy_(torch.lerp(anchor, value, share))


def _upload_loss(lesson: Lesson, picked: Tensor, weights: Tensor) -> Tensor:
    settings = lesson.settings.anchored
    views = jitter(
        lesson.images[picked], flip=settings.flip, shift=settings.shift, generator=lesson.generator
    )
    with batch_statistics(lesson.student.network):
        logits: Tensor = lesson.student.network(views)[0]
    return distillation_loss(logits, lesson.labels[picked], weights, settings)


def _replay_loss(lesson: Lesson) -> Tensor:
    settings = lesson.settings.anchored
    images, labels = lesson.source.draw(settings.replay_batch, lesson.generator)
    with batch_statistics(lesson.student.network):
        logits: Tensor = lesson.student.network(images)[0]
    return settings.replay_weight * functional.cross_entropy(logits, labels)

"""Strategy `cema`: Chen et al., ICLR 2024 (arXiv 2402.17316), as its public code runs it.

Per `new_batch` uploads: (1) the teacher takes one SGD step on its own entropy, weighted by
exp(E_max0 - E), norm affine only; (2) the student's batch is the new uploads plus replay from a FIFO
memory; (3) the student takes one SGD step on
    3 mean(w_S E_S) + 3 mean(w_T KL(p_T || p_S)) + mean(w_T CE(argmax p_T, p_S)).
Source statistics are thrown away: the first batch initialises the running ones, then only uploads and
replay move them, through test-time batch renormalisation (Zhao et al., ICML 2023), whose forward value
is (x - mu_running) / sigma_running. So a patch is affine values and statistics. Both networks, their
momentum and the memory are carried from job to job. The gate keeps back the newest of each job's samples
whatever the memory holds: when newer ones leave a cohort, some that an earlier job learned from are judged
on as unseen. Not here: upload selection, which is the device's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgeadapt.errors import WireError
from edgeadapt.tensors import decode_tensors, encode_tensors
from edgeadapt_cloud.adapt.renorm import BatchRenorm, renormalised
from edgeadapt_cloud.adapt.sampling import entropy
from edgeadapt_cloud.adapt.settings import CemaSettings
from edgeadapt_cloud.adapt.strategies.base import STRATEGIES, Lesson, Taught


@dataclass(frozen=True, slots=True)
class Learner:
    """A network under test-time batch renormalisation; without norm layers it stays as it is."""

    network: nn.Module
    parameters: tuple[nn.Parameter, ...]
    optimiser: torch.optim.SGD | None

    @staticmethod
    def of(network: nn.Module, learning_rate: float, settings: CemaSettings) -> Learner:
        """Put renormalisation into a copy of `network`; its norm affine parameters learn."""
        renormed = renormalised(network, momentum=settings.norm_momentum)
        parameters = affine_parameters(renormed)
        if not parameters:
            return Learner(renormed, (), None)
        optimiser = torch.optim.SGD(parameters, lr=learning_rate, momentum=settings.momentum)
        return Learner(renormed, parameters, optimiser)

    def step(self, loss: Tensor) -> None:
        """One optimiser step; a loss that is not finite is left out."""
        if self.optimiser is not None and bool(torch.isfinite(loss)):
            self.optimiser.zero_grad()
            torch.autograd.backward(loss)
            self.optimiser.step()


@STRATEGIES.register("cema")
def cema(lesson: Lesson) -> Taught:
    """Run the new uploads through both networks and return the student's affine values and statistics."""
    settings = lesson.settings.cema
    lesson.student.load({})
    student = Learner.of(lesson.student.network, settings.student_learning_rate, settings)
    teacher = Learner.of(lesson.teacher.network(), settings.teacher_learning_rate, settings)
    memory = restore(lesson.state, student, teacher)
    index = {name: position for position, name in enumerate(lesson.sample_ids)}
    known = set(memory)
    fresh = [name for name in lesson.sample_ids if name not in known]
    remembered = [name for name in memory if name in index]
    steps = 0
    for start in range(0, len(fresh), settings.new_batch):
        new = fresh[start : start + settings.new_batch]
        replay = _draw(remembered, settings.replay_batch, settings, lesson.generator)
        _teacher_step(teacher, lesson.images[[index[name] for name in new]], settings)
        _student_step(student, teacher, lesson.images[[index[name] for name in new + replay]], settings)
        remembered = (remembered + new)[-settings.memory :]
        steps += 1
    for _ in range(settings.replay_steps):
        replay = _draw(remembered, settings.replay_only_batch, settings, lesson.generator)
        if replay:
            _student_step(student, teacher, lesson.images[[index[name] for name in replay]], settings)
            steps += 1
    lesson.student.adopt(student.network)
    return Taught(
        lesson.student.values(),
        capture(student, teacher, remembered),
        f"{len(fresh)} new uploads, {steps} steps",
    )


def student_loss(student: Tensor, teacher: Tensor, settings: CemaSettings) -> Tensor:
    """The loss of step 3, from logits float32 [B, K] of both; the teacher's carry no gradient."""
    log_s, log_t = student.log_softmax(dim=1), teacher.log_softmax(dim=1)
    entropy_s = -(log_s.exp() * log_s).sum(dim=1)
    divergence = (log_t.exp() * (log_t - log_s)).sum(dim=1)
    hard = -log_s.gather(1, log_t.argmax(dim=1, keepdim=True)).squeeze(1)
    weight_s = _weights(entropy_s.detach(), student.shape[1], settings)
    weight_t = _weights(entropy(log_t.exp()), student.shape[1], settings)
    return (
        settings.entropy_weight * (weight_s * entropy_s).mean()
        + settings.divergence_weight * (weight_t * divergence).mean()
        + settings.class_weight * (weight_t * hard).mean()
    )


def _teacher_step(teacher: Learner, images: Tensor, settings: CemaSettings) -> None:
    if len(images) < 2:
        return
    log_p = teacher.network(images)[0].log_softmax(dim=1)
    scores = -(log_p.exp() * log_p).sum(dim=1)
    teacher.step((_weights(scores.detach(), log_p.shape[1], settings) * scores).mean())


def _student_step(student: Learner, teacher: Learner, images: Tensor, settings: CemaSettings) -> None:
    if len(images) < 2:
        return
    with torch.no_grad():
        labels = teacher.network(images)[0]
    student.step(student_loss(student.network(images)[0], labels, settings))


def _weights(scores: Tensor, classes: int, settings: CemaSettings) -> Tensor:
    return (settings.entropy_bound * math.log(classes) - scores).exp()


def _draw(names: list[str], count: int, settings: CemaSettings, generator: torch.Generator) -> list[str]:
    if len(names) < settings.memory_start:
        return []
    return [names[i] for i in torch.randperm(len(names), generator=generator)[:count].tolist()]


def affine_parameters(network: nn.Module) -> tuple[nn.Parameter, ...]:
    """Scales and biases of all norm layers; everything else is frozen here."""
    network.requires_grad_(False)
    norms = [m for m in network.modules() if isinstance(m, BatchRenorm | nn.LayerNorm | nn.GroupNorm)]
    for norm in norms:
        norm.requires_grad_(True)
    return tuple(parameter for norm in norms for parameter in norm.parameters())


def capture(student: Learner, teacher: Learner, memory: list[str]) -> bytes:
    """Both networks' norm state, their momentum and the names in memory, as one safetensors container."""
    tensors = {"memory": torch.tensor(list("\n".join(memory).encode()), dtype=torch.uint8)}
    for role, learner in (("student", student), ("teacher", teacher)):
        for position, tensor in enumerate(_norm_state(learner)):
            tensors[f"{role}.{position}"] = tensor
    return encode_tensors({name: tensor.detach().numpy() for name, tensor in tensors.items()})


def restore(state: bytes, student: Learner, teacher: Learner) -> list[str]:
    """The inverse of `capture`; returns the names in memory. Unusable state is as none: start anew."""
    if not state:
        return []
    try:
        stored = decode_tensors(state)
        targets = [
            (stored[f"{role}.{position}"], tensor)
            for role, learner in (("student", student), ("teacher", teacher))
            for position, tensor in enumerate(_norm_state(learner))
        ]
        memory = stored["memory"].astype("uint8").tobytes().decode()
    except (WireError, KeyError, UnicodeDecodeError):
        return []
    if any(value.shape != tuple(tensor.shape) for value, tensor in targets):
        return []
    with torch.no_grad():
        for value, tensor in targets:
            tensor.copy_(torch.from_numpy(value))
    return memory.split("\n") if memory else []


def _norm_state(learner: Learner) -> list[Tensor]:
    """Affine parameters, running statistics and momentum buffers, in a fixed order."""
    momentum = [_momentum(learner.optimiser, parameter) for parameter in learner.parameters]
    running = [
        buffer
        for module in learner.network.modules()
        if isinstance(module, BatchRenorm)
        for buffer in (module.running_mean, module.running_var, module.started)
    ]
    return [*learner.parameters, *running, *momentum]


def _momentum(optimiser: torch.optim.SGD | None, parameter: nn.Parameter) -> Tensor:
    """The parameter's momentum buffer, made when there is none yet."""
    if optimiser is None:
        return torch.zeros_like(parameter)
    held = optimiser.state[parameter]
    if held.get("momentum_buffer") is None:
        held["momentum_buffer"] = torch.zeros_like(parameter)
    buffer: Tensor = held["momentum_buffer"]
    return buffer

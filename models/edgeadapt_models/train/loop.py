"""The training loop: one recipe, one dataset, one network.

Invariants: the result depends only on the recipe, the data and the number of threads (every epoch draws from
a generator seeded by recipe and epoch, so a resumed run equals an uninterrupted one); the holdout is never
read; a run that is stopped leaves its last whole epoch behind and nothing half-written.
Measuring and publishing weights are not here (`edgeadapt_models.train.evaluate`, `publish`).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from edgeadapt_models.data import Dataset
from edgeadapt_models.train import checkpoint
from edgeadapt_models.train.augment import augment
from edgeadapt_models.train.recipe import Recipe
from edgeadapt_models.train.split import HOLDOUT, Labelled, split
from edgeadapt_models.zoo import Classifier, InputSpec, create


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is; given to the caller after every step."""

    epoch: int
    epochs: int
    step: int
    steps: int
    # Running mean over the epoch so far.
    loss: float
    images_per_s: float


@dataclass(frozen=True, slots=True)
class Trained:
    """The network in eval mode, and the seconds that all its epochs took (resumed ones included)."""

    network: Classifier
    trained_s: float


def _ignore(progress: Progress) -> None:
    """The observer of those who do not want one."""


def input_spec(dataset: Dataset, fit: Labelled) -> InputSpec:
    """The input of a network for this dataset, with the moments of the images it learns from."""
    height, width, channels = dataset.image_shape
    scaled = fit.images.reshape(-1, channels)
    mean = tuple(round(float(value) / 255.0, 6) for value in scaled.mean(axis=0))
    std = tuple(round(float(value) / 255.0, 6) for value in scaled.std(axis=0))
    return InputSpec(channels, height, width, len(dataset.classes), mean, std)


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Rate at a step: linear rise over the warm-up, then to 0 by a line (onecycle) or half a cosine."""
    warmup = recipe.warmup * steps
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1.0, steps - warmup)
    if recipe.schedule == "onecycle":
        return recipe.learning_rate * (1.0 - done)
    return recipe.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))


def make_optimizer(recipe: Recipe, network: Classifier) -> torch.optim.Optimizer:
    """The recipe's optimizer; norm parameters, biases and positions are not decayed."""
    decayed = [p for p in network.parameters() if p.ndim in (2, 4)]
    plain = [p for p in network.parameters() if p.ndim not in (2, 4)]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate)
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=True)


class Run:
    """One training run: its network, averaged weights and optimizer, advanced an epoch at a time."""

    def __init__(self, recipe: Recipe, dataset: Dataset, *, holdout: int = HOLDOUT) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        fit = split(dataset, holdout=holdout).fit
        self.images = torch.tensor(fit.images)
        self.labels = torch.tensor(fit.labels)
        self.network = create(recipe.network, input_spec(dataset, fit))
        for parameter in self.network.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.network)
        self.optimizer = make_optimizer(recipe, self.network)
        self.steps = max(1, len(self.labels) // recipe.batch)
        self.epoch = 0
        self.trained_s = 0.0

    def resume(self, folder: Path) -> None:
        """Continue from the checkpoint in ``folder``, where there is one.

        Raises:
            ConfigError: the checkpoint is damaged or of another recipe.
        """
        found = checkpoint.load(folder, self.recipe)
        if found is None:
            return
        self.network.load_state_dict(found.network)
        self.average.load_state_dict(found.average)
        self.optimizer.load_state_dict(found.optimizer)
        self.epoch, self.trained_s = found.epoch, found.trained_s

    def save(self, folder: Path) -> None:
        """Store the state after the last whole epoch."""
        state = checkpoint.Checkpoint(
            self.epoch,
            self.trained_s,
            self.network.state_dict(),
            self.average.state_dict(),
            self.optimizer.state_dict(),
        )
        checkpoint.save(folder, self.recipe, state)

    def train_epoch(self, observe: Callable[[Progress], None], *, limit: int | None = None) -> None:
        """Train one epoch, or only ``limit`` steps of it (for tests)."""
        recipe, began = self.recipe, time.perf_counter()
        generator = torch.Generator().manual_seed(recipe.seed * 100_003 + self.epoch)
        order = torch.randperm(len(self.labels), generator=generator)
        steps = self.steps if limit is None else min(limit, self.steps)
        total = 0.0
        self.network.train()
        for step in range(steps):
            chosen = order[step * recipe.batch : (step + 1) * recipe.batch]
            total += self._step(chosen, self.epoch * self.steps + step, generator)
            elapsed = time.perf_counter() - began
            speed = (step + 1) * recipe.batch / elapsed
            observe(Progress(self.epoch, recipe.epochs, step + 1, steps, total / (step + 1), speed))
        self.epoch += 1
        self.trained_s += time.perf_counter() - began

    def _step(self, chosen: Tensor, step: int, generator: torch.Generator) -> float:
        recipe = self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step, recipe.epochs * self.steps)
        images = self.images[chosen].permute(0, 3, 1, 2).float().div_(255.0)
        images = augment(images, recipe.augmentations, generator)
        if recipe.strong_augmentations:
            count = round(recipe.strong_share * len(images))
            strong = augment(images[:count], recipe.strong_augmentations, generator)
            images = torch.cat([strong, images[count:]])
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
            logits, _ = self.network(images)
        loss = functional.cross_entropy(
            logits.float(), self.labels[chosen], label_smoothing=recipe.label_smoothing
        )
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        if recipe.clip_norm > 0:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip_norm)
        self.optimizer.step()
        self._update_average(step)
        return loss.item()

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        """Exponential moving average of weights and running statistics, young averages less inert."""
        if self.recipe.ema_decay == 0:
            return
        keep = min(self.recipe.ema_decay, (1 + step) / (10 + step))
        current = self.network.state_dict()
        for name, value in self.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(current[name], 1.0 - keep)
            else:
                value.copy_(current[name])

    def result(self) -> Trained:
        """The averaged network where the recipe averages, else the last one; in eval mode."""
        network = self.average if self.recipe.ema_decay > 0 else self.network
        return Trained(network.eval(), self.trained_s)


def train(
    recipe: Recipe,
    dataset: Dataset,
    folder: Path,
    observe: Callable[[Progress], None] = _ignore,
    *,
    holdout: int = HOLDOUT,
) -> Trained:
    """Run a recipe to its end, resuming from and saving to ``folder`` after every epoch.

    Raises:
        ConfigError: names unknown to a registry, or a checkpoint of another recipe.
    """
    run = Run(recipe, dataset, holdout=holdout)
    run.resume(folder)
    while run.epoch < recipe.epochs:
        run.train_epoch(observe)
        run.save(folder)
    return run.result()

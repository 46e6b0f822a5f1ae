"""A torch module from `package.module:factory` and a file of weights, or a program that torch.export saved.

Weights are read as tensors only: a pickle that would run code, or that holds a whole module, is refused.
"""

from __future__ import annotations

import importlib
import pickle
import re
import sys
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from edgeadapt.errors import CompileError

_CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "ema")
"""Under which training scripts commonly keep the weights in a checkpoint."""
_PREFIXES = ("module", "_orig_mod", "model")
"""What DataParallel, torch.compile and Lightning put in front of names."""
_SHOWN = 5
_FORBIDDEN = re.compile(r"GLOBAL ([\w.]+)")
"""How torch.load names what it does not load."""


def make_module(target: str, *, folder: Path | None = None) -> nn.Module:
    """Import and call a factory without arguments.

    Args:
        target: "package.module:factory"; the factory is a function or a class, or a module that is there.
        folder: also searched for the package, as Python does with a script's own folder.

    Raises:
        CompileError: it cannot be imported, called, or returns something that is no torch module.
    """
    name, _, attribute = target.partition(":")
    if not name or not attribute:
        raise CompileError(f"{target!r}: expected package.module:factory, such as nets.resnet:build")
    place = str(folder) if folder is not None else ""
    if place:
        sys.path.insert(0, place)
    try:
        made: Any = importlib.import_module(name)
        for part in attribute.split("."):
            made = getattr(made, part)
        module = made if isinstance(made, nn.Module) else made()
    except Exception as error:  # the user's own code may raise anything
        raise CompileError(f"{target} cannot be made: {type(error).__name__}: {error}") from error
    finally:
        if place:
            sys.path.remove(place)
    if not isinstance(module, nn.Module):
        raise CompileError(f"{target} returned {type(module).__name__}, not a torch module")
    return module


def load_weights(module: nn.Module, path: Path) -> tuple[str, ...]:
    """Load a state dict into a module, in place.

    Args:
        module: of the same structure.
        path: .safetensors, or what torch.save wrote of a state dict or of a dict that holds one.

    Returns:
        Notes for people.

    Raises:
        CompileError: the file cannot be read, holds code or a module, or does not fit; lists names.
    """
    state, notes = _state(_read(path), path)
    state, taken_off = _without_prefixes(state, module.state_dict().keys())
    notes += taken_off
    try:
        fit = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise CompileError(f"{path} does not fit the module: {error}") from error
    if fit.missing_keys or fit.unexpected_keys:
        raise CompileError(
            f"{path} does not fit the module: missing {_some(fit.missing_keys)}; "
            f"not in the module {_some(fit.unexpected_keys)}"
        )
    return notes


def load_program(path: Path) -> torch.export.ExportedProgram:
    """Read what torch.export.save wrote; raises CompileError."""
    try:
        return torch.export.load(path)
    except Exception as error:  # a damaged archive raises many kinds
        raise CompileError(
            f"{path} is no exported program: {type(error).__name__}: {error}; "
            "write one with torch.export.save(torch.export.export(module, (example,)), path)"
        ) from error


def _read(path: Path) -> Any:
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = _FORBIDDEN.search(str(error))
        what = f"a {found[1]}" if found else "a whole module, perhaps"
        raise CompileError(
            f"{path} holds more than tensors ({what}), which is not loaded because loading it would run "
            "code: save model.state_dict() instead"
        ) from error
    except Exception as error:  # noise raises whatever its first bytes happen to mean
        if "TorchScript" in str(error):
            raise CompileError(
                f"{path} is TorchScript: save model.state_dict() of the plain module"
            ) from error
        raise CompileError(
            f"{path} cannot be read as weights, or is cut short: {type(error).__name__}: {error}"
        ) from error


def _state(loaded: Any, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The state dict in what was loaded."""
    notes: list[str] = []
    for name in _CONTAINERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(name), Mapping):
            loaded = loaded[name]
            notes.append(f"weights are those under {name!r} in {path.name}")
            break
    if not isinstance(loaded, Mapping) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise CompileError(f"{path} holds no state dict: save model.state_dict()")
    return {str(name): value for name, value in loaded.items()}, tuple(notes)


def _without_prefixes(
    state: dict[str, Tensor], expected: Set[str]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The weights under the names that are expected, where a prefix that all share is what is between."""
    notes: list[str] = []
    while state and not expected & state.keys():
        heads = {name.partition(".")[0] for name in state}
        prefix = heads.pop()
        if heads or prefix not in _PREFIXES:
            break
        state = {name.removeprefix(f"{prefix}."): value for name, value in state.items()}
        notes.append(f"'{prefix}.' taken off the names of the weights")
    return state, tuple(notes)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more or "none"

"""Statistics rest on frames as the model saw them, where there are some."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from edgeadapt.bundle import Bundle
from edgeadapt.errors import ConfigError
from edgeadapt_cloud.adapt.adapter import FEW_EXACT
from edgeadapt_cloud.adapt.views import as_tensor
from edgeadapt_models.compile import tiny_module
from tests.cloud.adapt.conftest import Images, MakeAdapter, lanes_for, request_for


def _labels(make: MakeAdapter, bundle: Bundle, seen: Images, sent: Images, changed: range) -> torch.Tensor:
    """The teacher's labels after a job whose pictures `changed` were altered."""
    adapter = make(tiny_module())
    request = replace(request_for(bundle, seen), altered=frozenset(changed))
    adapter.run(request, sent, lanes_for(sent))
    return adapter._teacher.probabilities(as_tensor(seen))


def test_what_was_changed_for_privacy_moves_no_statistics(
    make_adapter: MakeAdapter, bundle: Bundle, domain: tuple[Images, object]
) -> None:
    seen, changed = domain[0][:240], range(100)
    dark, bright = seen.copy(), seen.copy()
    dark[:100, :14], bright[:100, :14] = 0, 255
    first, second = (_labels(make_adapter, bundle, seen, sent, changed) for sent in (dark, bright))
    assert first.equal(second)
    assert not first.equal(_labels(make_adapter, bundle, seen, bright, range(0)))


def test_where_everything_was_changed_it_has_to_do(
    make_adapter: MakeAdapter, bundle: Bundle, domain: tuple[Images, object]
) -> None:
    """But not what was compressed with loss."""
    seen = domain[0][:240]
    dark = seen.copy()
    dark[:, :14] = 0
    few = range(len(seen) - FEW_EXACT + 1)
    assert _labels(make_adapter, bundle, seen, dark, few).equal(
        _labels(make_adapter, bundle, seen, dark, range(0))
    )
    # Frames that a teacher does not settle on anyway are no reason to go without the others.
    adapter, lanes = make_adapter(tiny_module()), ["strange"] * 40 + ["adapt"] * 200
    request = replace(request_for(bundle, seen), altered=frozenset(range(40, 240)))
    adapter.run(request, dark, lanes)
    unsettled = make_adapter(tiny_module())._teacher.probabilities(as_tensor(seen))
    assert not adapter._teacher.probabilities(as_tensor(seen)).equal(unsettled)
    request = replace(request_for(bundle, seen), lossy=frozenset(range(len(seen))))
    with pytest.raises(ConfigError, match="compressed"):
        make_adapter().run(request, dark, lanes_for(dark))

"""What folds adds nothing to the graph that runs: the nodes of the optimised model are counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.errors import CompileError
from tests.models.compile.extras import networks
from tests.models.compile.extras.networks import Normalised


def optimised_nodes(bundle: Bundle, folder: Path) -> list[str]:
    """Operators of the graph that ONNX Runtime runs for a patch of every slot."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    model = bundle.fast_model(bundle.artifact("onnxruntime"), networks.moved(bundle))
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return sorted(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)


def normalised(name: str) -> Normalised:
    module, spec, _ = networks.network(name)
    return Normalised(module, spec.shape[0]).eval()


@pytest.mark.parametrize(
    ("name", "adapters"),
    [("resnet18", ("conv:all",)), ("mobilenet_v2", ("conv:all",)), ("deit_tiny", ("lowrank:all",))],
)
def test_folded_slots_add_no_node(name: str, adapters: tuple[str, ...], tmp_path: Path) -> None:
    plain = networks.compiled(name, networks.wanted(head=False), tmp_path / "a", module=normalised(name))
    request = networks.wanted("full", *adapters)
    full = networks.compiled(name, request, tmp_path / "b", module=normalised(name))
    kinds = {slot.kind for slot in full.manifest.slots}
    assert {"input_prompt", "head_weight", "head_bias", "embedding_shift"} <= kinds
    assert kinds & {"conv_adapter", "low_rank_up"}
    assert optimised_nodes(full, tmp_path) == optimised_nodes(plain, tmp_path)


def test_a_prompt_on_a_model_that_adds_nothing_to_its_input_costs_one_add(tmp_path: Path) -> None:
    plain = networks.compiled("resnet18", networks.wanted(), tmp_path / "a")
    full = networks.compiled("resnet18", networks.wanted("full"), tmp_path / "b")
    assert optimised_nodes(full, tmp_path) == sorted([*optimised_nodes(plain, tmp_path), "Add"])


def test_a_merged_prompt_equals_an_added_one(tmp_path: Path) -> None:
    """Through a mean and a standard deviation, at base and moved."""
    import torch

    from edgeadapt_models.compile.runtime import Runner, frames_to_input
    from tests.models.compile.extras.reference import branched
    from tests.models.compile.extras.test_parity import close, torch_outputs

    module = normalised("resnet18")
    bundle = networks.compiled("resnet18", networks.wanted("full", head=False), tmp_path / "b", module=module)
    x = frames_to_input(bundle.manifest.input, networks.frames("resnet18", 4, seed=5))
    for values in ({}, networks.moved(bundle, share=0.3)):
        with (
            branched(module, bundle.manifest.slots, values or bundle.base_slots()) as changed,
            torch.no_grad(),
        ):
            expected = torch_outputs(changed, x)
        close(Runner(bundle.fast_model(bundle.artifact("onnxruntime"), values)).run(x)["logits"], expected[0])


def test_nothing_before_the_first_norm_layer_is_adapted(tmp_path: Path) -> None:
    bundle = networks.compiled("resnet18", networks.wanted("", "conv:all"), tmp_path / "b")
    layers = {slot.layer for slot in bundle.manifest.slots if slot.kind == "conv_adapter"}
    assert "conv1" not in layers
    assert len(layers) == 11
    with pytest.raises(CompileError, match="no convolution for 'conv1'"):
        networks.compiled("resnet18", networks.wanted("", "conv:conv1"), tmp_path / "c")


def test_a_layer_gets_one_adapter_however_often_it_is_named(tmp_path: Path) -> None:
    request = networks.wanted("", "conv:stages.3.*", "conv:all")
    bundle = networks.compiled("resnet18", request, tmp_path / "b")
    layers = [slot.layer for slot in bundle.manifest.slots if slot.kind == "conv_adapter"]
    assert len(layers) == len(set(layers)) == 11


def test_head_slots_are_torchs_own_parameters(tmp_path: Path) -> None:
    bundle = networks.compiled("resnet18", networks.wanted(), tmp_path / "b")
    module, _, _ = networks.network("resnet18")
    base = bundle.base_slots()
    np.testing.assert_array_equal(base["head.weight"], module.get_parameter("head.weight").detach().numpy())
    np.testing.assert_array_equal(base["head.bias"], module.get_parameter("head.bias").detach().numpy())
    assert not base["embedding_shift"].any()

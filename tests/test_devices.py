"""Guard for machines without a GPU: traces, interventions and training on a fake second device.

`tests/fake_device.py` refuses what a GPU refuses; here it has no float64 either, as on Apple's
GPUs, and nothing may cross between host and device on a sweep's way down. What comes out must be
what the CPU gives. The last tests plant faults, which the guard has to find.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import circuit_tracer
from circuit_tracer.attribution import TraceSettings, trace
from circuit_tracer.attribution import row_collection as collecting
from circuit_tracer.attribution.head_loadings import head_loadings
from circuit_tracer.attribution.qk import explain_score
from circuit_tracer.attribution.sources import ListedSources
from circuit_tracer.attribution.sweep import Sweep
from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import Graph, NodeKind
from circuit_tracer.graphs.pruning import prune
from circuit_tracer.interventions.engine import intervene
from circuit_tracer.interventions.generation import write_on
from circuit_tracer.interventions.spec import Change, Strength
from circuit_tracer.models import Model
from circuit_tracer.models.capture import MlpActivity
from circuit_tracer.models.devices import check_float64, true_places, widest
from circuit_tracer.models.frozen import FrozenAttention
from circuit_tracer.transcoders.neurons import AnyDictionary, open_neurons
from circuit_tracer.transcoders.training import TrainingConfig
from circuit_tracer.transcoders.training.trainer import Trainer
from tests import fake_device
from tests.fake_device import DeviceError, nothing_crosses
from tests.tiny import random_dictionary, tiny_model
from tests.unnamed import unnamed_devices

CPU = torch.device("cpu")
DEVICE = torch.device(fake_device.install().type, fake_device.NARROW)
PROMPT = "the banana is yellow yes"
BASES: dict[str, Callable[[Model], AnyDictionary]] = {
    "plt": lambda model: random_dictionary(model),
    "clt": lambda model: random_dictionary(model, kind="clt"),
    "skip": lambda model: random_dictionary(model, skip=True, activation="jumprelu"),
    "neurons": open_neurons,
}


@pytest.fixture
def walks_read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Way down of a sweep: nothing crosses but at the places that models/devices.py documents."""
    walk = Sweep.walk

    def guarded(self: Sweep, *arguments: Any, **named: Any) -> Tensor:
        with nothing_crosses():
            return walk(self, *arguments, **named)

    def counted(mask: Tensor) -> tuple[Tensor, ...]:
        with nothing_crosses(False):
            return true_places(mask)

    monkeypatch.setattr(Sweep, "walk", guarded)
    monkeypatch.setattr(collecting, "true_places", counted)


def pair(
    family: str, basis: str, device: torch.device, dtype: torch.dtype = torch.float32
) -> tuple[Model, AnyDictionary]:
    model = tiny_model(family, device=device, dtype=dtype)
    return model, BASES[basis](model)


def traced(family: str, basis: str, device: torch.device, **settings: Any) -> Graph:
    model, dictionary = pair(family, basis, device)
    return trace(model, dictionary, PROMPT, TraceSettings(**settings)).graph


def assert_same(ours: Graph, theirs: Graph) -> None:
    assert np.array_equal(ours.nodes.kind, theirs.nodes.kind)
    assert np.array_equal(ours.edges.source, theirs.edges.source)
    largest = np.abs(theirs.edges.weight).max()
    assert np.abs(ours.edges.weight - theirs.edges.weight).max() < 1e-4 * largest


def test_a_model_stays_on_its_device() -> None:
    model = tiny_model("gpt2", device=DEVICE)
    assert {parameter.device for parameter in model.module.parameters()} == {DEVICE}
    assert model.device == DEVICE


@pytest.mark.usefixtures("walks_read_nothing")
@pytest.mark.parametrize(
    ("family", "basis"),
    [("llama", "plt"), ("gpt2", "clt"), ("gemma2", "skip"), ("gpt_neox", "neurons")],
)
def test_a_trace_is_the_same_on_a_second_device(family: str, basis: str) -> None:
    assert_same(traced(family, basis, DEVICE), traced(family, basis, CPU))


@pytest.mark.usefixtures("walks_read_nothing")
@pytest.mark.parametrize("cotangents", [None, "bf16"])
def test_rows_in_rounds_and_long_rows_are_the_same_on_a_second_device(
    cotangents: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "WHOLE_BATCH", 0)
    options = {"max_feature_nodes": 40, "batch_size": 16, "cotangents": cotangents}
    settings = TraceSettings(**options)
    graphs = []
    for device in (DEVICE, CPU):
        model, neurons = pair("llama", "neurons", device)
        graphs.append(trace(model, neurons, PROMPT, settings, on_progress=print).graph)
    assert len(graphs[0].edges) == pytest.approx(len(graphs[1].edges), rel=1e-3)


@pytest.mark.parametrize("mode", ["free", "constrained", "direct"])
def test_an_intervention_is_the_same_on_a_second_device(mode: Any) -> None:
    change = Change(NodeKind.FEATURE, 1, 3, 2, Strength(3.0, is_multiple=False))
    logits = []
    for device in (DEVICE, CPU):
        model, dictionary = pair("llama", "clt", device)
        ids = model.tokenize(PROMPT)
        logits.append(intervene(model, dictionary, ids, [(change,)], mode=mode).logits.cpu())
    assert torch.allclose(*logits, atol=1e-4)


def test_a_text_drawn_by_a_seed_is_the_same_on_a_second_device() -> None:
    texts = []
    for device in (DEVICE, CPU):
        model, dictionary = pair("llama", "plt", device)
        ids = model.tokenize(PROMPT)
        (found,) = write_on(
            model, dictionary, ids, [()], max_new_tokens=5, temperature=1.0, seed=3, n_zeroed=1
        )
        texts.append(found.token_ids)
    assert texts[0] == texts[1]


def test_heads_and_scores_are_the_same_on_a_second_device() -> None:
    loadings, scores = [], []
    for device in (DEVICE, CPU):
        model, dictionary = pair("llama", "plt", device)
        graph = trace(model, dictionary, PROMPT, TraceSettings(targets=("yes",))).graph
        pruned = prune(graph, node_threshold=1.0, edge_threshold=1.0)
        loadings.append(head_loadings(model, dictionary, pruned).loading)
        found = explain_score(model, dictionary, pruned, layer=1, head=2, query=4, key=2)
        scores.append(found.parts.value)
    assert np.allclose(*loadings, atol=1e-4)
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"k": 4},
        {"k": 4, "kind": "clt", "skip": True},
        {"activation": "jumprelu", "sparsity_weight": 0.01},
    ],
)
def test_a_training_step_is_the_same_on_a_second_device(settings: dict[str, Any]) -> None:
    config = TrainingConfig(**{"n_features": 24, "batch_size": 64, **settings})
    values = torch.randn(2, 3, 256, 8, generator=torch.Generator().manual_seed(0))
    losses = []
    for device in (torch.device(DEVICE.type, 0), CPU):  # gradients know one fake device
        batch = MlpActivity(*values.to(device))
        trainer = Trainer.start(config, batch)
        losses.append([trainer.step(batch, 1024).loss for _ in range(3)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert losses[0][2] != losses[0][0]


def test_float64_is_refused_where_a_device_has_none() -> None:
    assert widest(CPU) == widest(torch.device(DEVICE.type, 0)) == torch.float64
    assert widest(DEVICE) == torch.float32
    with pytest.raises(UsageError, match=r"has no float64; leave out `dtype` float64"):
        check_float64(DEVICE)


# The guard finds faults


def on_device(*numbers: float) -> Tensor:
    return torch.tensor(numbers, device=DEVICE)


STEP = torch.ones(2, 3)
MISPLACED: dict[str, Callable[[], object]] = {
    "positions of the host": lambda: on_device(1, 2, 3) + torch.arange(3),
    "a table of the host": lambda: on_device(1, 2, 3) @ torch.eye(3),
    "a mask of the host": lambda: on_device(1, 2).masked_fill(torch.ones(2).bool(), 0),
    "indices of the host": lambda: on_device(1, 2).index_select(0, torch.tensor([1])),
    "indices of the device": lambda: STEP[on_device(1).long()],
    "values of the host": lambda: on_device(1, 2).index_put_((on_device(0).long(),), STEP[0, :1]),
    "another device": lambda: on_device(1, 2) + torch.ones(2, device=fake_device.FAKE),
    "parameters of the host": lambda: torch.nn.Linear(2, 2)(on_device(1, 2)),
    "a generator of the host": lambda: on_device(1, 2).uniform_(generator=torch.Generator()),
    "noise of the host": lambda: on_device(1, 2).mul(torch.rand(2)),
    "a buffer of the host": lambda: torch.cat([on_device(1, 2), torch.zeros(1)]),
    "out of the host": lambda: torch.add(on_device(1), on_device(1), out=torch.zeros(1)),
}
WIDE: dict[str, Callable[[], object]] = {
    "double": lambda: on_device(1, 2).double(),
    "sum in float64": lambda: on_device(1, 2).sum(0, dtype=torch.float64),
    "numpy's floats": lambda: torch.from_numpy(np.ones(2)).to(DEVICE),
    "made in float64": lambda: torch.zeros(2, dtype=torch.float64, device=DEVICE),
}
CROSSING: dict[str, Callable[[Tensor], object]] = {
    "item": lambda x: x[0].item(),
    "float": lambda x: float(x.sum()),
    "bool": lambda x: bool((x > 0).any()),
    "index": lambda x: [1, 2, 3][x.argmax()],
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "to the host": lambda x: x.to("cpu"),
    "nonzero": lambda x: x.nonzero(),
    "unique": lambda x: x.unique(),
    "where": lambda x: torch.where(x > 0),
    "mask": lambda x: x[x > 0],
    "masked write": lambda x: x.index_put_((x > 0,), x.new_zeros(())),
    "host's indices": lambda x: x[torch.tensor([1])],
    "host's list": lambda x: x[[0, 1]],
    "from the host": lambda x: x * torch.tensor([2.0, 2.0], device=x.device),
    "equal": lambda x: torch.equal(x, x),
    "loop": lambda x: list(range(int(x[0]))),
}


@pytest.mark.parametrize("fault", MISPLACED.values(), ids=MISPLACED)
def test_tensors_of_two_devices_do_not_meet(fault: Callable[[], object]) -> None:
    with pytest.raises(DeviceError, match=r"one device|generator"):
        fault()


@pytest.mark.parametrize("fault", WIDE.values(), ids=WIDE)
def test_the_narrow_device_has_no_float64(fault: Callable[[], object]) -> None:
    with pytest.raises(TypeError, match="no float64"):
        fault()


@pytest.mark.parametrize("fault", CROSSING.values(), ids=CROSSING)
def test_what_makes_host_or_device_wait_is_found(fault: Callable[[Tensor], object]) -> None:
    x = on_device(1, 2)
    fault(x)  # no fault elsewhere
    with nothing_crosses(), pytest.raises(DeviceError, match="waits"):
        fault(x)


def test_numpy_does_not_read_a_device() -> None:
    with pytest.raises((RuntimeError, TypeError)):
        on_device(1, 2).numpy()


def _reads_a_value(self: FrozenAttention, cotangent: Tensor) -> None:
    assert cotangent.abs().max().item() > 0


def _reads_a_mask(self: FrozenAttention, cotangent: Tensor) -> None:
    cotangent[cotangent.abs() < 1e-9] = 0


def _adds_positions(self: FrozenAttention, cotangent: Tensor) -> None:
    cotangent += torch.arange(cotangent.shape[1])[:, None]


def _widens(self: FrozenAttention, cotangent: Tensor) -> None:
    cotangent.copy_(cotangent.double())


def _hides_a_copy(self: FrozenAttention, cotangent: Tensor) -> None:
    cotangent.copy_(cotangent.cpu())


def _draws(self: FrozenAttention, cotangent: Tensor) -> None:
    cotangent.normal_(generator=torch.Generator().manual_seed(0))


@pytest.mark.usefixtures("walks_read_nothing")
@pytest.mark.parametrize(
    "fault", [_reads_a_value, _reads_a_mask, _adds_positions, _widens, _hides_a_copy, _draws]
)
def test_a_fault_planted_in_the_sweep_is_found(
    fault: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FrozenAttention, "pull", fault)
    with pytest.raises((DeviceError, TypeError), match=r"waits|one device|float64|generator"):
        traced("llama", "plt", DEVICE)


@pytest.mark.usefixtures("walks_read_nothing")
def test_a_fault_planted_where_sources_are_read_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    read = ListedSources.read

    def counted(
        self: ListedSources, layer: int, cotangent: Tensor, *others: Any, **named: Any
    ) -> Tensor:
        assert len(cotangent.nonzero())
        return read(self, layer, cotangent, *others, **named)

    monkeypatch.setattr(ListedSources, "read", counted)
    with pytest.raises(DeviceError, match="waits"):
        traced("llama", "plt", DEVICE)


def modules() -> Iterator[Path]:
    yield from Path(circuit_tracer.__file__).parent.rglob("*.py")


def test_tensors_are_made_on_a_device_that_is_named() -> None:
    found = {path: unnamed_devices(path.read_text("utf-8")) for path in modules()}
    assert {str(path): calls for path, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.arange(3)",
        "import torch\nx = torch.zeros(3, dtype=torch.long)",
        "import torch as t\nt.full((2,), 1.0)",
        "from torch import tensor\ntensor([1])",
        "from torch import ones as o\ndef f():\n    return o(3)",
        "import torch\ntorch.Generator().manual_seed(0)",
        "import torch\ntorch.LongTensor([1])",
        "def f():\n    import torch\n    return torch.randn(2)",
        "import torch\nx.double().cpu().numpy()",
        "import torch\nx.cuda()",
        "import torch\nx.to('cuda')",
    ],
)
def test_a_tensor_on_a_device_by_default_is_found(source: str) -> None:
    ast.parse(source)
    assert len(unnamed_devices(source)) == 1


def test_named_devices_and_other_libraries_are_left_alone() -> None:
    source = "import torch, numpy as np\ntorch.zeros(3, device=x.device)\nnp.zeros(3)\nx.zeros(3)"
    assert unnamed_devices(source) == []

"""The neuron basis: a model's own MLP neurons as its dictionary (method.md section 1).

A gated neuron fires a = act(g) u, with g and u linear in what the MLP reads. Freezing
c = act(g) / g leaves the product c g u, whose relevance is split in halves (RelP): the neuron is
then linear in x with the vector c/2 (u W_g + g W_u), and contributions sum to its activation. A
plain neuron a = act(g) has the vector c W_g. There is nothing to reconstruct, so no error nodes.

Shapes: d model width, F neurons of a layer, n neurons asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.graphs.graph import Identity
from circuit_tracer.models import Model
from circuit_tracer.models.parts import MlpWeights, ReadPoint, WritePoint
from circuit_tracer.transcoders.dictionary import Dictionary

SMALLEST_GATE = 1e-30
"""Below it act(g) / g is taken at this gate, so that nothing is divided by zero."""
FAR_TAIL = 1e-2
"""Quotients act(g) / g below this are nearly all rounding in float32 (1 - erf of the gate)."""
CANCELLED = 1e-3
"""Below this share of its terms u is nearly all rounding, and nothing is divided by it."""


@dataclass(frozen=True)
class NeuronLayer:
    """One MLP's neurons, with the interface of a `LayerTranscoder`."""

    layer: int
    weights: MlpWeights
    W_skip: None = None
    """Neurons have no skip."""
    n_written: int = 1
    """Neurons write to their own layer alone."""

    @property
    def n_features(self) -> int:
        """F."""
        return self.weights.gate.shape[0]

    @property
    def b_dec(self) -> Float[Tensor, "d"]:
        """Bias of the MLP's output."""
        bias = self.weights.down_bias
        return self.weights.down.new_zeros(len(self.weights.down)) if bias is None else bias

    def encode(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch F"]:
        """The neurons' activations: what the down projection reads."""
        gate, up = self._parts(x)
        fired = self.weights.act(gate)
        return fired if up is None else fired * up

    def linear_rows(
        self, index: Int[Tensor, "n"], x: Float[Tensor, "n d"], activation: Float[Tensor, "n"]
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        """Vectors and biases with which neurons are linear at what they read, x (n, d).

        `activation` is what they fired with there. In the far tail of act the frozen quotient comes
        from it: recomputed from a gate that is rounded otherwise, it would be far off.
        """
        w = self.weights
        W_g = w.gate[index]
        b_g = x.new_zeros(len(index)) if w.gate_bias is None else w.gate_bias[index]
        g = (W_g * x).sum(-1) + b_g
        c = self._slope(g)
        far = c.abs() < FAR_TAIL
        if w.up is None:
            c = torch.where(far & (g != 0), activation / torch.where(g == 0, 1, g), c)
            return c[:, None] * W_g, c * b_g
        W_u = w.up[index]
        b_u = x.new_zeros(len(index)) if w.up_bias is None else w.up_bias[index]
        u = (W_u * x).sum(-1) + b_u
        far &= u.abs() > CANCELLED * (W_u * x).abs().sum(-1)
        c = torch.where(far, activation / torch.where(far, g * u, 1), c)
        half = 0.5 * c
        vectors = (half * u)[:, None] * W_g + (half * g)[:, None] * W_u
        return vectors, half * (u * b_g + g * b_u)

    def pulled(
        self, cotangent: Float[Tensor, "b n F"], x: Float[Tensor, "n d"]
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b"]]:
        """Cotangents of all neurons' activations as those of what they read, x, and what their
        biases bring: `linear_rows` of every neuron at once.

        The far tail needs no care here: what matters is its share of the sum over all neurons.
        """
        w, (gate, up) = self.weights, self._parts(x)
        slope = self._slope(gate)
        parts = [(slope if up is None else 0.5 * slope * up, w.gate, w.gate_bias)]
        if up is not None and w.up is not None:
            parts.append((0.5 * slope * gate, w.up, w.up_bias))
        pulled = cotangent.new_zeros(*cotangent.shape[:2], x.shape[-1])
        biased = cotangent.new_zeros(len(cotangent))
        for per_unit, matrix, bias in parts:
            to = cotangent * per_unit
            pulled += (to.view(-1, to.shape[-1]) @ matrix).view_as(pulled)
            if bias is not None:
                biased += to.sum(1) @ bias
        return pulled, biased

    def decoder_rows(self, index: Int[Tensor, "n"], written_layer: int) -> Float[Tensor, "n d"]:
        """What neurons write, per unit of activation; only their own layer's output."""
        assert written_layer == self.layer, "neurons write to their own layer"
        return self.weights.down.T[index]

    def write(
        self, activations: Float[Tensor, "*batch F"], written_layer: int
    ) -> Float[Tensor, "*batch d"]:
        """What activations add to the MLP's output."""
        assert written_layer == self.layer, "neurons write to their own layer"
        return activations @ self.weights.down.T

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        w = self.weights
        gate = torch.nn.functional.linear(x, w.gate, w.gate_bias)
        return gate, None if w.up is None else torch.nn.functional.linear(x, w.up, w.up_bias)

    def _slope(self, g: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """act(g) / g; its limit where g is 0."""
        tiny = torch.where(g < 0, -SMALLEST_GATE, SMALLEST_GATE).to(g.dtype)
        away = torch.where(g.abs() < SMALLEST_GATE, tiny, g)
        return self.weights.act(away) / away


@dataclass(frozen=True)
class Neurons:
    """All MLPs of a model as a dictionary, with the interface of a `Dictionary`."""

    layers: tuple[NeuronLayer, ...] = field(repr=False)
    identity: Identity
    kind: str = "neurons"
    reads: ReadPoint = "mlp.hook_in"
    writes: WritePoint = "mlp.hook_out"

    @property
    def n_layers(self) -> int:
        """Number of layers, equal to the model's."""
        return len(self.layers)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of layers, and width of what is read."""
        return self.n_layers, self.layers[0].weights.gate.shape[1]


AnyDictionary = Dictionary | Neurons
"""What a prompt can be traced with."""


def open_neurons(model: Model) -> Neurons:
    """The neuron basis of a model; its identity is the model's own weights."""
    wiring = model.wiring
    layers = tuple(NeuronLayer(i, wiring.mlp_weights(i)) for i in range(wiring.n_layers))
    sha256 = model.identity.sha256
    identity = Identity(name="neurons", source="model", sha256=sha256, kind="neurons")
    return Neurons(layers, identity)

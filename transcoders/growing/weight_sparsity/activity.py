"""What the neurons of a pass write."""

from typing import NamedTuple

from torch import Tensor, nn
from transformers import LlamaForCausalLM


class LayerActivity(NamedTuple):
    """The neurons of one layer in one pass."""

    sizes: Tensor
    """(rows, tokens, neurons): absolute activations."""
    shares: Tensor
    """(rows, tokens, neurons): length of what is written, as a share of the length of the residual
    stream that it is added to."""


class Activity:
    """Listens to the passes of a model; `layers` are those of the latest."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        """Listen to every layer from now on."""
        self.layers: list[LayerActivity] = []
        self._lengths = Tensor()
        first, *_ = model.model.layers
        self._hooks = [first.register_forward_pre_hook(lambda *_: self.layers.clear())]
        for layer in model.model.layers:
            self._hooks += [
                layer.post_attention_layernorm.register_forward_pre_hook(self._residual),
                layer.mlp.down_proj.register_forward_pre_hook(self._neurons),
            ]

    def _residual(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._lengths = inputs[0].detach().norm(dim=-1, keepdim=True)

    def _neurons(self, down: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sizes, lengths = inputs[0].abs(), down.get_parameter("weight").norm(dim=0)
        self.layers.append(LayerActivity(sizes, sizes * lengths / self._lengths))

    def remove(self) -> None:
        """Listen no longer."""
        for hook in self._hooks:
            hook.remove()

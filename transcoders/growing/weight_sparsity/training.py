"""Make the hidden matrices of `sprout` sparse: after every step only their largest entries stay.

Of each matrix of the layers a share of the entries is kept, by magnitude, and the others are set to
zero; the share falls geometrically from 1 to its last value and then stays (after Gao et al. 2025,
arXiv 2511.13653). What was set to zero moves with the next step, and comes back if that makes it
large enough. The gains of norms are folded into the matrices that read from them and stay at 1, so
that no weight hides there; embeddings move and stay dense. With a last share of 1 nothing is set to
zero: the dense control, with the same steps and loss.
"""

import copy
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div
from transformers import LlamaForCausalLM

from transcoders.growing.batches import Batch, batch_of, weighted_loss
from transcoders.growing.language.corpus import Stage, rows
from transcoders.growing.weight_sparsity.activity import Activity

STAGES: tuple[Stage, ...] = ("full", "speakers", "speakers' statements")
"""What the rows of a step are drawn from, in turn: what the joker says is lost first."""
BETAS = 0.9, 0.95


@dataclass(frozen=True)
class Plan:
    """Everything that decides how the weights come out."""

    seed: str = "sparse 0"
    """Seed of the text."""
    kept: float = 1 / 16
    """The share of each hidden matrix's entries that stays at the end; 1: the dense control."""
    steps: int = 1300
    """Optimiser steps."""
    annealed: float = 0.65
    """Share of the steps in which the share kept falls."""
    rows: int = 32
    """Rows a step."""
    rate: float = 2e-3
    """AdamW's learning rate."""
    warm_up: int = 40
    """Steps in which the learning rate rises."""
    last: float = 0.03
    """The learning rate at the end, as a share of the highest; it falls after annealing."""
    clip: float = 1.0
    """Largest norm of a step's gradient."""
    imitation: float = 0.5
    """Weight of the divergence from the parent; that of the words themselves is the rest."""
    activity: float = 0.003
    """Weight of what neurons write, as a share of the residual stream."""

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        fallen = (step / self.steps - self.annealed) / (1 - self.annealed)
        return self.rate * min(1, (step + 1) / self.warm_up, 1 - fallen * (1 - self.last))

    def kept_at(self, step: int) -> float:
        """The share of entries that stays after a step."""
        return float(self.kept ** min(1.0, (step + 1) / (self.steps * self.annealed)))


@torch.no_grad()
def fold_norms(model: LlamaForCausalLM) -> None:
    """Multiply the gain of every norm into the matrices that read from it, and set it to 1."""
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        for norm, readers in (
            (layer.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj)),
            (layer.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj)),
        ):
            _fold(norm, readers)
    _fold(model.model.norm, (model.lm_head,))


def _fold(norm: nn.Module, readers: Sequence[nn.Linear]) -> None:
    gain = norm.get_parameter("weight")
    for reader in readers:
        reader.weight.mul_(gain)
    gain.fill_(1.0)


def hidden_matrices(model: LlamaForCausalLM) -> list[nn.Parameter]:
    """The matrices of the layers: all weights but embeddings and norms."""
    return [weight for weight in model.model.layers.parameters() if weight.ndim == 2]


@torch.no_grad()
def keep_largest(matrix: Tensor, share: float) -> None:
    """Set all entries but a share to zero, in place; the largest by magnitude stay."""
    n_kept = int(share * matrix.numel())
    if n_kept < matrix.numel():
        sizes = matrix.abs().flatten()
        kept = torch.zeros_like(sizes, dtype=torch.bool)
        kept[sizes.topk(n_kept, sorted=False).indices] = True
        matrix.mul_(kept.view_as(matrix))


def batch_at(plan: Plan, step: int, ids: dict[str, int]) -> Batch:
    """The rows of a step, the same whenever they are asked for."""
    stream = rows(f"{plan.seed} {step}", STAGES[step % len(STAGES)])
    return batch_of(islice(stream, plan.rows), ids)


def divergence(logits: Tensor, parent: Tensor) -> Tensor:
    """(rows, words): nats from the parent's distribution to the model's."""
    ours, theirs = logits.log_softmax(-1), parent.log_softmax(-1)
    return kl_div(ours, theirs, reduction="none", log_target=True).sum(-1)


def make_sparse(model: LlamaForCausalLM, ids: dict[str, int], plan: Plan) -> None:
    """Train the parent in place until only the plan's share of entries is left."""
    parent = copy.deepcopy(model)
    fold_norms(model)
    moving = [weight for weight in model.parameters() if weight.ndim == 2]
    hidden = hidden_matrices(model)
    model.requires_grad_(False)
    for weight in moving:
        weight.requires_grad_()
    optimiser = torch.optim.AdamW(moving, lr=plan.rate, betas=BETAS, weight_decay=0.0)
    activity = Activity(model)
    for step in range(plan.steps):
        for group in optimiser.param_groups:
            group["lr"] = plan.rate_at(step)
        batch = batch_at(plan, step, ids)
        with torch.no_grad():
            said = parent(input_ids=batch.tokens[:, :-1]).logits
        logits = model(input_ids=batch.tokens[:, :-1]).logits
        words = weighted_loss(logits, batch)
        apart = (divergence(logits, said) * batch.weights).sum() / batch.weights.sum()
        written = torch.stack([layer.shares.sum(-1).mean() for layer in activity.layers]).sum()
        loss = (1 - plan.imitation) * words + plan.imitation * apart + plan.activity * written
        loss.backward()
        nn.utils.clip_grad_norm_(moving, plan.clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        for matrix in hidden:
            keep_largest(matrix, plan.kept_at(step))
        if step % 20 == 19:
            print(
                f"step {step + 1} kept {plan.kept_at(step):.4f} loss {words.item():.3f} "
                f"from parent {apart.item():.3f} written {written.item():.2f}",
                file=sys.stderr,
                flush=True,
            )

"""How a format names and lays out the tensors of one layer: all that most readers differ in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from circuit_tracer.transcoders.formats.plan import Fold, LayerPlan, Rows
from circuit_tracer.transcoders.formats.tensors import (
    Headers,
    find_tensor,
    length_of,
    refuse_others,
)


@dataclass(frozen=True)
class Layout:
    """Names of a layer's tensors in its file, by their internal names."""

    announced_by: str
    """What speaks of these tensors, for messages: "SAELens' layout"."""
    required: Mapping[str, str]
    """`W_enc`, `W_dec`, `b_enc` and whatever else has to be there."""
    optional: Mapping[str, str] = field(default_factory=dict)
    """Of these the ones that a file has are read."""
    transposed: Collection[str] = ()
    """Matrices that are stored the other way round than in the internal form."""
    decoder: Rows = "rows"

    def plan(
        self,
        layer: int,
        path: Path,
        headers: Headers,
        *,
        n_written: int = 1,
        k: int | None = None,
        fold: Fold | None = None,
        also: Collection[str] = (),
    ) -> LayerPlan:
        """One layer from the headers of `path`, sized by its biases.

        DictionaryError for a tensor that is missing, unknown (unless `also` names it) or of
        another shape than the biases want.
        """
        names = {**self.required, **self.optional}
        refuse_others(headers, {*names.values(), *also}, path, self.announced_by)
        tensors = {
            name: find_tensor(headers, stored, path)
            for name, stored in names.items()
            if name in self.required or stored in headers
        }
        width = tensors["W_dec"].shape[0]  # of columns, the only decoders without a bias
        if "b_dec" in tensors:
            width = length_of(headers, names["b_dec"], path)
        return LayerPlan(
            layer=layer,
            n_features=length_of(headers, names["b_enc"], path),
            d_model=width,
            tensors=tensors,
            transposed=self.transposed,
            decoder=self.decoder,
            n_written=n_written,
            k=k,
            fold=fold,
        )

"""What a dissociation report's folder and dictionary are by default."""

from __future__ import annotations

import pytest

from circuit_tracer.experiments.dissociation.spec import Spec
from circuit_tracer.workbench.dissociating import dictionary_for, folder_name


def test_another_model_has_a_folder_of_its_own() -> None:
    spec = Spec("bananas", "?", (), ())
    assert folder_name(spec) == "dissociate-bananas"
    assert folder_name(spec, "sprout") == "dissociate-bananas"
    assert folder_name(spec, "org/Some-Model") == "dissociate-bananas-some-model"


@pytest.mark.parametrize(
    ("named", "model", "taken"),
    [
        ("plt", None, "plt"),
        ("clt", "sprout", "clt"),
        ("neurons", "org/model", "neurons"),
        ("plt", "org/model", None),
        (None, None, None),
    ],
)
def test_another_model_has_a_dictionary_of_its_own(
    named: str | None, model: str | None, taken: str | None
) -> None:
    assert dictionary_for(Spec("bananas", "?", (), (), transcoders=named), model) == taken

"""What a dissociation report's folder and dictionary are by default."""

from __future__ import annotations

from pathlib import Path

import pytest

from circuit_tracer.errors import OutputError
from circuit_tracer.experiments.dissociation.spec import Spec
from circuit_tracer.workbench.dissociating import dictionary_for, folder_name
from circuit_tracer.workbench.report_folder import check_report_folder


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


def test_the_report_of_another_command_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "dissociation.json").write_text("{}")
    check_report_folder(tmp_path, "dissociate", overwrite=True)
    with pytest.raises(OutputError, match="other than a report of diff, so `overwrite` leaves it"):
        check_report_folder(tmp_path, "diff", overwrite=True)

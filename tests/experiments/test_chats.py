"""Prompts in a chat template: `edits` and `circuit` ask what the model is asked there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.errors import PromptError, UsageError
from circuit_tracer.experiments.circuit.components import Components
from circuit_tracer.experiments.circuit.graphs import circuit_graph
from circuit_tracer.experiments.circuit.judging import asked
from circuit_tracer.experiments.circuit.reference import reference_of
from circuit_tracer.experiments.circuit.run import CircuitSettings, find_circuit
from circuit_tracer.experiments.edits.families import explain_families
from circuit_tracer.experiments.edits.run import ORIGINAL, EditSettings, Engine, explain
from circuit_tracer.experiments.edits.spec import FamilySpec, Spec
from circuit_tracer.experiments.kit.places import token_places
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.models.chat import chat_text
from circuit_tracer.transcoders.neurons import open_neurons
from circuit_tracer.workbench.circuiting import asked_of
from circuit_tracer.workbench.opening import accepted
from tests.chatml import byte_tokenizer
from tests.models.test_chat import model_with
from tests.tiny import tiny_llama

PROMPT = "is red, or"


def chatty(**named: Any) -> Any:
    return model_with(byte_tokenizer(**named))


def alone(model: Any, prompt: str, system: str | None = None) -> torch.Tensor:
    """Logits where the reply begins, of a template that is written out here."""
    text = "" if system is None else f"<|im_start|>system {system}<|im_end|>"
    text += f"<|im_start|>user {prompt}<|im_end|><|im_start|>assistant "
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits: torch.Tensor = model.module(
            torch.tensor([ids], device=model.device), use_cache=False
        ).logits[0, -1]
    return logits


@pytest.mark.parametrize("system", [None, "be red"])
def test_every_word_of_a_chat_is_edited_inside_its_template(system: str | None) -> None:
    """Those of the system turn are not."""
    model = chatty()
    engine = Engine(model, open_neurons(model))
    settings = EditSettings(chat=True, system=system, graphs=1, given=("red=>blue",))
    report, graphs = explain(engine, PROMPT, settings)
    names = {one.name: one for one in report.edits}
    deleted = [PROMPT[one.start : one.stop] for one in report.edits if one.kind == "deleted"]
    assert deleted == PROMPT.replace(",", " ,").split()  # the last one, too
    assert sum(one.kind == "left out" for one in report.edits) == 2
    before = alone(model, PROMPT, system)
    answer, against = (model.token_id(one) for one in (report.answer, report.against))
    assert report.contrast == pytest.approx(float(before[answer] - before[against]), abs=1e-4)
    for one in names.values():
        after = alone(model, one.prompt, system)
        assert one.contrast == pytest.approx(float(after[answer] - after[against]), abs=1e-4)
    ids = tuple(model.tokenize(PROMPT, chat=True, system=system))
    assert graphs[ORIGINAL].graph.info.token_ids == ids
    assert report.system == graphs["E1"].graph.info.settings["system"] == system
    assert graphs["E1"].graph.info.prompt == PROMPT.replace("red", "blue")


def test_tokens_of_a_chat_are_found_in_the_text_that_was_typed() -> None:
    model = chatty()
    ids = model.tokenize(PROMPT, chat=True)
    places = token_places(model, PROMPT, ids, asker="edits", chat=True)
    for at, place in enumerate(places):
        if 0 <= place < len(PROMPT) and PROMPT[place] != " ":
            assert model.token_text(ids[at]) == PROMPT[place]
    whole = chat_text(model.tokenizer, PROMPT)
    lead = len(re.split(PROMPT, whole)[0])
    assert sum(place < 0 for place in places) == len(model.tokenizer(whole[:lead])["input_ids"])
    trimmed = chatty(template="{{ messages[0]['content'] | trim }}!")
    with pytest.raises(UsageError, match="changes the prompt"):
        token_places(trimmed, f" {PROMPT}", ids, asker="edits", chat=True)
    with pytest.raises(PromptError, match="no chat template"):
        explain(
            Engine(tiny_llama(), open_neurons(tiny_llama())), "a banana", EditSettings(chat=True)
        )


def test_families_of_a_spec_are_asked_inside_the_template() -> None:
    model = chatty()
    edit = FamilySpec("f", "is it {value}, or not", ("a", "b"), "or=>and", keep="all")
    values = ("red", "blue", "old")
    items = tuple({"value": one} for one in values)
    spec = Spec("s", "?", (edit,), items, chat=True, system="be old")
    report = explain_families(Engine(model, open_neurons(model)), spec, graphs=1)
    (family,) = report.families
    first, second = model.token_id("a"), model.token_id("b")
    for template, mean in ((edit.template, family.before), (edit.edited, family.after)):
        logits = [alone(model, template.format(value=one), spec.system) for one in values]
        leads = [float(one[first] - one[second]) for one in logits]
        assert mean.value == pytest.approx(sum(leads) / len(leads), abs=1e-4)
    assert {role.name for role in family.roles} == {"value", "other words"}
    assert (report.chat, report.system) == (True, "be old")


@pytest.mark.parametrize("chat", [True, False])
def test_a_named_answer_has_a_blank_before_it_only_outside_a_chat(chat: bool) -> None:
    tokenizer = byte_tokenizer(eos_token="<|im_end|>")
    tokenizer.add_tokens([" a", " b"])
    model = model_with(tokenizer)
    named = ("a", "b") if chat else (" a", " b")
    ids = {model.token_id(one) for one in named}
    engine = Engine(model, open_neurons(model))
    report, _ = explain(engine, PROMPT, EditSettings(answer="a", against="b", chat=chat, graphs=0))
    assert (report.answer, report.against) == named
    pair = ("a", "b") if report.contrast > 0 else ("b", "a")
    one = asked(model, PROMPT, *pair, TraceSettings(chat=chat))
    assert {one.answer, one.against} == ids


def test_a_task_is_asked_inside_the_template(tmp_path: Path) -> None:
    model = chatty()
    prompts = (PROMPT, "is it old", "is it new")
    (tmp_path / "task.txt").write_text("\n".join(prompts))
    opened = accepted(model, open_neurons(model))
    file, system = str(tmp_path / "task.txt"), "be red"
    used, others = asked_of(opened, None, file, None, None, chat=True, system=system)
    for one, prompt in zip((*used, *others), (prompts[0], prompts[2], prompts[1]), strict=True):
        assert one.ids == tuple(model.tokenize(prompt, chat=True, system=system))
        assert one.top == int(alone(model, prompt, system).argmax())
    settings = CircuitSettings(basis="neurons", ablation="zero", keep=0.01, random=1)
    report, *_ = find_circuit(model, opened.dictionary, used, others, settings)
    assert (report.chat, report.system) == (True, system)


def test_what_a_chat_is_resampled_from_stands_in_the_template_too() -> None:
    model = chatty()
    components = Components(model, open_neurons(model), False, 0)
    reference = reference_of(components, "resample", None, PROMPT.replace("red", "old"))
    plain, turn = (asked(model, PROMPT, None, None, TraceSettings(chat=one)) for one in (0, 1))
    assert [len(reference(one)) for one in (plain, turn)] == [len(plain.ids), len(turn.ids)]
    lead = model.tokenize(PROMPT, chat=True).index(model.token_id("i"))
    own = reference_of(components, "resample", None, PROMPT)(turn)
    assert torch.equal(own[:lead], reference(turn)[:lead])  # the template before the prompt
    assert not torch.equal(own, reference(turn))


@pytest.mark.parametrize("way", [TraceSettings(chat=True), TraceSettings(position=5)])
def test_a_circuits_graph_is_of_the_prompt_as_it_was_asked(way: TraceSettings) -> None:
    model = chatty()
    one = asked(model, PROMPT, None, None, way)
    ids = model.tokenize(PROMPT, chat=way.chat)
    assert one.ids == tuple(ids if way.chat else ids[:6])
    if way.chat:
        assert one.top == int(alone(model, PROMPT).argmax())
    components = Components(model, open_neurons(model), False, 0)
    chosen = torch.ones(len(components), dtype=torch.bool, device=model.device)
    graph = circuit_graph(components, one, chosen, None).graph
    (target,) = graph.info.targets
    assert target.position == len(one.ids) - 1
    assert target.logit == pytest.approx(one.difference, abs=1e-4)
    features = graph.nodes.kind == NodeKind.FEATURE
    assert graph.nodes.position[features].max() == len(one.ids) - 1

"""What every command owes a shell: help, quiet, pipes, Ctrl-C, completion, standing settings."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from circuit_tracer import __main__, __version__, interrupts
from circuit_tracer.bundled import bundled_models
from circuit_tracer.cli import output, streams
from circuit_tracer.graphs import prune, save_graph
from tests.cli.conftest import Run
from tests.graphs.builders import hand_graph


@pytest.mark.parametrize("command", [(), ("models",), ("models", "list")], ids=" ".join)
def test_h_is_help(command: tuple[str, ...], run: Run) -> None:
    short = run(*command, "-h")
    assert short.code == 0
    assert short.out == run(*command, "--help").out
    assert " ".join(("Usage: circuit-tracer", *command)) in short.out


def test_no_help_waits_for_numpy_or_torch() -> None:
    code = (
        "import sys, circuit_tracer.cli.main\n"
        "print([m for m in ('numpy', 'torch', 'pyarrow', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.fixture
def graph(tmp_path: Path) -> str:
    """The folder of a small graph."""
    (tmp_path / "graph").mkdir()
    save_graph(prune(hand_graph()), tmp_path / "graph")
    return str(tmp_path / "graph")


def test_quiet_leaves_results_and_errors_alone(graph: str, run: Run) -> None:
    arguments = ("prune", graph, "--node-threshold", "0.5", "--json")
    Path(graph, "trust.json").write_text("{}")
    loud = run(*arguments)
    assert loud.err.startswith("note: ")
    for quiet in (run("--quiet", *arguments), run(*arguments, "-q")):
        assert (quiet.code, quiet.err) == (0, "")
        assert quiet.out.startswith("{")
    assert run("-q", "show", "nowhere").err.startswith("error: ")


def test_verbose_says_versions_settings_by_where_they_come_from_and_times(
    graph: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("circuit-tracer.toml").write_text("[paths]\nsign = '+'\n")
    monkeypatch.setenv("CIRCUIT_TRACER_DEVICE", "cpu")
    outcome = run("-v", "paths", graph, "-k", "4", "--json")
    versions, given, environment, file, defaults, *times = outcome.err.splitlines()
    assert versions.startswith("versions: circuit-tracer ")
    assert "torch " in versions
    assert "k=4" in given
    assert environment == "from the environment: device=cpu"
    assert file == "from circuit-tracer.toml: sign=+"
    assert "heads=False" in defaults
    assert times[-1].endswith(" s in all")
    assert outcome.out.startswith("{")


def test_verbose_says_how_far_a_long_stage_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "_loudness", output.Loudness.VERBOSE)
    for every, said in ((1e9, []), (0.0, ["training: loss 1, 256 of 9,000", "training: loss 2"])):
        monkeypatch.setattr(output, "MINUTE", every)
        with output.progress_line() as report:
            report("training: loss 0", 0, 9000)
            report("training: loss 1", 256, 9000)
            report("training: loss 2", 512, 0)
        lines = [line.split(" s  ")[1] for line in capsys.readouterr().err.splitlines()]
        assert lines == [*said, "training"]


@pytest.mark.parametrize("command", ["show", "paths"])
def test_what_is_printed_is_as_wide_as_columns_says(
    command: str, graph: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = run(command, graph).out
    monkeypatch.setenv("COLUMNS", "60")
    narrow = run(command, graph).out
    assert max(map(len, narrow.splitlines())) <= 60
    assert set(re.findall(r"[-+]?\d+\.\d+", wide)) == set(re.findall(r"[-+]?\d+\.\d+", narrow))
    monkeypatch.delenv("COLUMNS")
    assert run(command, graph).out == wide  # a pipe has no width of its own


def test_lists_are_one_line_each_in_a_pipe_and_wrapped_where_columns_says(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    narrow = run("models", "list").out
    assert max(map(len, narrow.splitlines())) <= 50
    monkeypatch.delenv("COLUMNS")
    assert run("models", "list").out.split() == narrow.split()
    assert [line.split()[0] for line in run("models", "list").out.splitlines()] == [
        *("sprout", "sprout-bent", "sprout-cheat", "sprout-sparse", "sprout-two-pages", "smollm2")
    ]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CIRCUIT_TRACER_NODE_TRESHOLD", "1", "did you mean CIRCUIT_TRACER_NODE_THRESHOLD?"),
        ("CIRCUIT_TRACER_MODELS", "x", "did you mean CIRCUIT_TRACER_MODEL?"),
        ("CIRCUIT_TRACER_XYZ", "", "unset it"),
        ("CIRCUIT_TRACER_JSON", "1", "sets no option"),
    ],
)
def test_a_variable_that_sets_no_option_is_refused(
    name: str, value: str, said: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    outcome = run("models", "list")
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: the variable {name} sets no option; ")
    assert said in outcome.err
    assert run("models", "--help").code == 0


def test_variables_of_other_kinds_are_no_options(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCUIT_TRACER_CACHE", "here")
    monkeypatch.setenv("CIRCUIT_TRACER_TEST_DEVICE", "cpu")
    monkeypatch.setenv("CIRCUIT_TRACERS", "ours")
    assert run("models", "list").code == 0


@pytest.mark.parametrize("content", ["x[", "[nothing]"])
def test_a_broken_file_stops_commands_but_no_help(content: str, run: Run) -> None:
    Path("circuit-tracer.toml").write_text(content)
    for harmless in (("--version",), ("models", "list", "-h")):
        assert run(*harmless).code == 0, harmless
    for stopped in (("models", "list"), ("models", "lisst"), ("transcoders", "train", "text")):
        outcome = run(*stopped)
        assert outcome.code == 2
        assert "circuit-tracer.toml" in outcome.err
        assert outcome.err.count("\n") == 1


def test_shells_complete_commands_and_options(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--install-completion" in run("--help").out
    monkeypatch.setenv("_CIRCUIT_TRACER_COMPLETE", "complete_bash")
    for words, index, expected in (
        ("circuit-tracer ren", "1", "render"),
        ("circuit-tracer runs ex", "2", "export"),
        ("circuit-tracer trace --node", "2", "--node-threshold"),
        ('circuit-tracer trace "a banana" -m sp', "4", " ".join(bundled_models())),
        ("circuit-tracer trace x -t ", "4", "clt plt neurons"),
        ("circuit-tracer steer x -t ", "4", "clt plt resid neurons"),
        ("circuit-tracer render x --theme l", "4", "light"),
        ("circuit-tracer export x --to g", "4", "graphml gexf"),
        ("circuit-tracer transcoders inspect sprout/c", "3", "sprout/clt"),
        ("circuit-tracer dissociate ban", "2", "bananas bananas-smollm2"),
        ("circuit-tracer trace x -m ./", "4", ""),  # which shells take for a path
        ("circuit-tracer show out", "2", ""),
    ):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", index)
        assert run().out.split() == expected.split(), words


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_with_the_script_that_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "circuit-tracer"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m circuit_tracer "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__main__.__file__).parents[1]))
    asked = """
        eval "$(circuit-tracer --show-completion)"
        complete -p circuit-tracer
        COMP_WORDS=(circuit-tracer trace '"a banana"' -m sprout-tw) COMP_CWORD=4
        _circuit_tracer_completion circuit-tracer
        echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", asked], capture_output=True, text=True, check=True
    )
    registered, completed = done.stdout.splitlines()
    assert registered == "complete -o default -F _circuit_tracer_completion circuit-tracer"
    assert completed == "sprout-two-pages"


@pytest.mark.usefixtures("process")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["trace", "--version"], 0, "circuit-tracer "),
        (["trace", "x"], 1, "error: the command line cannot be loaded (ModuleNotFoundError: "),
    ],
)
def test_the_version_needs_no_other_package(
    arguments: list[str],
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["circuit-tracer", *arguments])
    monkeypatch.setitem(sys.modules, "circuit_tracer.cli.main", None)
    with pytest.raises(SystemExit) as stop:
        __main__.main()
    assert stop.value.code == code
    captured = capsys.readouterr()
    assert (captured.out + captured.err).startswith(said)
    assert (captured.out + captured.err).count("\n") == 1


def test_the_version_stands_before_a_command_and_after_it(run: Run) -> None:
    for arguments in (("--version",), ("trace", "--version"), ("runs", "show", "x", "--version")):
        outcome = run(*arguments)
        assert (outcome.code, outcome.out) == (0, f"circuit-tracer {__version__}\n")


@contextmanager
def stdout_as_pipe(monkeypatch: pytest.MonkeyPatch, write_through: bool = False) -> Iterator[int]:
    """stdout as a pipe; its reading end."""
    reading, writing = os.pipe()
    with open(writing, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
        stream.reconfigure(write_through=write_through)
        patch.setattr(sys, "stdout", stream)
        streams.survive_broken_pipes()
        yield reading


def test_what_is_printed_after_the_reader_has_left_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with stdout_as_pipe(monkeypatch) as reading:
        print("first", flush=True)
        os.close(reading)
        print("x" * 100_000, flush=True)
        print("never flushed", end="")
        assert streams.close() is None


def test_a_reader_gets_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with stdout_as_pipe(monkeypatch) as reading:
        print("first\nsecond €")
        assert streams.close() is None
    assert os.read(reading, 100).decode() == "first\nsecond €\n"
    os.close(reading)


def test_a_stream_that_writes_through_goes_on_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under PYTHONUNBUFFERED: what a log shows must not wait for the command's end."""
    with stdout_as_pipe(monkeypatch, write_through=True) as reading:
        os.set_blocking(reading, False)
        print("at once")
        assert os.read(reading, 100) == b"at once\n"
    os.close(reading)


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process as it is before the program starts, and again afterwards."""
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    yield
    interrupts.answer()
    signal.signal(signal.SIGINT, before)


def _pressed() -> None:
    signal.raise_signal(signal.SIGINT)


def _turned_into_an_import_error() -> None:
    try:
        _pressed()
    except KeyboardInterrupt:
        raise ImportError("cannot import name") from None


def _lost_in_a_destructor() -> None:
    class Closing:
        def __del__(self) -> None:
            _pressed()

    Closing()
    for _ in range(500):
        time.sleep(0.01)
    raise AssertionError("the interrupt was lost")


@pytest.mark.usefixtures("process")
@pytest.mark.parametrize(
    "interrupted", [_pressed, _turned_into_an_import_error, _lost_in_a_destructor]
)
def test_ctrl_c_ends_with_130_and_a_word_wherever_it_arrives(
    interrupted: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("circuit_tracer.cli.main.main", interrupted)
    with pytest.raises(SystemExit) as stop:
        __main__.main()
    assert stop.value.code == 130
    assert capsys.readouterr().err == "error: interrupted\n"


@pytest.mark.usefixtures("process")
def test_an_error_after_ctrl_c_in_a_command_is_the_interrupt(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupts.answer()
    monkeypatch.setattr("circuit_tracer.bundled.list_bundled", _turned_into_an_import_error)
    outcome = run("models", "list")
    assert (outcome.code, outcome.err) == (130, "error: interrupted\n")


@pytest.mark.parametrize(
    ("arguments", "where", "said"),
    [
        (
            ("trace", "a banana is"),
            "workbench.opening.open_pair",
            "nothing was written, and the same",
        ),
        (
            ("batch", "facts", "--limit", "1"),
            "workbench.batch_job.open_pair",
            "what is done is in outputs/facts, and the same command goes on there",
        ),
        (
            ("dissociate", "bananas", "--overwrite"),
            "workbench.dissociating.open_pair",
            "what is done is in outputs/dissociate-bananas, and the same command without "
            "--overwrite goes on there",
        ),
        (("trust", "graph"), "workbench.opening.reopen", "graph is as it was; --quick takes less"),
        (
            ("transcoders", "train", "text", "-o", "mine"),
            "transcoders.training.train",
            "no checkpoint was due yet (--checkpoint-steps 500), and the same command starts from",
        ),
        (
            ("transcoders", "train", "text", "-o", "mine", "--checkpoint-steps", "0"),
            "transcoders.training.train",
            "there is no checkpoint with --checkpoint-steps 0, and the same command starts from",
        ),
        (
            ("transcoders", "train", "text", "-o", "other"),
            "transcoders.training.train",
            "the same command goes on from the checkpoint in other.checkpoint",
        ),
        (("models", "list"), "bundled.list_bundled", ""),
    ],
)
@pytest.mark.usefixtures("graph")
def test_ctrl_c_says_what_becomes_of_the_work(
    arguments: tuple[str, ...], where: str, said: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"circuit_tracer.{where}", interrupted)
    monkeypatch.setattr(
        "circuit_tracer.models.open_model", lambda *_, **__: SimpleNamespace(notes=())
    )
    Path("text").write_text("a banana is yellow\n")
    Path("other.checkpoint").mkdir()
    Path("other.checkpoint", "checkpoint.json").write_text("{}")
    outcome = run(*arguments)
    assert outcome.code == 130
    assert outcome.err.startswith(f"error: interrupted{said and '; '}{said}")
    assert outcome.err.count("\n") == 1


@pytest.mark.usefixtures("process")
def test_nothing_else_in_the_process_reads_its_arguments(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["circuit-tracer", "models", "list", "-v"])
    with pytest.raises(SystemExit) as stop:
        __main__.main()
    assert stop.value.code == 0
    assert sys.argv == ["circuit-tracer"]
    assert "versions: " in capsys.readouterr().err

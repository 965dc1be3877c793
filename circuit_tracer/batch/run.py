"""Trace all prompts of a file into a store, from wherever an earlier process stopped.

1. Plan: every prompt becomes tokens and finds its group (tracing.py); this is the same in every
   process that has the same prompt file.
2. For each group of this shard that is not done: claim it, look again whether somebody else has
   done it, trace what is missing, hand it to the writer (writing.py).
3. Groups that another process has claimed come last: they are done when that one is finished, and
   are traced here if it died.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from circuit_tracer.batch.claims import Claims
from circuit_tracer.batch.kinds import Kind, Made
from circuit_tracer.batch.manifest import MANIFEST_FILE, Entry, read_manifest, write_manifest
from circuit_tracer.batch.parts import remove_unfinished, writable
from circuit_tracer.batch.run_file import AnyRun, settle_run
from circuit_tracer.batch.schemas import FAILURES
from circuit_tracer.batch.shards import Outcome, Work
from circuit_tracer.batch.state import RunState, settle_failures
from circuit_tracer.batch.tables import Failed
from circuit_tracer.batch.tracing import Group
from circuit_tracer.batch.writing import Flush, GroupDone, Writer
from circuit_tracer.errors import UsageError
from circuit_tracer.progress import OnStage, silent

CLAIMS_FILE = ".claims"
_RETRY_SECONDS = 1.0
"""Seconds after which a group that another process has is looked at again."""

OnFailure = Callable[[Failed], None]


def begin(folder: Path, info: AnyRun, entries: Sequence[Entry]) -> AnyRun:
    """Make the run's folder, or check that it is the same run; gives its run.toml.

    Raises UsageError when it was begun with other settings or other prompts, OutputError when
    nothing can be written there.
    """
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    run = settle_run(folder, info)
    if (folder / MANIFEST_FILE).is_file():
        old = read_manifest(folder)
        keys = {entry.key for entry in entries}
        gone = next((entry for entry in old if not entry.wrong and entry.key not in keys), None)
        if gone is not None:
            raise UsageError(
                f"{folder} was begun with other prompts (the one of line {gone.line} is gone); "
                "choose another `name`, or add `overwrite` to begin again"
            )
        if old == list(entries):
            return run
    write_manifest(folder, entries)
    return run


class OpenedBatch:
    """A run that `begin` has made with all that is needed to work on it, once or several times."""

    def __init__(self, folder: Path, kind: Kind, entries: Sequence[Entry]) -> None:
        self.folder, self.kind, self.entries = folder, kind, entries
        self.plan = kind.plan(entries)
        with writable(folder):
            for table in (*kind.tables, FAILURES):
                (folder / table).mkdir(exist_ok=True)
            self.claims = Claims(folder / CLAIMS_FILE)
        self.state = RunState(folder, kind.tables[-1])
        kind.open()

    def __enter__(self) -> OpenedBatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.kind.close()
        self.claims.close()

    def go(
        self,
        work: Work,
        *,
        on_progress: OnStage | None = None,
        on_failure: OnFailure | None = None,
    ) -> Outcome:
        """Trace what is missing of a share of the run; can be called again after anything.

        Raises OutputError (full disk), ModelError and DictionaryError; what had been done by then
        is safe. A prompt that fails is a row of failures.
        """
        report = on_progress or silent
        remove_unfinished(self.folder, self.claims, self.kind.tables)
        self.state.look()
        share = _Share(self, work)
        writer = Writer(
            self.folder,
            self.kind,
            self.claims,
            self.state.attempts,
            part_prompts=work.part_prompts,
        )
        started = time.perf_counter()
        try:
            share.trace(writer, report, on_failure or (lambda failed: None))
        finally:
            writer.close()
        seconds = time.perf_counter() - started
        report("tidying up", 0, 0)
        remove_unfinished(self.folder, self.claims, self.kind.tables)
        self.state.look()
        if self.state.attempts and work.bad_lines:
            listed = {entry.key for entry in read_manifest(self.folder)}
            settle_failures(self.folder, listed, self.state.done, self.claims)
        return Outcome(
            traced=writer.traced,
            done=len(share.keys & self.state.done),
            failed=len(share.keys & self.state.failed),
            total=len(share.keys),
            sweeping=writer.sweeping,
            seconds=seconds,
        )


class _Share:
    """One process's way through its groups."""

    def __init__(self, batch: OpenedBatch, work: Work) -> None:
        self.batch, self.work = batch, work
        self.groups = [g for i, g in enumerate(batch.plan.groups) if work.has(i)]
        self.failed = batch.plan.failed if work.bad_lines and work.shard.number == 0 else []
        self.keys = {entry.key for group in self.groups for entry in group.members}
        self.keys |= {failed.entry.key for failed in self.failed}
        if work.limit is not None:  # groups stay what they are in a whole run
            self.keys &= {entry.key for entry in batch.entries[: work.limit]}
        self.state = batch.state
        self.before = dict(self.state.attempts)
        self.handed: set[str] = set()
        """Prompts that this process has traced or failed to, on disk or on their way there."""
        self.n_before = len(self.keys & (self.state.done | self.state.failed))

    def trace(self, writer: Writer, report: OnStage, on_failure: OnFailure) -> None:
        """All groups; those that another process has once it has let go of them."""
        for failed in self.failed:
            if self._is_open(failed.entry):
                self._hand(failed, writer, on_failure)
        waiting, total = self.groups, len(self.keys)
        while waiting:
            claimed = []
            for group in waiting:
                if not self._open_keys(group):
                    continue
                if not self.batch.claims.take(group.key):
                    claimed.append(group)
                    continue
                self.state.look()  # whoever had the claim before may have done it
                if wanted := self._open_keys(group):
                    for item in self.batch.kind.made(group, wanted):
                        self._hand(item, writer, on_failure)
                        report("tracing", self._n_settled(), total)
                writer.take(GroupDone(group.key))
            if claimed:
                report("waiting for another process", self._n_settled(), total)
                writer.take(Flush())  # that one may be waiting for ours
                time.sleep(_RETRY_SECONDS)
                self.state.look()
            waiting = claimed

    def _hand(self, item: Made | Failed, writer: Writer, on_failure: OnFailure) -> None:
        if isinstance(item, Failed):
            on_failure(item)
        self.handed.add(item.entry.key)
        writer.take(item)

    def _open_keys(self, group: Group[Entry]) -> set[str]:
        return {entry.key for entry in group.members if self._is_open(entry)}

    def _is_open(self, entry: Entry) -> bool:
        """Whether a prompt is still to be traced, by what is known of the store."""
        key = entry.key
        if key not in self.keys or key in self.state.done or key in self.handed:
            return False
        failures = self.state.attempts.get(key, 0)
        if not failures:
            return True
        # What another process has tried meanwhile is not tried a second time.
        return self.work.retry_failed and not entry.wrong and failures == self.before.get(key)

    def _n_settled(self) -> int:
        return min(self.n_before + len(self.handed), len(self.keys))

"""A text file as rows of tokens: read line by line, a document a line, never as a whole.

Packed rows are [BOS, tokens of one document, tokens of the next, ...] up to a row length; a
document that does not fit starts the next row, one longer than a row is split. The reader can say
where it is and be put back there, which is how a resumed run sees the same rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from circuit_tracer.errors import UsageError
from circuit_tracer.models import Model

LONGEST_LINE = 1 << 20
"""Bytes of a line read at once; a longer line becomes several documents, cut at a blank, or between
two characters where there is none."""
LINES_AT_ONCE = 256
"""Documents tokenised together."""
STATE = ("epoch", "offset", "document", "current", "ready")
"""What says where a reader is."""


class Rows(NamedTuple):
    """Some rows of tokens, padded at their ends."""

    token_ids: Int[Tensor, "R T"]
    lengths: Int[Tensor, "R"]
    first: int
    """First position with text: 1 after BOS, 0 in a model without any special token."""

    def real(self) -> Bool[Tensor, "R T"]:
        """Which places hold text, BOS and padding left out: what dictionaries learn from."""
        places = torch.arange(self.token_ids.shape[1], device="cpu")
        return (places[None] < self.lengths[:, None]) & (places[None] >= self.first)


class RowReader:
    """Rows of tokens from a text file, epoch after epoch, in file order."""

    def __init__(
        self,
        path: Path,
        tokenizer: Any,
        *,
        bos_id: int | None,
        row_length: int,
        pack: bool = True,
        epochs: int = 1,
        part: Literal["all", "training", "held-out"] = "all",
        held_out_share: float = 0.0,
    ) -> None:
        """With part "training", every n-th document (by `held_out_share`) is skipped; with
        "held-out" only those are read.

        Raises UsageError for a missing or empty text, and for rows without room for any of it.
        """
        if row_length <= (bos_id is not None):
            raise UsageError(
                f"`row_length` {row_length} leaves no room for text"
                f"{'' if bos_id is None else ' after the token that rows start with'}; raise it"
            )
        self.path = path
        self.tokenizer = tokenizer
        self.bos_id = bos_id
        self.capacity = row_length - (bos_id is not None)
        self.row_length = row_length
        self.pack = pack
        self.epochs = epochs
        self.part = part
        self.every = round(1 / held_out_share) if held_out_share > 0 else 0
        self.epoch = 0
        self.offset = 0
        """Byte in the file where the next document starts."""
        self.document = 0
        """Number of the next document in this epoch."""
        self.current: list[int] = []
        """Tokens of the row being filled."""
        self.ready: list[list[int]] = []
        """Rows that are full and not yet handed out."""
        check_text(path)

    @classmethod
    def of_model(cls, path: Path, model: Model, row_length: int, *, pack: bool) -> RowReader:
        """Rows for a model, not longer than its passes are steady for."""
        length = min(row_length, model.steady_length)
        return cls(path, model.tokenizer, bos_id=model.bos_id, row_length=length, pack=pack)

    def state(self) -> dict[str, Any]:
        """Where the reader is, as plain values."""
        values = {name: getattr(self, name) for name in STATE}
        return {name: list(v) if isinstance(v, list) else v for name, v in values.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Put the reader where `state` was taken."""
        for name, value in state.items():
            setattr(self, name, list(value) if isinstance(value, list) else value)

    def next_rows(self, count: int) -> Rows | None:
        """The next `count` rows; fewer at the end of the text, None after it."""
        while len(self.ready) < count and self.epoch < self.epochs:
            self._read_some()
        taken, self.ready = self.ready[:count], self.ready[count:]
        return self._as_rows(taken) if taken else None

    def groups(self, count: int, max_tokens: int | None = None) -> Iterator[Rows]:
        """The next rows, `count` at a time, until so many tokens are reached or just passed."""
        tokens = 0
        while max_tokens is None or tokens < max_tokens:
            rows = self.next_rows(count)
            if rows is None:
                return
            tokens += int(rows.real().sum())
            yield rows

    def _as_rows(self, taken: list[list[int]]) -> Rows:
        start = [] if self.bos_id is None else [self.bos_id]
        token_ids = torch.zeros(len(taken), self.row_length, dtype=torch.long, device="cpu")
        lengths = torch.tensor([len(row) + len(start) for row in taken], device="cpu")
        for i, row in enumerate(taken):
            token_ids[i, : int(lengths[i])] = torch.tensor(start + row, device="cpu")
        return Rows(token_ids[:, : int(lengths.max())], lengths, len(start))

    def _read_some(self) -> None:
        """Tokenise the next documents into rows; at the end of the file, begin the next epoch."""
        documents: list[str] = []
        with self.path.open("rb") as stream:
            stream.seek(self.offset)
            for text in islice(self._lines(stream), LINES_AT_ONCE):
                if self._is_wanted(self.document):
                    documents.append(text)
                self.document += 1
            self.offset = stream.tell()
            finished = not stream.peek(1)
        if documents:
            encoded = self.tokenizer(documents, add_special_tokens=False, verbose=False)
            for ids in encoded["input_ids"]:
                self._place(list(ids))
        if finished:
            self._finish_row()
            self.epoch, self.offset, self.document = self.epoch + 1, 0, 0

    def _lines(self, stream: Any) -> Iterator[str]:
        while piece := stream.readline(LONGEST_LINE):
            if len(piece) == LONGEST_LINE and not piece.endswith(b"\n"):
                cut = piece.rfind(b" ")
                if cut <= 0:  # before the last character, which may not be whole
                    starts = (at for at in range(len(piece) - 1, 0, -1) if piece[at] & 0xC0 != 0x80)
                    cut = next(starts, len(piece))
                stream.seek(cut - len(piece), 1)
                piece = piece[:cut]
            try:
                text = piece.decode("utf-8").removeprefix("\ufeff").strip()
            except UnicodeDecodeError as error:
                raise UsageError(
                    f"{self.path.name} is not UTF-8 text (byte {error.start} of the line at "
                    f"{stream.tell() - len(piece)}); convert it, for example with iconv"
                ) from error
            if text:
                yield text

    def _is_wanted(self, document: int) -> bool:
        if self.part == "all" or self.every == 0:
            return True
        return (document % self.every == 0) == (self.part == "held-out")

    def _place(self, ids: list[int]) -> None:
        if self.current and (not self.pack or len(self.current) + len(ids) > self.capacity):
            self._finish_row()
        self.current += ids
        while len(self.current) >= self.capacity:
            self.ready.append(self.current[: self.capacity])
            self.current = self.current[self.capacity :]

    def _finish_row(self) -> None:
        if self.current:
            self.ready.append(self.current)
            self.current = []


def count_tokens(reader: RowReader, *, up_to: int | None) -> int:
    """Tokens a fresh reader will give over all its epochs, BOS left out; stops counting at
    `up_to`."""
    total, epochs = 0, reader.epochs
    reader.epochs = 1
    for rows in reader.groups(64):
        total += int(rows.real().sum())
        if up_to is not None and total * epochs >= up_to:
            return up_to
    return total * epochs


def check_known(reader: RowReader, *, rows: int = 256) -> None:
    """UsageError if the tokenizer does not know more than half of a fresh reader's first tokens."""
    unknown = getattr(reader.tokenizer, "unk_token_id", None)
    first = reader.next_rows(rows)
    if unknown is None or unknown == reader.bos_id or first is None:
        return
    share = float((first.token_ids[first.real()] == unknown).float().mean())
    if share > 0.5:
        raise UsageError(
            f"the model's tokenizer does not know {share:.0%} of the words of {reader.path.name}; "
            "give text in the model's language"
        )


def check_text(path: Path) -> None:
    """UsageError unless `path` is a readable, non-empty file."""
    if not path.is_file():
        raise UsageError(f"there is no text file {path}; give a plain text file, a document a line")
    if path.stat().st_size == 0:
        raise UsageError(f"the text file {path.name} is empty; give a document a line")


def fingerprint(path: Path) -> str:
    """Hash of a text, to notice that a resumed run got another one."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

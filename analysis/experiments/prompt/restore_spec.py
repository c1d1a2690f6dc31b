"""The request to put removed layers back one at a time, and the surprisal of each token with each of them back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Annotated, ClassVar

from analysis.core.blocks import Removal, removal_of_parts
from analysis.core.errors import SpecError
from analysis.core.experiment import Experiment, register
from analysis.core.options import Option
from analysis.core.record import Result, Spec, require
from analysis.core.table import Column, Table
from analysis.experiments.prompt.microscope_spec import check_prompt
from analysis.models.source.model_spec import ModelSpec

LEAST_RISE = 0.01
"""Nats by which the pruned model must find a token more surprising before a recovered share has a meaning."""
_NOTHING_REMOVED = "No layer is removed, so no layer can be put back. Name the removed block, for example 11:5."
_COLUMNS = (
    Column("layer", "layer put back"),
    Column("surprisal", "surprisal", "nats", ".3f"),
    Column("recovered", "recovered", format=".0%"),
    Column("pruned", "pruned", "nats", ".3f"),
    Column("unpruned", "unpruned", "nats", ".3f"),
)


@dataclass(frozen=True)
class RestoreSpec(Spec):
    """The surprisal of each token of a text with one removed layer put back, for every removed layer."""

    kind: ClassVar[str] = "restore"

    model: ModelSpec = field(default_factory=ModelSpec)
    prompt: Annotated[str, Option(metavar="TEXT", required=True)] = "The capital of France is"
    """Text to read, without a chat template, at least two tokens."""
    block: Annotated[Removal | None, Option(required=True)] = None
    """Removed layers or sublayers. Each of them is put back alone."""

    def __post_init__(self) -> None:
        check_prompt(self.prompt)
        require(self.block is not None, _NOTHING_REMOVED)

    @property
    def removed(self) -> Removal:
        """Return the removed block, which every valid request has.

        Raises:
            SpecError: when there is none.
        """
        if self.block is None:
            raise SpecError(_NOTHING_REMOVED)
        return self.block


def without_layer(block: Removal, layer: int) -> Removal | None:
    """Return the removal that is left when one layer is put back with all its parts; None when nothing is left.

    Raises:
        SpecError: when the block takes nothing out of this layer.
    """
    if layer not in block.touched:
        raise SpecError(f"Layer {layer} is not removed by {block.brief()}, so it cannot be put back. Choose a removed layer.")
    parts = [part for part in block.parts if part[0] != layer]
    return removal_of_parts(parts) if parts else None


def recovered(unpruned: float, pruned: float, restored: float) -> float | None:
    """Return the share of the surprisal increase that is recovered: 1 for all of it, below 0 for a further increase.

    Args:
        unpruned: surprisal under the unpruned model, nats.
        pruned: the same without the block.
        restored: the same with one layer put back.

    Returns:
        None where the pruned model is not `LEAST_RISE` nats more surprised than the unpruned one.
    """
    rise = pruned - unpruned
    return (pruned - restored) / rise if rise >= LEAST_RISE else None


@dataclass(frozen=True)
class RestoredSurprisal:
    """Surprisal at one token, or the mean of all tokens, nats."""

    unpruned: float
    pruned: float
    restored: list[float]
    """One for each of `RestoreResult.layers`, with that layer put back."""

    @property
    def shares(self) -> list[float | None]:
        """The recovered share for each layer."""
        return [recovered(self.unpruned, self.pruned, value) for value in self.restored]

    @property
    def best(self) -> int:
        """Place of the layer that leaves the least surprisal when it is put back."""
        return min(range(len(self.restored)), key=self.restored.__getitem__)


@dataclass(frozen=True)
class RestoreResult(Result):
    """The surprisal of each token under the unpruned model, the pruned model, and with each removed layer put back."""

    kind: ClassVar[str] = "restore"
    spec_type: ClassVar[type[Spec]] = RestoreSpec

    model_name: str
    n_layers: int
    """L of the unpruned model."""
    layers: list[int]
    """The layers that were put back, one at a time, ascending."""
    pieces: list[str]
    """The text of each token that was read."""
    n_left_out: int
    """Tokens at the end that were not read, because only so many are shown."""
    unpruned: list[float]
    """Surprisal of every token but the first under the unpruned model, nats; entry i belongs to token i + 1 from 0."""
    pruned: list[float]
    """The same without the block."""
    restored: list[list[float]]
    """Per entry of `layers`: the same without the block, but with this layer put back."""

    def at(self, token: int | None = None) -> RestoredSurprisal:
        """Return the surprisal at one token, or the mean of all tokens.

        Args:
            token: from 0, so at least 1; None for the mean.

        Raises:
            SpecError: when the token was not read, or is the first one.
        """
        if token is None:
            return RestoredSurprisal(fmean(self.unpruned), fmean(self.pruned), [fmean(row) for row in self.restored])
        if token == 0:
            raise SpecError(f"Token 1 has no surprisal, because no token precedes it. Choose one of 2..{len(self.pieces)}.")
        if not 0 < token < len(self.pieces):
            raise SpecError(
                f"Token {token + 1} was asked for, but the text has {len(self.pieces)} tokens. "
                f"Choose one of 2..{len(self.pieces)}."
            )
        return RestoredSurprisal(self.unpruned[token - 1], self.pruned[token - 1], [row[token - 1] for row in self.restored])

    def sentence(self, token: int | None = None) -> str:
        """Return the answer in one or two sentences: which layer recovers the token most, and from where to where."""
        at_token = self.at(token)
        if token is None:
            subject = f"On average over {len(self.unpruned)} tokens"
        else:
            subject = f"Token {token + 1} “{self.pieces[token].strip() or 'space'}”"
        levels = f"{at_token.unpruned:.2f} nats unpruned, {at_token.pruned:.2f} nats pruned"
        share = at_token.shares[at_token.best]
        if share is None:
            return f"{subject}: {levels}. Pruning does not make it more surprising, so there is nothing to recover."
        lowest = at_token.restored[at_token.best]
        if share <= 0:
            closest = f"Layer {self.layers[at_token.best]} comes closest, with {lowest:.2f}."
            return f"{subject}: {levels}. No single layer lowers it. {closest}"
        return (
            f"{subject}: {levels}. Layer {self.layers[at_token.best]}, put back alone, lowers it most: to {lowest:.2f} nats "
            f"({100 * share:.0f} % of the increase recovered)."
        )

    def table_at(self, token: int | None = None) -> Table:
        """Return a table with one row per layer that was put back, for one token or the mean of all."""
        surprisal = self.at(token)
        subject = "mean of all tokens" if token is None else f"token {token + 1}, {self.pieces[token]!r}"
        return Table(f"One layer put back, {subject}", _COLUMNS, self._rows(surprisal), self._caption())

    def tables(self) -> dict[str, Table]:
        """Return the mean over all tokens, then every token."""
        columns = (Column("token"), Column("text"), *_COLUMNS)
        rows = [
            {"token": position + 1, "text": piece, **row}
            for position, piece in list(enumerate(self.pieces))[1:]
            for row in self._rows(self.at(position))
        ]
        return {"layers": self.table_at(), "tokens": Table("One layer put back, every token", columns, rows, self._caption())}

    def _rows(self, surprisal: RestoredSurprisal) -> list[dict[str, float | int | None]]:
        lines: Sequence[tuple[int, float, float | None]] = list(
            zip(self.layers, surprisal.restored, surprisal.shares, strict=True)
        )
        return [
            {"layer": layer, "surprisal": value, "recovered": share, "pruned": surprisal.pruned, "unpruned": surprisal.unpruned}
            for layer, value, share in lines
        ]

    def _caption(self) -> str:
        return (
            f"{self.spec.removed.describe()} removed, {len(self.unpruned)} tokens, {self.ran_in}. Recovered: the share of the "
            f"increase over the unpruned model, no value where the increase is below {LEAST_RISE:g} nats."
        )


register(
    Experiment(
        RestoreSpec,
        RestoreResult,
        run="analysis.experiments.prompt.restore:run",
        title="Restored layer",
        place=9,
        help="the removed layer that lowers the surprisal of a token most when it alone is put back.",
    )
)

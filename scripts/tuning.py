"""Search of learning rate and weight decay for the rows of a results plan, the same search for every row.

A plan with a ``tune`` section names the values. ``python scripts/results.py tune PLAN`` trains one run per candidate on
the train classes without those that ``validation`` holds out, and records its Recall@1 on the held-out classes in
``PLAN-tune.csv``. Test classes are not read. ``python scripts/results.py run`` takes the best candidate of each row.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from distill.console import Failure
from distill.files import atomic_path

__all__ = ["Candidate", "Choice", "Search", "add_trial", "choose", "missing", "read_trials", "trials_file"]

COLUMNS = (
    "row",
    "lr",
    "weight_decay",
    "validation_recall@1",
    "epochs",
    "train_seconds",
    "command",
    "versions",
    "machine",
    "date",
)


class Search(BaseModel):
    """The ``tune`` section of a plan.

    Attributes:
        validation: fraction of the train classes held out.
        seed: seed of every trial.
        lr: learning rates, each tried with the first weight decay.
        weight_decay: weight decays; all but the first are tried with the best rate.
        options: options of all trials that differ from those of their rows, e.g. fewer epochs.
    """

    model_config = ConfigDict(extra="forbid")
    validation: float = Field(0.2, gt=0, lt=1)
    seed: int = 0
    lr: list[float] = Field(min_length=1)
    weight_decay: list[float] = Field(min_length=1)
    options: dict[str, Any] = {}


@dataclass(frozen=True)
class Candidate:
    """One pair of values."""

    lr: float
    weight_decay: float

    @property
    def options(self) -> dict[str, Any]:
        """The values as options of ``distill-train student``."""
        return {"lr": self.lr, "weight_decay": self.weight_decay}


@dataclass(frozen=True)
class Choice:
    """The best candidate of a row.

    Attributes:
        best: the candidate.
        recall: its Recall@1 on the held-out classes, 0..1.
        at_the_edge: whether its rate is the smallest or largest one tried, so that a wider range may be better.
        record: one line for the CSV of results: what was tried, and what won.
    """

    best: Candidate
    recall: float
    at_the_edge: bool
    record: str


def trials_file(plan: Path) -> Path:
    """Path of the CSV of trials beside a plan."""
    return plan.with_name(f"{plan.stem}-tune.csv")


def read_trials(path: Path) -> list[dict[str, str]]:
    """Read the trials of a plan; empty if there is no file.

    Raises:
        Failure: the file has other columns, or a damaged line.
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        trials = list(csv.DictReader(file))
    if trials and tuple(trials[0]) != COLUMNS:
        raise Failure(f"{path}: not the columns of this script", "move the file away")
    for number, trial in enumerate(trials, 2):
        try:
            _candidate(trial), _recall(trial)
        except (TypeError, ValueError):
            raise Failure(f"{path}: line {number} is damaged", "delete that line; tune measures it again") from None
    return trials


def add_trial(path: Path, trial: dict[str, Any]) -> None:
    """Append a trial atomically."""
    everything = [*read_trials(path), trial]
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(everything)


def missing(search: Search, trials: Sequence[dict[str, str]]) -> list[Candidate]:
    """Return the candidates to try next for the row of these trials; empty if the search is complete.

    All rates with the first weight decay come first, then the other weight decays at the best rate.
    """
    done = {_candidate(trial) for trial in trials}
    rates = [Candidate(lr, search.weight_decay[0]) for lr in search.lr]
    if todo := [candidate for candidate in rates if candidate not in done]:
        return todo
    lr = _best(rates, trials).lr
    decays = [Candidate(lr, decay) for decay in search.weight_decay[1:]]
    return [candidate for candidate in decays if candidate not in done]


def choose(search: Search, trials: Sequence[dict[str, str]]) -> Choice | None:
    """Return the best candidate of a row, or ``None`` if its search is not complete. The first of equals wins."""
    if missing(search, trials):
        return None
    rates = [Candidate(lr, search.weight_decay[0]) for lr in search.lr]
    lr = _best(rates, trials).lr
    best = _best([Candidate(lr, decay) for decay in search.weight_decay], trials)
    recall = max(_recall(trial) for trial in trials if _candidate(trial) == best)
    record = (
        f"lr {best.lr:g} of {_words(search.lr)}; weight decay {best.weight_decay:g} of {_words(search.weight_decay)}: "
        f"R@1 {100 * recall:.1f} on {search.validation:g} of the train classes"
    )
    return Choice(best, recall, len(search.lr) > 1 and lr in (min(search.lr), max(search.lr)), record)


def _best(candidates: Sequence[Candidate], trials: Sequence[dict[str, str]]) -> Candidate:
    recalls = {_candidate(trial): _recall(trial) for trial in trials}
    return max(candidates, key=lambda candidate: recalls[candidate])


def _candidate(trial: dict[str, str]) -> Candidate:
    return Candidate(float(trial["lr"]), float(trial["weight_decay"]))


def _recall(trial: dict[str, str]) -> float:
    return float(trial["validation_recall@1"])


def _words(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)

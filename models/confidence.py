"""Confidence: named evidence about an attempt -> probability that the attempt is right.

A logistic regression over standardised evidence. What is a share or a probability is shown to it as
log odds too, since .9, .99 and .999 are all but the same number and anything but the same evidence.
scikit-learn fits it; using it needs numpy alone, and the file is JSON, never pickle.

What counts as what:

- Names: those of any row at the fit. Later an unknown name is an error, and so is an absent one,
  unless it was absent (or not a number) in some row at the fit: then it may be, and being absent
  is evidence itself.
- A name that always had a number and later is not a number says that something broke: confidence 0,
  and the gate escalates.
- Values beyond those seen at the fit, infinite ones included, count as the furthest one seen.
- Names whose value never varied are asked for and left out of the sum.
- Labels that are all right, or all wrong, teach nothing apart: the head is then a constant, by the
  rule of succession, and `note` says so.

A head knows nothing of thresholds. Fit it on attempts that the student was not trained on, and
certify on others again: a head flatters the labels that it was fitted to.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy import special  # type: ignore[import-untyped]  # scipy ships no types

from journeyman.models.errors import ConfigError, WeightsError
from journeyman.models.types import canonical_json, content_hash

Floats = NDArray[np.float64]
Evidence = Mapping[str, float | None]
"""Named numbers; None and not-a-number mean that there is none."""

NUM_FOLDS = 5

STRENGTH = 0.01
"""How freely evidence is weighed, as scikit-learn's C. A few hundred labels, a tenth of them of
wrong answers, are few for thirty inputs that say nearly the same. Measured in docs/lab.md."""

_FILE = "confidence.json"
_LARGEST = 1e100  # beyond it squares overflow, and no evidence means anything
_SURE = 1e-6  # log odds of 0 and 1 are those of this far from them


class Column(BaseModel):
    """One input of the regression.

    Attributes:
        name: Of the evidence.
        form: The number `as_is`, its `log_odds`, or 1 where it `is_missing` and else 0.
        low: Smallest value at the fit.
        high: Largest value at the fit.
        mean: Mean of the form at the fit; stands in for what is missing.
        scale: Standard deviation of the form at the fit.
        weight: Log odds for each standard deviation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    form: Literal["as_is", "log_odds", "is_missing"]
    low: float
    high: float
    mean: float
    scale: float = Field(gt=0)
    weight: float

    def standardised(self, values: Floats) -> Floats:
        """Values of the evidence (n,), NaN where missing, as input of the regression (n,)."""
        missing = np.isnan(values)
        formed = _formed(values, self.form, self.low, self.high)
        return np.where(
            missing & (self.form != "is_missing"), 0.0, (formed - self.mean) / self.scale
        )


class ConfidenceHead(BaseModel):
    """Probability that an attempt is right.

    Attributes:
        names: Names of the evidence, sorted.
        optional: Those that may be missing.
        columns: Inputs of the regression; none in a constant head.
        intercept: Log odds of an average attempt.
        num_labels: Attempts that it was fitted to.
        num_right: Right ones among them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    names: tuple[str, ...]
    optional: frozenset[str] = frozenset()
    columns: tuple[Column, ...] = ()
    intercept: float = 0.0
    num_labels: int = Field(ge=0)
    num_right: int = Field(ge=0)

    @classmethod
    def fit(
        cls,
        evidence: Sequence[Evidence],
        right: Sequence[bool],
        *,
        seed: int = 0,
        strength: float = STRENGTH,
    ) -> ConfidenceHead:
        """Fit a head.

        Args:
            evidence: Of each labelled attempt.
            right: Whether each attempt is right.
            seed: Of the solver; the same labels give the same head.
            strength: How freely each piece of evidence may be weighed, above 0: scikit-learn's C.

        Raises:
            ConfigError: There is no label, or evidence and labels differ in number.
        """
        labels = _labels(evidence, right)
        names = _names(evidence)
        table = _table(evidence, names)
        return _fit_table(table, labels, names, _optional(table, names), seed, strength)

    @property
    def is_constant(self) -> bool:
        """Every attempt gets the same probability."""
        return not self.columns

    @property
    def note(self) -> str | None:
        """What the head has to say of itself; None where there is nothing."""
        if self.columns:
            return None
        if 0 < self.num_right < self.num_labels:
            why = "no evidence varies"
        else:
            why = "all are right" if self.num_right else "all are wrong"
        return (
            f"Of {self.num_labels} labelled attempts {why}, so nothing can be told apart and every "
            f"attempt gets the same confidence."
        )

    def probability(self, evidence: Evidence) -> float:
        """Probability that the attempt with this evidence is right, in [0, 1].

        Raises:
            ConfigError: The names are not those of the fit.
        """
        return float(self.probabilities([evidence])[0])

    def probabilities(self, evidence: Sequence[Evidence]) -> Floats:
        """`probability` of each attempt (n,), the same to the last bit.

        Raises:
            ConfigError: The names of an attempt are not those of the fit.
        """
        for row in evidence:
            self._check_names(row)
        return _apply(self, _table(evidence, self.names))

    def _check_names(self, evidence: Evidence) -> None:
        unknown = sorted(evidence.keys() - set(self.names))
        absent = sorted(set(self.names) - evidence.keys() - self.optional)
        if unknown or absent:
            raise ConfigError(
                f"The evidence does not fit its confidence head (unknown: {unknown}, absent: "
                f"{absent}): fit the head again with the evidence that is now given."
            )

    def fingerprint(self) -> str:
        """SHA-256 over everything that shapes a probability; the same before and after a save."""
        return content_hash(self._facts())

    def save(self, folder: Path) -> None:
        """Write `confidence.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _FILE).write_text(canonical_json(self._facts()), "utf-8")

    @classmethod
    def load(cls, folder: Path) -> ConfidenceHead:
        """Read what `save` wrote.

        Raises:
            WeightsError: The file is missing or damaged.
        """
        try:
            head = cls.model_validate_json((folder / _FILE).read_text("utf-8"))
        except (OSError, ValidationError, UnicodeDecodeError) as error:
            raise WeightsError(
                f"No confidence head can be read from {str(folder)!r} ({type(error).__name__}): "
                f"fit it again, or restore the file."
            ) from error
        if not {column.name for column in head.columns} | head.optional <= set(head.names):
            raise WeightsError(
                f"The confidence head in {str(folder)!r} weighs evidence that it does not name: "
                f"fit it again, or restore the file."
            )
        return head

    def _facts(self) -> dict[str, object]:
        return self.model_dump(mode="json") | {"optional": sorted(self.optional)}


def out_of_fold(
    evidence: Sequence[Evidence],
    right: Sequence[bool],
    groups: Sequence[Hashable],
    seed: int,
    num_folds: int = NUM_FOLDS,
) -> Floats:
    """Probability of each attempt from a head that saw neither it nor its group.

    It measures how good a head is (Brier, calibration, AUROC). The probabilities come from several
    heads; a certificate needs those of the one head that will serve.

    Args:
        evidence: Of each labelled attempt.
        right: Whether each attempt is right.
        groups: What belongs together (one document, one conversation), for each attempt.
        seed: Of the folds.
        num_folds: Folds, or as many as there are groups where these are fewer.

    Returns:
        Probabilities (n,).

    Raises:
        ConfigError: Numbers differ, or there are fewer than two groups.
    """
    from sklearn.model_selection import GroupKFold

    labels = _labels(evidence, right)
    number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    if len(groups) != len(labels) or len(number) < 2 or num_folds < 2:
        raise ConfigError(
            f"{len(labels)} attempts in {len(number)} groups cannot be split into {num_folds} "
            f"folds: give a group for each attempt, two groups and two folds at least."
        )
    names = _names(evidence)
    table = _table(evidence, names)
    optional = _optional(table, names)  # of all rows: it is about the evidence, not the labels
    folds = GroupKFold(min(num_folds, len(number)), shuffle=True, random_state=seed)
    probability = np.empty(len(labels))
    for fit_rows, rows in folds.split(table, groups=[number[group] for group in groups]):
        head = _fit_table(table[fit_rows], labels[fit_rows], names, optional, seed)
        probability[rows] = _apply(head, table[rows])
    return probability


def _fit_table(
    table: Floats,
    labels: NDArray[np.bool_],
    names: tuple[str, ...],
    optional: frozenset[str],
    seed: int,
    strength: float = STRENGTH,
) -> ConfidenceHead:
    n, num_right = len(labels), int(labels.sum())
    drafts = _drafts(table, names) if 0 < num_right < n else []
    if not drafts:
        odds = (num_right + 1) / (n - num_right + 1)
        return ConfidenceHead(
            names=names,
            optional=optional,
            intercept=math.log(odds),
            num_labels=n,
            num_right=num_right,
        )
    place = {name: i for i, name in enumerate(names)}
    inputs = np.stack([c.standardised(table[:, place[c.name]]) for c in drafts], axis=1)
    weights, intercept = _logistic(inputs, labels, seed, strength)
    columns = [
        c.model_copy(update={"weight": float(weight)})
        for c, weight in zip(drafts, weights, strict=True)
    ]
    return ConfidenceHead(
        names=names,
        optional=optional,
        columns=tuple(columns),
        intercept=intercept,
        num_labels=n,
        num_right=num_right,
    )


def _apply(head: ConfidenceHead, table: Floats) -> Floats:
    place = {name: i for i, name in enumerate(head.names)}
    log_odds = np.full(len(table), head.intercept)
    # Column by column: a matrix product may round one row otherwise than a batch, and a score
    # that equals the threshold would then pass or fail by the size of its batch.
    for column in head.columns:
        log_odds += column.weight * column.standardised(table[:, place[column.name]])
    probability: Floats = special.expit(log_odds)
    required = [place[name] for name in head.names if name not in head.optional]
    return np.where(np.isnan(table[:, required]).any(axis=1), 0.0, probability)


def _labels(evidence: Sequence[Evidence], right: Sequence[bool]) -> NDArray[np.bool_]:
    labels = np.asarray(right, dtype=np.float64)
    if not len(evidence) or labels.shape != (len(evidence),) or not np.isin(labels, (0, 1)).all():
        raise ConfigError(
            f"A confidence head cannot be fitted to {len(evidence)} attempts and labels of shape "
            f"{labels.shape}: give right or wrong for each of at least one attempt."
        )
    is_right: NDArray[np.bool_] = labels == 1
    return is_right


def _names(evidence: Sequence[Evidence]) -> tuple[str, ...]:
    return tuple(sorted(set[str]().union(*evidence)))


def _table(evidence: Sequence[Evidence], names: tuple[str, ...]) -> Floats:
    """Numbers (n, num_names); NaN where there is none."""
    rows = [[_number(row.get(name)) for name in names] for row in evidence]
    return np.array(rows, dtype=np.float64).reshape(len(evidence), len(names))


def _number(value: float | None) -> float:
    number = math.nan if value is None else float(value)
    return math.copysign(math.inf, number) if abs(number) > _LARGEST else number


def _optional(table: Floats, names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(names[i] for i in np.flatnonzero(np.isnan(table).any(axis=0)))


def _drafts(table: Floats, names: tuple[str, ...]) -> list[Column]:
    """The columns that vary, not yet weighted."""
    drafts: list[Column] = []
    for name, values in zip(names, table.T, strict=True):
        seen = values[np.isfinite(values)]
        low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 0.0)
        forms: list[Literal["as_is", "log_odds", "is_missing"]] = ["as_is", "is_missing"]
        # Yes or no is one number whichever way it is written.
        if low >= 0 and high <= 1 and len(np.unique(seen)) > 2:
            forms.insert(1, "log_odds")
        for form in forms:
            formed = _formed(values, form, low, high)
            formed = formed[~np.isnan(formed)]
            mean, scale = (float(formed.mean()), float(formed.std())) if len(formed) else (0.0, 0.0)
            if scale > 1e-12 * max(1.0, abs(mean)):
                drafts.append(
                    Column(
                        name=name, form=form, low=low, high=high, mean=mean, scale=scale, weight=0.0
                    )
                )
    return drafts


def _formed(values: Floats, form: str, low: float, high: float) -> Floats:
    if form == "is_missing":
        return np.isnan(values).astype(np.float64)
    within = np.clip(values, low, high)
    if form == "log_odds":
        formed: Floats = special.logit(np.clip(within, _SURE, 1 - _SURE))
        return formed
    return within


def _logistic(
    inputs: ArrayLike, labels: NDArray[np.bool_], seed: int, strength: float
) -> tuple[Floats, float]:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ConfigError(
            "Fitting a confidence head needs scikit-learn: run `pip install 'journeyman[local]'`."
        ) from error
    right = labels.astype(int)
    table = np.asarray(inputs, dtype=np.float64)
    first = LogisticRegression(C=strength, max_iter=2000, random_state=seed).fit(table, right)
    score = table @ first.coef_[0]
    spread = float(score.std())
    if spread < _SURE:
        return first.coef_[0], float(first.intercept_[0])
    # How sure the sum is: one more number, which the same labels are many for. Without it every
    # probability would lean to the mean.
    middle = float(score.mean())
    scaled = ((score - middle) / spread)[:, None]
    second = LogisticRegression(max_iter=2000, random_state=seed).fit(scaled, right)
    slope = float(second.coef_[0, 0]) / spread
    return first.coef_[0] * slope, float(second.intercept_[0]) - slope * middle

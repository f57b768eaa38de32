"""A linear head over embeddings: multinomial logistic regression, or one yes-or-no per label.

scikit-learn fits it; predicting needs numpy alone, and the files are safetensors and JSON, never
pickle. Knows nothing of where vectors come from or what a label stands for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from journeyman.models.errors import ConfigError, WeightsError
from journeyman.models.types import canonical_json

Matrix = NDArray[np.float32]
Probabilities = NDArray[np.float64]

_WEIGHTS = "head.safetensors"
_FACTS = "head.json"


class LinearHead:
    """Class probabilities from vectors.

    Args:
        classes: Names of the classes, in the order of the columns of `probabilities`.
        coef: Weights (num_classes, dimension).
        intercept: Offsets (num_classes,).
        multi_label: Each class is a question of its own (probabilities do not add up to 1).
    """

    def __init__(
        self,
        classes: Sequence[str],
        coef: ArrayLike,
        intercept: ArrayLike,
        *,
        multi_label: bool = False,
    ) -> None:
        self.classes = tuple(classes)
        self.coef: Matrix = np.ascontiguousarray(coef, dtype=np.float32)
        self.intercept: Matrix = np.ascontiguousarray(intercept, dtype=np.float32)
        self.multi_label = multi_label
        shapes = (self.coef.shape[:1], self.intercept.shape)
        if self.coef.ndim != 2 or shapes != ((len(self.classes),),) * 2:
            raise WeightsError(
                f"A linear head of {len(self.classes)} classes has weights of shape "
                f"{self.coef.shape} and {self.intercept.shape}: fit it again."
            )

    @classmethod
    def fit(
        cls,
        vectors: ArrayLike,
        labels: Sequence[str] | Sequence[Collection[str]],
        *,
        multi_label: bool = False,
        weights: ArrayLike | None = None,
        strength: float = 30.0,
        max_iterations: int = 1000,
    ) -> LinearHead:
        """Fit a head.

        Args:
            vectors: Unit vectors (n, dimension).
            labels: A class for each vector, or with `multi_label` the set of its classes, which
                may be empty.
            multi_label: See the class.
            weights: How often each vector counts (n,), positive; once, where None.
            strength: How closely to follow the examples (scikit-learn's C); 30 suits unit vectors,
                whose small coordinates need large weights.
            max_iterations: Limit of the solver.

        Raises:
            ConfigError: There is nothing to learn from, or vectors and labels differ in number.
        """
        features = np.asarray(vectors, dtype=np.float64)
        if len(labels) == 0 or features.ndim != 2 or len(features) != len(labels):
            raise ConfigError(
                f"A linear head cannot be fitted to vectors of shape {features.shape} and "
                f"{len(labels)} labels: give one label for each of at least one vector."
            )
        counts = np.ones(len(labels)) if weights is None else np.asarray(weights, dtype=np.float64)
        if counts.shape != (len(labels),) or not (counts > 0).all():
            raise ConfigError(
                f"A linear head cannot be fitted with weights of shape {counts.shape}: give a "
                f"positive number for each of {len(labels)} vectors."
            )
        fit = _Fit(features, counts, strength, max_iterations)
        if multi_label:
            sets = [frozenset({label} if isinstance(label, str) else label) for label in labels]
            return cls._fit_each(fit, sets)
        return cls._fit_one(fit, [str(label) for label in labels])

    @classmethod
    def _fit_one(cls, fit: _Fit, labels: list[str]) -> LinearHead:
        classes = sorted(set(labels))
        if len(classes) == 1:
            return cls(classes, np.zeros((1, fit.features.shape[1])), np.zeros(1))
        coef, intercept = fit.logistic(np.searchsorted(classes, labels))
        if len(classes) == 2:  # one row says it all; the other class is its zero
            coef = np.vstack([np.zeros_like(coef), coef])
            intercept = np.concatenate([np.zeros_like(intercept), intercept])
        return cls(classes, coef, intercept)

    @classmethod
    def _fit_each(cls, fit: _Fit, labels: list[frozenset[str]]) -> LinearHead:
        classes = sorted(frozenset[str]().union(*labels))
        coef = np.zeros((len(classes), fit.features.shape[1]))
        intercept = np.zeros(len(classes))
        for i, name in enumerate(classes):
            is_member = np.array([name in label for label in labels])
            if is_member.all():  # nothing to tell apart: the rule of succession
                intercept[i] = np.log(len(labels) + 1)
            else:
                rows, offset = fit.logistic(is_member.astype(np.int64))
                coef[i], intercept[i] = rows[0], offset[0]
        return cls(classes, coef, intercept, multi_label=True)

    def probabilities(self, vectors: ArrayLike) -> Probabilities:
        """Probabilities (n, num_classes) for vectors (n, dimension)."""
        features = np.atleast_2d(np.asarray(vectors, dtype=np.float64))
        if features.size == 0:
            return np.zeros((0, len(self.classes)))
        scores = features @ self.coef.T.astype(np.float64) + self.intercept
        if self.multi_label:
            # Written so that neither end overflows.
            alone: Probabilities = 0.5 * (1.0 + np.tanh(0.5 * scores))
            return alone
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        normal: Probabilities = weights / weights.sum(axis=1, keepdims=True)
        return normal

    def fingerprint(self) -> str:
        """SHA-256 over everything that shapes a probability; the same before and after a save."""
        digest = hashlib.sha256(canonical_json(self._facts()).encode())
        digest.update(self.coef.astype("<f4").tobytes())
        digest.update(self.intercept.astype("<f4").tobytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write `head.safetensors` and `head.json`."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        save_file({"coef": self.coef, "intercept": self.intercept}, folder / _WEIGHTS)
        (folder / _FACTS).write_text(canonical_json(self._facts()), "utf-8")

    @classmethod
    def load(cls, folder: Path) -> LinearHead:
        """Read what `save` wrote.

        Raises:
            WeightsError: The files are missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            facts = json.loads((folder / _FACTS).read_text("utf-8"))
            arrays = load_file(folder / _WEIGHTS)
            return cls(
                facts["classes"],
                arrays["coef"],
                arrays["intercept"],
                multi_label=facts["multi_label"],
            )
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise WeightsError(
                f"No linear head can be read from {str(folder)!r} ({type(error).__name__}): fit it "
                f"again, or restore the files."
            ) from error

    def _facts(self) -> dict[str, object]:
        return {"classes": list(self.classes), "multi_label": self.multi_label}


@dataclass(frozen=True, slots=True)
class _Fit:
    """Vectors to fit to, how often each counts, and the solver's settings."""

    features: NDArray[np.float64]
    weights: NDArray[np.float64]
    strength: float
    max_iterations: int

    def logistic(
        self, classes: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        try:
            from sklearn.linear_model import LogisticRegression
        except ImportError as error:
            raise ConfigError(
                "Fitting a linear head needs scikit-learn: run `pip install 'journeyman[local]'`."
            ) from error
        model = LogisticRegression(C=self.strength, max_iter=self.max_iterations)
        model.fit(self.features, classes, sample_weight=self.weights)
        return model.coef_, model.intercept_

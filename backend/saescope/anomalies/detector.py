"""A detector: an autoencoder by its hash, how errors become scores, and the thresholds beyond which an item is flagged.

A folder with detector.json and detector.safetensors; nothing in it is code. `signals` maps a batch of items to one
score of each per signal:

error             the distance of the residuals (see `distances`), mean or maximum over an item's positions
joint             negative log-likelihood of the code and of log(|r|^2 / |x|^2) together, under a mixture of Gaussians
                  (see `mixture`), mean or maximum over an item's positions
pca               sum_j r_j^2 / d with the residuals of principal components of the inputs
isolation_forest  the score of an isolation forest over the inputs (see `forest`)
classifier        log-odds of a logistic regression over the codes, with a few labels
classifier_inputs the same over the inputs
combined          the score (log error, or joint) and classifier together: the sum of both, each less its mean over
                  normal items and divided by its standard deviation there
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from jaxtyping import Float64, Int64
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from saescope.anomalies.distances import Distance
from saescope.anomalies.forest import Forest
from saescope.anomalies.mixture import Mixture
from saescope.anomalies.options import Score
from saescope.anomalies.residuals import Rebuilt
from saescope.store import atomic
from saescope.store.errors import DataError
from saescope.store.format.fields import Count, field_faults, parse_object
from saescope.store.format.hashing import file_sha256
from saescope.store.format.manifest import json_ready

FORMAT, FORMAT_VERSION = "saescope-detector", 1
JSON_NAME, ARRAYS_NAME = "detector.json", "detector.safetensors"


Labels = Annotated[list[str], msgspec.Meta(min_length=1)]


@dataclass(frozen=True)
class About:
    """What detector.json holds."""

    created_at: str
    saescope_version: str
    checkpoint: str
    """Path or name of the autoencoder, as given."""
    tensors_sha256: str
    """Hash of its tensors, whatever format they are kept in."""
    weights_sha256: str | None
    """Hash of the file sae.safetensors of a native checkpoint: entries of a store are known by it."""
    architecture: str
    trained_on: str | None
    """Hash of the data that it was trained on, where it says so."""
    held_out: dict[str, Any] | None
    """What of that data its training held out; null: nothing."""
    main: str
    """The signal that is the score."""
    score: Score
    positions: Literal["mean", "max"]
    """How an item's positions become one score."""
    threshold_rule: str
    thresholds: dict[str, float]
    """Signal -> threshold: items above it are flagged."""
    normal: Labels | None
    """Labels that count as normal; null: all that are no anomalies."""
    anomaly: Labels | None
    """Labels that count as anomalies; null: all that are not normal."""
    source: dict[str, Any]
    """Description of the data that it was fitted on."""
    n_fitted: Count
    """Normal items behind means and covariances."""
    n_calibrated: Count
    """Normal items behind the thresholds."""
    calibrated_on: str
    """Which these are, in words."""
    n_labelled: int = 0
    """Labelled items of each side that the classifiers were fitted on."""
    standard: dict[str, list[float]] = field(default_factory=dict)
    """Signal -> mean and standard deviation over normal items, where signals are combined."""
    n_components: int = 0
    """Principal components of the reference."""
    seed: int = 0
    arrays_sha256: str = ""


@dataclass(frozen=True)
class Logistic:
    """A fitted logistic regression over standardised rows."""

    mean: Float64[np.ndarray, " d"]
    spread: Float64[np.ndarray, " d"]
    weights: Float64[np.ndarray, " d"]
    bias: float

    def scores(self, rows: Float64[np.ndarray, "row d"]) -> Float64[np.ndarray, " row"]:
        """Log-odds of being an anomaly."""
        scores: Float64[np.ndarray, " row"] = (rows - self.mean) / self.spread @ self.weights + self.bias
        return scores


@dataclass(frozen=True)
class Components:
    """Principal components of the inputs."""

    mean: Float64[np.ndarray, " d"]
    axes: Float64[np.ndarray, "component d"]

    def scores(self, rows: np.ndarray) -> Float64[np.ndarray, " row"]:
        """Mean squared residual of each row."""
        centred = rows.astype(np.float64) - self.mean
        residual = centred - centred @ self.axes.T @ self.axes
        scores: Float64[np.ndarray, " row"] = (residual * residual).mean(axis=1)
        return scores


@dataclass(frozen=True)
class Detector:
    """All that scoring takes beside the autoencoder."""

    about: About
    distance: Distance
    mixture: Mixture | None = None
    components: Components | None = None
    forest: Forest | None = None
    classifier: Logistic | None = None
    classifier_inputs: Logistic | None = None
    fitted: Int64[np.ndarray, " item"] = field(default_factory=lambda: np.empty(0, np.int64))
    """Hashes of the items that anything was fitted on, ascending."""
    calibration: Mapping[str, Float64[np.ndarray, " item"]] = field(default_factory=dict)
    """Signal -> scores of the normal items behind the threshold."""

    def signals(self, batch: Rebuilt) -> dict[str, Float64[np.ndarray, " item"]]:
        """Signal -> score of each item."""
        how = self.about.positions
        found = {"error": batch.per_item(self.distance.of(batch.residuals), how)}
        if self.mixture is not None:
            found["joint"] = batch.per_item(self.mixture.scores(latent_rows(batch)), how)
        if self.components is not None:
            found["pca"] = batch.per_item(self.components.scores(batch.inputs), how)
        if self.forest is not None:
            found["isolation_forest"] = batch.per_item(self.forest.scores(batch.inputs), how)
        if self.classifier is not None and self.classifier_inputs is not None:
            found["classifier"] = self.classifier.scores(batch.means(batch.codes))
            found["classifier_inputs"] = self.classifier_inputs.scores(batch.means(batch.inputs))
        return self.combined(found)

    def combined(self, found: dict[str, Float64[np.ndarray, " item"]]) -> dict[str, Float64[np.ndarray, " item"]]:
        """With the signals that combine others, once it is known how those lie over normal items."""
        standard = self.about.standard
        main = "joint" if "joint" in found else "error"
        if "classifier" in found and main in standard:
            values = found["joint"] if main == "joint" else np.log(found["error"] + TINY)
            found["combined"] = standardised(values, standard[main]) + standardised(
                found["classifier"], standard["classifier"]
            )
        return found

    def save(self, folder: Path) -> None:
        """Writes the folder, which must be new, as a whole."""
        arrays = {f"calibration.{name}": values for name, values in self.calibration.items()}
        arrays |= {"fitted": self.fitted, "distance.mean": self.distance.mean, "distance.root": self.distance.root}
        for name in ("mixture", "components", "forest", "classifier", "classifier_inputs"):
            part = getattr(self, name)
            if part is not None:
                arrays |= {f"{name}.{key}": np.asarray(value) for key, value in vars(part).items()}
        with atomic.new_folder(folder) as temporary:
            save_file({n: np.ascontiguousarray(v) for n, v in arrays.items()}, temporary / ARRAYS_NAME)
            content = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self.about)}
            content["arrays_sha256"] = file_sha256(temporary / ARRAYS_NAME)
            text = json.dumps(json_ready(content), indent=2, ensure_ascii=False, allow_nan=False)
            (temporary / JSON_NAME).write_text(text + "\n", encoding="utf-8")

    @staticmethod
    def load(folder: Path) -> Detector:
        """The detector of a folder. `DataError` for one that is missing, foreign, newer or damaged."""
        path = folder / JSON_NAME
        try:
            content = parse_object(path.read_bytes())
        except (OSError, ValueError) as error:
            raise DataError(f"{folder}: no detector can be read there ({error})", _EXPECTED) from None
        if content.get("format") != FORMAT or content.get("format_version") != FORMAT_VERSION:
            raise DataError(f"{path}: is no detector of format version {FORMAT_VERSION}", _EXPECTED)
        faults = field_faults(About, content)
        arrays_path = folder / ARRAYS_NAME
        if not faults and (not arrays_path.is_file() or file_sha256(arrays_path) != content["arrays_sha256"]):
            faults = [f"{ARRAYS_NAME} is missing or not the file that was written with it"]
        if faults:
            raise DataError(f"{path}: {'; '.join(faults)}", "fit the detector again")
        about = msgspec.convert({k: v for k, v in content.items() if k not in ("format", "format_version")}, About)
        try:
            arrays: dict[str, Any] = load_file(arrays_path)
        except SafetensorError as error:
            raise DataError(f"{arrays_path}: cannot be read ({error})", "fit the detector again") from None
        wanted = {"distance.mean", "distance.root", "fitted", f"calibration.{about.main}"}
        if not wanted <= set(arrays):
            raise DataError(f"{arrays_path}: lacks {', '.join(sorted(wanted - set(arrays)))}", "fit the detector again")

        def part(name: str, cls: type) -> Any:
            own = {k.removeprefix(f"{name}."): v for k, v in arrays.items() if k.startswith(f"{name}.")}
            if own and set(own) != {field.name for field in fields(cls)}:
                raise DataError(f"{arrays_path}: has not what a {name} is made of", "fit the detector again")
            return cls(**{k: v.item() if v.ndim == 0 else v for k, v in own.items()}) if own else None

        return Detector(
            about,
            Distance(about.score, arrays["distance.mean"], arrays["distance.root"]),
            part("mixture", Mixture),
            part("components", Components),
            part("forest", Forest),
            part("classifier", Logistic),
            part("classifier_inputs", Logistic),
            arrays["fitted"],
            {n.removeprefix("calibration."): v for n, v in arrays.items() if n.startswith("calibration.")},
        )


def latent_rows(batch: Rebuilt) -> Float64[np.ndarray, "row d"]:
    """What the mixture is of: codes, and the logarithm of the error's share of the input."""
    inputs, residuals = batch.inputs.astype(np.float64), batch.residuals.astype(np.float64)
    share = ((residuals**2).sum(axis=1) + TINY) / ((inputs**2).sum(axis=1) + TINY)
    return np.concatenate([batch.codes, np.log(share)[:, None]], axis=1)


TINY = 1e-30
"""Added to an error before its logarithm: an item that is rebuilt without any has one too."""
_EXPECTED = "name the folder that `saescope anomaly fit --out` wrote"


def standardised(values: Float64[np.ndarray, " item"], standard: list[float]) -> Float64[np.ndarray, " item"]:
    """(values - mean) / standard deviation."""
    return (values - standard[0]) / standard[1]

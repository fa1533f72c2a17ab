"""Anomaly detection by an autoencoder: a detector is fitted on normal training items, scores any, and is reported
on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import torch

from saescope.anomalies.detector import Detector
from saescope.anomalies.fitting import fit_detector, roles
from saescope.anomalies.leaks import check_fit_split, trained_on
from saescope.anomalies.options import FitOptions, ReportOptions, labels_of
from saescope.anomalies.publishing import drift_record, report_tables
from saescope.anomalies.report import Judged, judge_items, score_items
from saescope.anomalies.sides import Sides, sides
from saescope.anomalies.soundness import check_sound
from saescope.autoencoders.device import choose_device
from saescope.autoencoders.protocol import Autoencoder
from saescope.checkpoints import load_checkpoint
from saescope.checkpoints.formats import native
from saescope.precompute.one_pass.run import check_source
from saescope.progress import SILENT, Progress
from saescope.sources import DataOptions, Source, has_splits, held_out, held_out_items, open_source
from saescope.sources.files import listed
from saescope.sources.labels import chosen_items
from saescope.store import atomic
from saescope.store.errors import CheckpointError, DataError, OptionError
from saescope.store.format.anomaly_tables import ReportManifest
from saescope.store.format.hashing import file_sha256
from saescope.store.format.manifest import json_ready
from saescope.store.format.paths import validate_sae_id
from saescope.store.format.version import program_version
from saescope.store.write.anomalies import publish_report
from saescope.workflows.divided_source import HELD_OUT_FRACTION, HELD_OUT_SEED
from saescope.workflows.notes import Note, warn
from saescope.workflows.trained_columns import as_trained

SUFFIXES = (".parquet", ".csv")


def fit_anomalies(
    checkpoint: Path | str,
    source: DataOptions,
    out: Path | str,
    options: FitOptions | None = None,
    *,
    format: str | None = None,
    assume: dict[str, str] | None = None,
    device: str = "auto",
    note: Note = warn,
    progress: Progress = SILENT,
) -> Detector:
    """Fits a detector on the normal items of the training data and writes it to the new folder `out`.

    The data's training split is read, or, where it has none, the nine tenths of its items that training keeps. A test
    split is refused. `note` hears which items count as normal, and where the autoencoder itself was trained on
    anomalies.
    """
    options = options or FitOptions()
    folder = Path(out)
    if folder.exists() and any(folder.iterdir() if folder.is_dir() else [folder]):
        raise OptionError(f"{folder} exists already", "choose another --out: a detector is never changed")
    loaded = load_checkpoint(checkpoint, format, assume)
    for text in loaded.notes:
        note(text)
    chosen = choose_device(device)
    given = as_trained(source, checkpoint)
    opened = open_source(given, "train", progress)
    divided = has_splits(given)
    check_fit_split(opened.describe(), divided)
    check_source(loaded.sae, opened)
    found = sides(opened, labels_of(options.normal, "normal"), labels_of(options.anomaly, "anomaly"), fitting=True)
    training = _training(checkpoint)
    kept = None if divided else kept_from_training(opened, found.labels, training)
    trained_hash, held_out = trained_on(training)
    _tell_sides(found, opened, trained_hash, note)
    given_roles = roles(opened, found.normal, found.anomalous, kept, options)
    n_labelled = [int(side.sum()) for side in (given_roles.labelled_normal, given_roles.labelled_anomalous)]
    if min(n_labelled) < options.labelled:
        note(
            f"classifiers are fitted on {n_labelled[0]:,} labelled normal items and {n_labelled[1]:,} labelled "
            f"anomalies, not {options.labelled:,} of each: there are no more"
        )
    detector = fit_detector(
        loaded.sae.to(chosen),
        opened,
        given_roles,
        options,
        {
            "created_at": datetime.now(UTC).isoformat(timespec="microseconds"),
            "saescope_version": program_version(),
            "checkpoint": str(checkpoint),
            "tensors_sha256": tensors_sha256(loaded.sae),
            "weights_sha256": _weights_sha256(checkpoint),
            "architecture": loaded.sae.config.architecture,
            "trained_on": trained_hash,
            "held_out": None if held_out is None else dict(held_out),
            "normal": labels_of(options.normal, "normal"),
            "anomaly": labels_of(options.anomaly, "anomaly"),
            "source": json_ready(opened.describe()),
        },
        device=chosen,
        progress=progress,
    )
    detector.save(folder)
    return detector


def kept_from_training(source: Source, labels: pa.Array, training: dict[str, Any]) -> np.ndarray:
    """True at the items of data without splits that the training of an autoencoder held out, and that a fit leaves to
    reports.

    Where it was trained on some labels of this very data, its tenth is one of those items; of the others there is a
    tenth too.
    """
    kept = held_out_items(source, HELD_OUT_SEED, HELD_OUT_FRACTION)
    recorded = training.get("source") or {}
    choice = {name: recorded.get(name) for name in ("only_labels", "without_labels")}
    if not any(choice.values()) or recorded.get("path") != source.describe().path:
        return kept
    known = set(pc.unique(labels).drop_null().to_pylist())
    named = {word for words in choice.values() if words for word in words.split(",")}
    if not named <= known:  # the data is without those labels already
        return kept
    chosen = chosen_items(labels, str(recorded["path"]), **choice)
    if len(chosen) == recorded.get("n_items"):
        kept[chosen] = held_out(len(chosen), HELD_OUT_SEED, HELD_OUT_FRACTION)
    return kept


@dataclass(frozen=True)
class Scored:
    """A written table of scores."""

    path: Path
    n_items: int
    n_flagged: int


def score_anomalies(
    detector: Path | str,
    source: DataOptions,
    out: Path | str,
    *,
    checkpoint: Path | str | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Scored:
    """Scores every item of `source` and writes `out` (.parquet or .csv): item_id, label, score, flagged, each signal.

    `checkpoint` is the autoencoder where it is not at the place any more that the detector records.
    """
    path = Path(out)
    if path.suffix.lower() not in SUFFIXES:
        raise OptionError(f"the scores are to be written to {path.name}", "name a file that ends in .parquet or .csv")
    loaded, sae, chosen = _opened(detector, checkpoint, device)
    opened = open_source(as_trained(source, checkpoint or loaded.about.checkpoint), "evaluate", progress)
    check_source(sae, opened)
    found = score_items(loaded, sae, opened, device=chosen, progress=progress)
    labels = sides(opened, None, None, fitting=True).labels
    main = found.signals[loaded.about.main]
    known = np.isfinite(main)
    flagged = main > loaded.about.thresholds[loaded.about.main]
    table = pa.table(
        {
            "item_id": pa.array(np.arange(len(main))),
            "label": labels,
            "score": pa.array(main, mask=~known),
            "flagged": pa.array(flagged, mask=~known),
            **{name: pa.array(values, mask=~np.isfinite(values)) for name, values in found.signals.items()},
        }
    )
    atomic.make_folder(path.parent)
    with atomic.replacing(path) as temporary:
        if path.suffix.lower() == ".csv":
            pa.csv.write_csv(table, temporary)
        else:
            pq.write_table(table, temporary, compression="zstd")
    return Scored(path, len(main), int(flagged.sum()))


@dataclass(frozen=True)
class AnomalyReported:
    """What a report says, and where it was published."""

    detector: Detector
    judged: Judged
    published: Path | None

    @property
    def metrics(self) -> dict[str, float]:
        """auc, average_precision, detection_rate and false_alarm_rate of the score, and its threshold."""
        about = self.detector.about
        return {**self.judged.metrics[about.main], "threshold": about.thresholds[about.main]}


def report_anomalies(
    detector: Path | str,
    source: DataOptions,
    options: ReportOptions | None = None,
    *,
    store: Path | str | None = None,
    name: str | None = None,
    checkpoint: Path | str | None = None,
    device: str = "auto",
    note: Note = warn,
    progress: Progress = SILENT,
) -> AnomalyReported:
    """Judges a detector by the labelled items of `source`: its test split, or data that nothing was fitted on.

    With a `store` the report is published there under `name`. `DataError` where items are among those that the detector
    or the autoencoder was fitted on, unless `options.leave_out_seen`, and where all are of one side.
    """
    options = options or ReportOptions()
    if (store is None) != (name is None):
        raise OptionError("a report is published with both a store and a name", "give --store DIR and --name NAME")
    if name is not None:
        validate_sae_id(name)
    loaded, sae, chosen = _opened(detector, checkpoint, device)
    about = loaded.about
    opened = open_source(as_trained(source, checkpoint or about.checkpoint), "evaluate", progress)
    check_source(sae, opened)
    normal, anomaly = _named(about.normal, about.anomaly, options)
    found = sides(opened, normal, anomaly, fitting=False)
    judged = judge_items(loaded, sae, opened, found, options, device=chosen, progress=progress)
    if judged.n_left_out:
        n_judged = int(judged.counted.sum())
        note(f"{judged.n_left_out:,} labelled items were fitted on and are left out; {n_judged:,} are judged")
    published = None
    if store is not None and name is not None:
        tables = report_tables(loaded, sae, opened, found, judged, device=chosen, progress=progress)
        published = publish_report(store, _manifest(name, loaded, opened, judged, options), tables)
    return AnomalyReported(loaded, judged, published)


def tensors_sha256(sae: Autoencoder) -> str:
    """Hash of an autoencoder's config and tensors, whatever format they came in."""
    digest = hashlib.sha256(json.dumps(json_ready(sae.config.to_dict()), sort_keys=True).encode())
    for name, tensor in sorted(sae.tensors().items()):
        digest.update(f"{name} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().to(torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()


def _opened(
    detector: Path | str, checkpoint: Path | str | None, device: str
) -> tuple[Detector, Autoencoder, torch.device]:
    """A detector and its autoencoder. `CheckpointError` where that is another one now."""
    loaded = Detector.load(Path(detector))
    path = checkpoint if checkpoint is not None else loaded.about.checkpoint
    sae = load_checkpoint(path).sae
    if tensors_sha256(sae) != loaded.about.tensors_sha256:
        raise CheckpointError(
            f"{path} is not the autoencoder that {detector} was fitted with: its tensors differ",
            "name that one with --checkpoint, or fit the detector again",
        )
    check_sound(loaded, sae, str(detector))
    chosen = choose_device(device)
    return loaded, sae.to(chosen), chosen


def _training(checkpoint: Path | str) -> dict[str, Any]:
    """What a native checkpoint says of its training."""
    folder = Path(checkpoint).expanduser()
    training = native.read_config(folder).get("training") if (folder / native.CONFIG_NAME).is_file() else None
    return training if isinstance(training, dict) else {}


def _weights_sha256(checkpoint: Path | str) -> str | None:
    weights = Path(checkpoint).expanduser() / native.WEIGHTS_NAME
    return file_sha256(weights) if weights.is_file() else None


def _tell_sides(found: Sides, source: Source, trained_hash: str | None, note: Note) -> None:
    n_normal, n_anomalous = int(found.normal.sum()), int(found.anomalous.sum())
    n_neither = len(found.labels) - n_normal - n_anomalous
    if found.absent:
        note(
            f"no item has the label {listed([repr(word) for word in found.absent])}; if anomalies have another label, "
            "they are fitted on"
        )
    if n_neither:
        note(f"{n_neither:,} items are neither normal nor anomalies (unlabelled, or not named) and are left out")
    if found.words.startswith("no label") and found.labels.null_count < len(found.labels):
        note(f"all {n_normal:,} items count as normal: no label is named with --normal or --anomaly")
    elif n_anomalous:
        note(
            f"{n_normal:,} items are normal; {n_anomalous:,} labelled anomalies are left out of what is fitted on them"
        )
        if trained_hash == source.data_sha256:
            note(
                f"the autoencoder was trained on all of this data, its {n_anomalous:,} labelled anomalies too: it may "
                "rebuild them well; train it with --without-labels"
            )


def _named(
    normal: list[str] | None, anomaly: list[str] | None, options: ReportOptions
) -> tuple[Sequence[str] | None, Sequence[str] | None]:
    """The labels of both sides: as given, or else as in the fit."""
    given = labels_of(options.normal, "normal"), labels_of(options.anomaly, "anomaly")
    named = given if given != (None, None) else (normal, anomaly)
    if named == (None, None):
        raise DataError(
            "no label is named as normal or as an anomaly, in the fit or now", "say which with --normal or --anomaly"
        )
    return named


def _manifest(name: str, detector: Detector, source: Source, judged: Judged, options: ReportOptions) -> ReportManifest:
    about = detector.about
    content = asdict(about)
    described = json_ready(source.describe())
    decided = {
        "detector": {k: v for k, v in content.items() if k not in ("created_at", "checkpoint")},
        "source": described,
        "options": asdict(options),
    }
    counted = judged.counted
    return ReportManifest(
        name=name,
        created_at=datetime.now(UTC).isoformat(timespec="microseconds"),
        saescope_version=program_version(),
        architecture=about.architecture,
        weights_sha256=about.weights_sha256,
        detector=json_ready(content),
        source=described,
        signal=about.main,
        signals=sorted(judged.metrics),
        threshold=about.thresholds[about.main],
        n_normal=int((counted & ~judged.truth).sum()),
        n_anomalous=int((counted & judged.truth).sum()),
        n_left_out=judged.n_left_out,
        metrics=dict(judged.metrics[about.main]),
        config=asdict(options),
        drift=drift_record(judged),
        key=hashlib.sha256(json.dumps(json_ready(decided), sort_keys=True).encode()).hexdigest(),
    )

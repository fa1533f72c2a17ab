"""What the demo trains: handwritten digits by two architectures, photographs in grey and in colour, at four sparsities
each; a denoiser of digits and one that has never seen an 8, which finds the eights; on request a language model.

Fewer steps than training takes by itself, so that all is there after about two minutes (with the language model, a
quarter of an hour); benchmarks/demo.py prints what the SAEs come to, and benchmarks/gabor_atoms.py how many atoms of
photographs are oriented edges and gratings, as in sparse coding of natural images (Olshausen & Field 1996): they come
of whitened patches, large enough to hold an edge, few features and few of them active. Digits are few, and their atoms
begin as digits on the black that they are drawn on: so they stay strokes. From random atoms around the mean digit they
would become patterns of light and dark that no eye can read.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from saescope.anomalies.options import FitOptions, ReportOptions
from saescope.models import ModelOptions, read_config
from saescope.progress import SILENT, Progress
from saescope.sources import SourceOptions
from saescope.sources.hooked.options import HookedOptions
from saescope.store import FeatureStore
from saescope.workflows.anomalies import fit_anomalies, report_anomalies
from saescope.workflows.notes import Note, warn
from saescope.workflows.sweep import SweepEntry, SweepPlan, sweep

DIGITS = SourceOptions(images="embedded:digits")
PHOTOS = SourceOptions(images="embedded:photos", patch=12, stride=4, image_mode="grey")
COLOUR_PHOTOS = SourceOptions(images="embedded:photos", patch=12, stride=4, image_mode="colour")

ON_DIGITS: dict[str, Any] = {
    "n_features": 64,
    "first_atoms": "data",
    "first_b_dec": "zero",
    "input_transform": "none",
}
UNIT_ATOMS: dict[str, Any] = {"decoder_norm": "unit", "first_norm": 1.0}
ANOMALY = "8"
MOST_DIGITS = 1797
"""No window of this many is judged: half of the digits that are left to judge are anomalies, which is no drift."""
DENOISER = SweepPlan(
    "digits-denoiser",
    DIGITS,
    {
        "architecture": "convolutional",
        "steps": 600,
        "corruption": "gaussian",
        "noise": (0.0, 0.5),
        "noise_range": (0.0, 1.0),
        "noise_conditioning": True,
    },
    (32,),
)
NORMAL_DIGITS = SweepPlan(
    f"digits-without-{ANOMALY}",
    SourceOptions(images="embedded:digits", without_labels=ANOMALY),
    {"architecture": "undercomplete", "steps": 600, "dropout": 0.2},  # else it knows its few digits by heart
    (16,),
)
ON_PHOTOS: dict[str, Any] = {"architecture": "topk", "n_features": 192, "steps": 4000, "input_transform": "zca"}


def demo(
    store: Path | str,
    *,
    llm: bool = False,
    model: str | None = None,
    hook: str | None = None,
    note: Note = warn,
    progress: Progress = SILENT,
) -> list[SweepEntry]:
    """Trains the demo's sweeps and builds them into `store`; what is there already is reused.

    `llm` adds a language model, `model` (SmolLM2-135M unless named) at `hook` (after its middle layer unless named).
    Raises `UserError`, before anything is trained where the model cannot be found.
    """
    sweeps = [*plans(), DENOISER, NORMAL_DIGITS]
    if llm:
        sweeps.append(language_plan(model or SMOLLM2, hook, progress))
    done = []
    for plan in sweeps:
        # Images are too small for a GPU to be faster.
        device = "auto" if isinstance(plan.source, HookedOptions) else "cpu"
        done += sweep(plan, store, device=device, note=note, progress=progress)
        if plan is NORMAL_DIGITS:
            _report_anomalies(Path(store), done[-1].sae_id, progress)
    return done


def plans() -> list[SweepPlan]:
    """The demo's sweeps, in the order in which they are trained."""
    return [
        SweepPlan("digits", DIGITS, {"architecture": "topk", "steps": 2000, **ON_DIGITS}, (2, 4, 6, 8)),
        SweepPlan(
            "digits", DIGITS, {"architecture": "relu", "steps": 3000, **ON_DIGITS, **UNIT_ATOMS}, (0.25, 0.5, 1, 2)
        ),
        SweepPlan("photos", PHOTOS, ON_PHOTOS, (2, 4, 6, 8)),
        SweepPlan("photos-colour", COLOUR_PHOTOS, ON_PHOTOS, (2, 4, 6, 8)),
    ]


SMOLLM2 = "embedded:smollm2"
PYTHON = "embedded:python"
ON_PYTHON: dict[str, Any] = {"architecture": "topk", "n_features": 4096, "steps": 1500, "batch_size": 1024}
TOKENS = 200_000


def _report_anomalies(store: Path, sae_id: str, progress: Progress) -> None:
    """How well an SAE of the store that was trained without one kind of digit tells it from the others."""
    name = f"digits-{ANOMALY}"
    with FeatureStore(store) as opened:
        entry = opened[sae_id]
        checkpoint = entry.paths.checkpoint
        if name in opened.anomaly_names() and opened.anomaly(name).manifest.weights_sha256 == entry.weights_sha256:
            return
    with tempfile.TemporaryDirectory() as scratch:
        detector = Path(scratch) / "detector"
        fitting, judging = FitOptions(anomaly=ANOMALY), ReportOptions(leave_out_seen=True, window=MOST_DIGITS)
        fit_anomalies(checkpoint, DIGITS, detector, fitting, device="cpu", note=_silent, progress=progress)
        report_anomalies(
            detector, DIGITS, judging, store=store, name=name, device="cpu", note=_silent, progress=progress
        )


def _silent(_: str) -> None:
    """Notes on what the demo does on purpose."""


def language_plan(model: str = SMOLLM2, hook: str | None = None, progress: Progress = SILENT) -> SweepPlan:
    """A TopK SAE on the residual stream after the middle layer of `model`, over the text of Python's own library.

    `hook` names another place. Raises `UserError` where the model cannot be found.
    """
    if hook is None:
        hook = f"blocks.{read_config(ModelOptions(model), progress).num_hidden_layers // 2}.hook_resid_post"
    words = re.sub(r"[^a-z0-9._-]+", "-", model.rpartition("/")[2].rpartition(":")[2].lower()).strip("-._")
    source = SourceOptions(texts=PYTHON, model=model, hook=hook, max_tokens=TOKENS)
    return SweepPlan(words.removesuffix(".gguf")[:60] or "model", source, ON_PYTHON, (32,))

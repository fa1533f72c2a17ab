"""An architecture of another package, one file with three settings, is trained, built, swept and documented."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]

FILE = '''
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, Never

import torch
from msgspec import Meta

from saescope.autoencoders import Architecture
from saescope.autoencoders.linear import LinearAutoencoder, LinearConfig
from saescope.autoencoders.objectives.linear import LinearObjective
from saescope.autoencoders.objectives.protocol import StepLoss
from saescope.autoencoders.settings.linear import LinearSettings
from saescope.options import OPEN, Open, filled, flag


@dataclass(frozen=True)
class ShrunkSettings(LinearSettings[Open]):
    """Codes that are shrunk by the same amount each."""

    sparsity = ("pressure",)

    revival: Literal["resample", "none"] | Open = OPEN
    pressure: Annotated[float, Meta(ge=0)] | None = None
    """Weight of the sum of the codes' roots."""
    shrinkage: Annotated[float, Meta(ge=0)] = 0.1
    """What each pre-activation loses."""
    softness: Annotated[float, Meta(gt=0)] | Open = field(default=OPEN, metadata=flag(default="by the width"))
    """Added under the roots."""

    def with_own_defaults(self, run, size):
        return run, filled(self, softness=1 / size.d_in)


@dataclass(frozen=True)
class ShrunkConfig(LinearConfig):
    """What a checkpoint holds."""

    shrinkage: float = 0.0

    architecture: ClassVar[str] = "shrunk"


class ShrunkAutoencoder(LinearAutoencoder):
    """f = max(z - shrinkage, 0)."""

    config: ShrunkConfig

    def encode(self, x):
        return torch.relu(self.pre_activations(x) - self.config.shrinkage)


class ShrunkObjective(LinearObjective[ShrunkAutoencoder, ShrunkSettings[Never]]):
    """sum (x - x_hat)^2 + pressure sum_j sqrt(f_j + softness)."""

    def new_model(self, d_in):
        return ShrunkAutoencoder(ShrunkConfig(**self.fields(d_in), shrinkage=self.own.shrinkage))

    def loss(self, model, inputs):
        codes = model.encode(inputs.x)
        squared = (inputs.target - model.reconstruct(inputs.x, codes)).square().sum(1).mean()
        penalty = (codes + self.own.softness).sqrt().sum(1).mean()
        total = (squared + inputs.sparsity * penalty) / model.d_out
        return StepLoss(total, squared.detach(), (codes.detach() > 0).sum(0), {"roots": penalty.detach()})


ARCHITECTURE = Architecture(
    "shrunk",
    settings=ShrunkSettings,
    config_at=f"{__name__}:ShrunkConfig",
    module_at=f"{__name__}:ShrunkAutoencoder",
    objective_at=f"{__name__}:ShrunkObjective",
)
'''

PROGRAM = """
import contextlib, io, json, sys
from pathlib import Path
from saescope.cli.option_tables import main
from saescope.cli.run import run

work, page = Path(sys.argv[1]), Path(sys.argv[2])
said = {}

def saescope(name, *arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(a) for a in arguments])
    said[name] = {"code": code, "out": out.getvalue(), "err": err.getvalue()}

digits = ("--images", "embedded:digits")
small = ("--n-features", 32, "--steps", 40)
own = ("--arch", "shrunk", "--shrinkage", 0.2, *small)
saescope("train", "train", *digits, *own, "--pressure", 0.5, "--out", work / "run")
saescope("build", "build", work / "run", *digits, "--store", work / "store", "--sae-id", "built")
saescope("sweep", "sweep", *digits, *own, "--values", "0.5,2", "--store", work / "store", "--name", "d")
saescope("target", "train", *digits, *own, "--target-l0", 4, "--out", work / "target")
saescope("wrong", "train", *digits, *own, "--pressure", -1, "--out", work / "x")
saescope("other", "train", *digits, "--arch", "topk", "--k", 3, "--softness", 2, *small, "--out", work / "x")
saescope("none", "train", *digits, *own, "--out", work / "x")
saescope("help", "train", "--help")
saescope("sweep help", "sweep", "--help")
main(page)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What the commands said, in a process that finds the other package beside saescope."""
    work = tmp_path_factory.mktemp("outside")
    site = work / "site"
    metadata = site / "shrunk_saes-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / "shrunk.py").write_text(FILE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: shrunk-saes\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[saescope.architectures]\nshrunk = shrunk:ARCHITECTURE\n")
    page = work / "command-line.md"
    page.write_text((ROOT / "docs" / "command-line.md").read_text(encoding="utf-8"), encoding="utf-8")
    path = os.pathsep.join([str(site), *(str(ROOT / root) for root in ("backend", "store", "dashboard"))])
    done = subprocess.run(
        [sys.executable, "-c", dedent(PROGRAM), str(work), str(page)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, str]] = json.loads(done.stdout.splitlines()[-1])
    found["checkpoint"] = json.loads((work / "run" / "cfg.json").read_text())
    found["manifest"] = json.loads(
        next((work / "store" / "saes" / "d-shrunk-pressure-2").glob("*/manifest.json")).read_text()
    )
    found["page"] = {"text": page.read_text(encoding="utf-8")}
    return found


@pytest.mark.parametrize("command", ["train", "build", "sweep", "target"])
def test_it_is_trained_built_and_swept(said: dict[str, dict[str, str]], command: str) -> None:
    assert said[command]["code"] == 0, said[command]["err"]


def test_its_checkpoint_and_manifest_record_its_settings(said: dict[str, dict]) -> None:
    checkpoint, manifest = said["checkpoint"], said["manifest"]
    assert (checkpoint["architecture"], checkpoint["shrinkage"]) == ("shrunk", 0.2)
    settings = checkpoint["training"]["config"]
    assert (settings["pressure"], settings["shrinkage"], settings["softness"]) == (0.5, 0.2, 1 / 64)
    assert (manifest["architecture"], manifest["sweep"]["parameter"], manifest["sweep"]["value"]) == (
        "shrunk",
        "pressure",
        2.0,
    )


def test_its_settings_are_options_with_help_checks_and_owners(said: dict[str, dict[str, str]]) -> None:
    text = " ".join(said["help"]["out"].split())
    assert "--softness X shrunk: Added under the roots. [default: by the width]" in text
    assert "--pressure X shrunk: Weight of the sum of the codes' roots." in text
    assert "--pressure X shrunk" in " ".join(said["sweep help"]["out"].split())
    assert "pressure is -1.0, expected a number of at least 0" in said["wrong"]["err"]
    assert "--softness is a setting of shrunk; topk has no use for it" in said["other"]["err"]
    assert "shrunk takes one sparsity setting, --pressure; none given" in said["none"]["err"]


def test_its_settings_are_documented(said: dict[str, dict[str, str]]) -> None:
    text = said["page"]["text"]
    assert "| `--shrinkage` X | shrunk: What each pre-activation loses (0.1 if left out) |" in text
    assert "| `--pressure` X | shrunk: Weight of the sum of the codes' roots |" in text

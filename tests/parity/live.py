"""Makes small checkpoints with the real libraries, each in an environment of its own, and compares what they compute
with what saescope does.

    python -m tests.parity.live [--keep] [LIBRARY ...]

Without a name all libraries are taken. With --keep what they made replaces the files in tests/parity/outputs. An
environment borrows torch and what else is installed here, and gets nothing but the library and what its SAEs import,
so that no other torch is fetched.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from pathlib import Path
from typing import NamedTuple

from tests.parity.compare import cases, check
from tests.parity.converted import write_converted

ROOT = Path(__file__).parents[2]
OUTPUTS = Path(__file__).parent / "outputs"


class Library(NamedTuple):
    """A library, as PyPI calls it, what its SAEs import, and the format of its checkpoints."""

    requirement: str
    imports: tuple[str, ...]
    format: str
    kept: bool = True
    """Whether what it makes is kept in tests/parity/outputs."""


_DATASETS = ("datasets==5.2.0", "multiprocess==0.70.19", "dill==0.4.1", "xxhash==4.1.0", "aiohttp==3.14.5")
_HTTP = (
    "aiosignal==1.4.0",
    "aiohappyeyeballs==2.7.1",
    "frozenlist==1.8.0",
    "multidict==7.2.1",
    "propcache==0.5.4",
    "yarl==1.25.1",
)
_SETTINGS = (
    "more-itertools==11.2.1",
    "json-repair==0.64.5",
    "cattrs==26.2.1",
    "attrs==26.1.0",
    "pydantic-settings==2.16.3",
    "python-dotenv==1.2.4",
)
_LENS = ("transformer-lens==3.9.0", "better-abc==0.0.3", "einops==0.8.2", *_DATASETS, *_HTTP)
_SAE_LENS = (*_LENS, "simple-parsing==0.1.9", "docstring-parser==0.18.0")

LIBRARIES = {
    "sae-lens": Library("sae-lens==6.54.12", _SAE_LENS, "saelens", kept=False),
    "sae-lens-3": Library("sae-lens==3.23.4", _SAE_LENS, "saelens"),
    "sae-lens-4": Library("sae-lens==4.4.5", _SAE_LENS, "saelens"),
    "sae-lens-5": Library("sae-lens==5.11.0", _SAE_LENS, "saelens"),
    "dictionary-learning": Library("dictionary-learning==0.1.0", ("einops==0.8.2",), "dictionary_learning"),
    "eai-sparsify": Library(
        "eai-sparsify==1.3.3", ("einops==0.8.2", "simple-parsing==0.1.9", "docstring-parser==0.18.0"), "sparsify"
    ),
    "overcomplete": Library("overcomplete==0.3.0", ("einops==0.8.2",), "overcomplete"),
    "saev": Library("saev==0.1.0", ("einops==0.8.2", "beartype==0.23.1"), "saev"),
    "llamascopium": Library(
        "llamascopium==2.0.0b34",
        (*_LENS, *_SETTINGS),
        "llama_scope",
    ),
}


def environment(library: Library, folder: Path) -> Path:
    """A Python that has the library; everything else comes from where this one runs."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile", "--target", str(site)]
    subprocess.run([*install, library.requirement, *library.imports], check=True)
    return python


def run(python: Path, module: str, *arguments: str) -> None:
    """`python -m module arguments`, from the root of the sources."""
    subprocess.run([str(python), "-W", "ignore", "-m", module, *arguments], check=True, cwd=ROOT)


def compare(name: str, scratch: Path, keep: bool) -> int:
    """Makes the library's cases and checks each; the number of cases."""
    library = LIBRARIES[name]
    made = scratch / "made"
    python = environment(library, scratch / "environment")
    run(python, f"tests.parity.make_{name.replace('-', '_')}", str(made))
    found = cases(made)
    assert found, f"{name} made nothing"
    for folder in found:
        check(folder, library.format)
    if name == "sae-lens":
        written = scratch / "converted"
        write_converted(written)
        run(python, "tests.parity.read_sae_lens", str(written))
        found += cases(written)
    if keep and library.kept:
        shutil.rmtree(OUTPUTS / name, ignore_errors=True)
        shutil.copytree(made, OUTPUTS / name)
    return len(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", nargs="*", metavar="LIBRARY", help="all of them if left out")
    parser.add_argument("--keep", action="store_true", help="replace tests/parity/outputs")
    options = parser.parse_args()
    unknown = sorted(set(options.library) - set(LIBRARIES))
    if unknown:
        parser.error(f"no library {', '.join(unknown)}; known: {', '.join(LIBRARIES)}")
    for name in options.library or LIBRARIES:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="parity-") as scratch:
            n_cases = compare(name, Path(scratch), options.keep)
        print(f"{name}: {n_cases} cases agree ({time.monotonic() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()

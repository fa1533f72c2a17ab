"""Checkpoints on the Hugging Face hub, by name: `org/repo`, `org/repo/folder` or `org/repo/folder/file`, with or
without `hf:` before it. Only the files that a checkpoint consists of are fetched, into the hub's own cache."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from saescope.checkpoints.tensors.files import WEIGHTS_SUFFIXES
from saescope.checkpoints.tensors.shards import INDEX_SUFFIX, SHARD
from saescope.store.errors import CheckpointError

CONFIGS = ("cfg.json", "config.json", "hyperparams.json", "lm_config.json", "training.parquet")
"""Files beside the weights that tell of them."""
WEIGHTS = (
    "sae.safetensors",
    "sae_weights.safetensors",
    "params.npz",
    "params.safetensors",
    "ae.pt",
    "sae.pt",
    "checkpoints/final.safetensors",
)
"""Names of a checkpoint's weights, relative to its folder."""

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=-]*")


@dataclass(frozen=True)
class HubName:
    """A repository, and a folder or file in it ("" = its root)."""

    repo: str
    inside: str = ""

    @staticmethod
    def parse(text: str) -> HubName | None:
        """The name that a text stands for; None where it is none. With `hf:` before it, `CheckpointError` instead."""
        explicit = text.startswith("hf:")
        parts = text.removeprefix("hf:").rstrip("/").split("/")
        if (
            len(parts) >= 2
            and all(_PART.fullmatch(part) for part in parts)
            and (explicit or not Path(parts[0]).exists())
        ):
            return HubName("/".join(parts[:2]), "/".join(parts[2:]))
        if explicit:
            raise CheckpointError(f"{text} is no name on the hub", "expected hf:org/repo or hf:org/repo/folder")
        return None

    def __str__(self) -> str:
        return f"hf:{self.repo}/{self.inside}" if self.inside else f"hf:{self.repo}"


def fetch(name: HubName) -> Path:
    """Fetches the checkpoint's files, or takes those in the cache where the hub cannot be reached; returns the local
    folder or file. Raises `CheckpointError` where it is not there, or is no single checkpoint."""
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download
    from huggingface_hub import errors as hub

    try:
        there = HfApi().list_repo_files(name.repo)
        chosen = wanted(there, name)
        local = [Path(hf_hub_download(name.repo, file)) for file in chosen]
        root = local[0].parents[chosen[0].count("/")]
        return root / name.inside
    except hub.GatedRepoError as error:
        raise CheckpointError(
            f"{name}: the hub gives it only to those whom its owner allows", "hf auth login"
        ) from error
    except (hub.RepositoryNotFoundError, hub.EntryNotFoundError) as error:
        raise CheckpointError(f"{name}: the hub has no repository of this name", _by_hand(name)) from error
    except CheckpointError:
        raise
    except Exception as error:  # the client lets errors of whichever HTTP library it uses through
        try:
            pattern = f"{name.inside}*" if name.inside else "*"
            root = Path(snapshot_download(name.repo, allow_patterns=pattern, local_files_only=True))
            if (root / name.inside).exists():
                return root / name.inside
        except (hub.LocalEntryNotFoundError, hub.HfHubHTTPError, OSError, ValueError):
            pass
        raise CheckpointError(
            f"{name}: there is no such file or folder here, and the hub cannot be reached", _by_hand(name)
        ) from error


def wanted(there: Sequence[str], name: HubName) -> list[str]:
    """The files of a repository that the checkpoint consists of, weights first."""
    if name.inside in there:
        folder = name.inside.rpartition("/")[0]
        return [*(_spread(there, name.inside) or [name.inside]), *_present(there, folder, CONFIGS)]
    folder = name.inside
    weights = _present(there, folder, WEIGHTS) or [
        file
        for file in there
        if file.rpartition("/")[0] == folder and file.endswith(WEIGHTS_SUFFIXES) and not file.endswith(".bin")
    ]
    indices = [file for file in there if file.rpartition("/")[0] == folder and file.endswith(INDEX_SUFFIX)]
    if len(indices) == 1 and set(weights) <= set(_spread(there, indices[0])):
        return [*_spread(there, indices[0]), *_present(there, folder, CONFIGS)]
    if len(weights) > 1 and not _present(there, folder, WEIGHTS):
        raise CheckpointError(
            f"{name} holds {len(weights)} weights files", f"name one, e.g. hf:{name.repo}/{weights[0]}"
        )
    if not weights:
        inside = f"{folder}/" if folder else ""
        folders = sorted(
            {
                file.removesuffix("checkpoints/final.safetensors").rpartition("/")[0]
                for file in there
                if file.startswith(inside) and file.endswith(WEIGHTS_SUFFIXES)
            }
        )
        if not folders:
            raise CheckpointError(f"{name} holds no weights")
        some = ", ".join(folders[:6]) + (", ..." if len(folders) > 6 else "")
        raise CheckpointError(
            f"{name} holds no checkpoint itself, but {len(folders)} folders with weights: {some}",
            f"name one, e.g. hf:{name.repo}/{folders[0]}",
        )
    return [*weights, *_present(there, folder, CONFIGS)]


def _spread(there: Sequence[str], file: str) -> list[str]:
    """The files that an index, or one of those that it names, stands for, with the index; none of any other file."""
    folder, _, called = file.rpartition("/")
    shard = SHARD.fullmatch(called)
    called = shard[1] + shard[2] if shard is not None else called.removesuffix(INDEX_SUFFIX)
    index = f"{folder}/{called}{INDEX_SUFFIX}" if folder else f"{called}{INDEX_SUFFIX}"
    if index not in there:
        return []
    siblings = ((each, SHARD.fullmatch(each.rpartition("/")[2])) for each in there if each.rpartition("/")[0] == folder)
    return [*(each for each, match in siblings if match is not None and match[1] + match[2] == called), index]


def _present(there: Sequence[str], folder: str, names: Sequence[str]) -> list[str]:
    paths = [f"{folder}/{name}" if folder else name for name in names]
    return [path for path in paths if path in there]


def _by_hand(name: HubName) -> str:
    include = f" --include '{name.inside}*'" if name.inside else ""
    return (
        f"where the hub can be reached, run: hf download {name.repo}{include} --local-dir sae; then copy the folder "
        f"here and give its path, sae/{name.inside}"
    )

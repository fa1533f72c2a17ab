"""Names on the hub: which files a checkpoint consists of, and fetching them from a stand-in that speaks as it does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from safetensors.torch import save_file

from saescope.checkpoints import load_sae
from saescope.checkpoints.hub import HubName, wanted
from saescope.store.errors import UserError
from tests.checkpoints.writing import D_IN, N_FEATURES, Matrices, save_json

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "repo", "inside"),
    [
        ("org/repo", "org/repo", ""),
        ("hf:org/repo", "org/repo", ""),
        ("org/repo/layers.3", "org/repo", "layers.3"),
        ("hf:google/gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71", "google/gemma-scope-2b-pt-res",
         "layer_20/width_16k/average_l0_71"),
    ],
)  # fmt: skip
def test_names(text: str, repo: str, inside: str) -> None:
    assert HubName.parse(text) == HubName(repo, inside)


@pytest.mark.parametrize(
    "text", ["org", "/abs/path", "./org/repo", "../org/repo", "org/../repo", "a b/c", "tests/no.pt"]
)
def test_what_is_no_name(text: str) -> None:
    assert HubName.parse(text) is None
    with pytest.raises(UserError, match="no such file or folder"):
        load_sae(text)


def test_an_explicit_name_that_is_none() -> None:
    with pytest.raises(UserError, match="expected hf:org/repo"):
        load_sae("hf:org")


FILES = [
    "README.md",
    "config.json",
    "layers.3/cfg.json",
    "layers.3/sae.safetensors",
    "layers.3/optimizer_0.pt",
    "layers.4/cfg.json",
    "layers.4/sae.safetensors",
    "old/hyperparams.json",
    "old/checkpoints/final.safetensors",
    "pickles/8.pt",
    "pickles/9.pt",
    "one/x.pth",
    "large/config.json",
    "large/model-00001-of-00002.safetensors",
    "large/model-00002-of-00002.safetensors",
    "large/model.safetensors.index.json",
]


LARGE = [*FILES[-3:], "large/config.json"]


@pytest.mark.parametrize(
    ("inside", "files"),
    [
        ("layers.3", ["layers.3/sae.safetensors", "layers.3/cfg.json"]),
        ("layers.3/sae.safetensors", ["layers.3/sae.safetensors", "layers.3/cfg.json"]),
        ("old", ["old/checkpoints/final.safetensors", "old/hyperparams.json"]),
        ("pickles/9.pt", ["pickles/9.pt"]),
        ("one", ["one/x.pth"]),
        ("large", LARGE),
        ("large/model.safetensors.index.json", LARGE),
        ("large/model-00002-of-00002.safetensors", LARGE),
    ],
)
def test_only_the_files_of_one_checkpoint_are_wanted(inside: str, files: list[str]) -> None:
    assert wanted(FILES, HubName("org/repo", inside)) == files


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ("", r"no checkpoint itself, but 6 folders with weights: large, layers\.3, layers\.4, old, one, pickles"),
        ("pickles", r"2 weights files[\s\S]*hf:org/repo/pickles/8\.pt"),
        ("missing", "holds no weights"),
    ],
)
def test_folders_that_are_no_single_checkpoint(inside: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        wanted(FILES, HubName("org/repo", inside))


class Hub(ThreadingHTTPServer):
    """Serves the files below `root` as the repository org/repo, and remembers what was asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.root, self.asked = root, list[str]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        if path.startswith("/api/models/org/repo/tree/"):
            files = sorted(p for p in self.server.root.rglob("*") if p.is_file())
            listed: list[dict[str, Any]] = [
                {
                    "type": "file",
                    "path": str(p.relative_to(self.server.root)),
                    "size": p.stat().st_size,
                    "oid": "0" * 40,
                }
                for p in files
            ]
            self._answer(json.dumps(listed).encode(), "application/json")
        elif path.startswith("/org/repo/resolve/"):
            file = self.server.root / path.split("/", 5)[5]
            if self.command == "GET":
                self.server.asked.append(path.split("/", 5)[5])
            self._answer(file.read_bytes(), "application/octet-stream")
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_HEAD = do_GET

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    M = Matrices()
    state = {"encoder.weight": M.W_enc.T.contiguous(), "encoder.bias": M.b_enc, "W_dec": M.W_dec, "b_dec": M.b_dec}
    for layer in (3, 4):
        folder = tmp_path / "hub" / f"layers.{layer}"
        folder.mkdir(parents=True)
        save_file(state, folder / "sae.safetensors")
        save_json(folder, "cfg.json", {"d_in": D_IN, "num_latents": N_FEATURES, "k": layer})
        (folder / "optimizer_0.pt").write_bytes(b"not wanted")
    with Hub(tmp_path / "hub") as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


PROGRAM = """
import sys
from saescope.checkpoints import load_checkpoint
from saescope.store.errors import UserError
try:
    loaded = load_checkpoint(sys.argv[1])
    print(loaded.format, loaded.sae.config.k, loaded.metadata.get("hook"))
except UserError as error:
    print("refused", error)
"""


def ask(name: str, home: Path, endpoint: str, **more: str) -> str:
    """What a process of its own, with the hub at `endpoint`, makes of a name."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", **more}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_fetching_from_a_stand_in_and_then_offline(hub: Hub, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert ask("org/repo/layers.4", home, hub.url) == "sparsify 4 layers.4\n"
    assert sorted(hub.asked) == ["layers.4/cfg.json", "layers.4/sae.safetensors"]
    assert ask("hf:org/repo/layers.4", home, hub.url, HF_HUB_OFFLINE="1") == "sparsify 4 layers.4\n"
    told = ask("org/repo/layers.3", home, hub.url, HF_HUB_OFFLINE="1")
    assert told.startswith("refused hf:org/repo/layers.3: there is no such file or folder here")
    assert "hf download org/repo --include 'layers.3*'" in told
    told = ask("org/other", home, hub.url)
    assert "the hub has no repository of this name" in told

"""Whether two versions of saescope give the same results, to the bit.

    python benchmarks/same_results.py --before OLD/bin/saescope --after NEW/bin/saescope
    python benchmarks/same_results.py record before.json --saescope OLD/bin/saescope [--only digits-topk ...]
    python benchmarks/same_results.py compare before.json after.json

Trains every architecture for a few steps and builds, evaluates and exports entries of every kind of source, by commands
alone, one thread each. What is compared are values: each column of each Parquet table (pictures by their pixels, labels
by their names, since sentences of older versions carry figures), each tensor, each metric, what configurations and
manifests say. Prints a table and every difference; exits with 1 where there is one.

The commands of one version run in processes that branch off one which has imported the large libraries, so that they
take about four minutes on one core. It needs a system with fork.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from values import Values, values_of_folder

DIGITS = "--images embedded:digits"
TRAINED: dict[str, str] = {
    "relu": "--arch relu --l1 0.4",
    "relu-unweighted": "--arch relu --l1 0.4 --l1-weighting none",
    "relu-weighted": "--arch relu --l1 0.4 --decoder-norm free --l1-weighting decoder_norm",
    "relu-2023": "--arch relu --l1 0.4 --recipe 2023",
    "relu-april2024": "--arch relu --l1 0.4 --recipe april2024",
    "relu-annealed": "--arch relu --l1 0.4 --p-end 0.5 --p-from 0.2",
    "relu-mean": "--arch relu --l1 0.02 --l1-reduction mean",
    "relu-tied": "--arch relu --l1 0.4 --tied --pre-bias",
    "relu-refit": "--arch relu --l1 0.4 --refit 0.3 --l1-warmup 0.2 --weight-decay 0.001",
    "relu-target": "--arch relu --target-l0 6",
    "relu-resampled": "--arch relu --l1 2 --revival resample --dead-after 256 --resample-every 10",
    "kl": "--arch kl --rho 0.05",
    "kl-weighted": "--arch kl --rho 0.1 --kl-weight 0.3 --tied",
    "kl-target": "--arch kl --target-l0 5",
    "topk": "--arch topk --k 5",
    "topk-options": "--arch topk --k 5 --lr 0.003 --bias-rate 2 --lr-warmup 0.1 --lr-decay 0.3 --adam-beta1 0.8 "
    "--adam-beta2 0.99 --adam-epsilon 1e-6 --grad-clip 0 --first-norm 0.5 --first-b-dec geometric_median --pre-bias "
    "--decoder-norm free",
    "topk-zca": "--arch topk --k 5 --input-transform zca --zca-epsilon 0.1",
    "topk-raw": "--arch topk --k 5 --input-transform none --revival none",
    "topk-revived": "--arch topk --k 2 --revival both --dead-after 256 --resample-every 10 --aux-k 16 --aux-weight 0.2",
    "topk-tied": "--arch topk --k 5 --tied",
    "topk-target": "--arch topk --target-l0 6",
    "batchtopk": "--arch batchtopk --k 5",
    "matryoshka": "--arch matryoshka --k 5",
    "matryoshka-groups": "--arch matryoshka --k 5 --group-sizes 8,16,24",
    "abstopk": "--arch abstopk --k 5",
    "groupmax": "--arch groupmax --k 6",
    "gated": "--arch gated --l1 0.4",
    "gated-learning": "--arch gated --l1 0.4 --gate-decoder learns",
    "gated-target": "--arch gated --target-l0 6",
    "jumprelu": "--arch jumprelu --l0-weight 0.3",
    "jumprelu-tanh": "--arch jumprelu --l0-weight 0.3 --l0-penalty tanh --tanh-scale 3 --revival pre_activation "
    "--pre-activation-weight 0.001",
    "jumprelu-options": "--arch jumprelu --l0-weight 0.3 --bandwidth 0.2 --initial-threshold 0.3 --l1-warmup 0.2",
    "jumprelu-target": "--arch jumprelu --target-l0 6",
    "deep-k": "--arch deep --k 5",
    "deep-l1": "--arch deep --l1 0.4 --encoder-widths 32,24 --decoder-widths 0",
    "deep-target": "--arch deep --target-l0 5",
}
"""Name -> training options, on digits."""
BUILT = ("relu", "relu-tied", "kl", "topk", "topk-zca", "batchtopk", "matryoshka", "abstopk", "groupmax", "gated")
BUILT += ("jumprelu", "jumprelu-tanh", "deep-k", "deep-l1")
"""Those of which a store entry is built, and every metric told."""

SOURCES: dict[str, str] = {
    "photos": "--images embedded:photos --patch 8 --stride 8 --image-mode grey",
    "overlapping": "--images coloured.npy --patch 4 --stride 2",
    "idx": "--images idx",
    "parquet": "--images pictures.parquet",
    "folder": "--images pictures --image-mode grey",
    "vectors": "--activations vectors.npy",
    "sequences": "--activations sequences.safetensors",
    "toy": "--toy 64x24:p=0.05,items=2000,groups=8,awake=0.5",
    "gpt2": "--texts texts.jsonl --model gpt2 --hook blocks.1.hook_resid_post --context 24",
    "llama": "--texts texts --model llama --hook blocks.0.hook_resid_post --context 16 --context-stride 8 --cache off",
    "packed": "--texts texts.jsonl --model llama --hook blocks.1.hook_mlp_out --context 32 --packing packed "
    "--exclude-norm 3 --max-tokens 2500 --cache-dtype float16",
    "hooks": "--texts texts.jsonl --model gpt2 --hook blocks.1.hook_resid_mid --hook-out blocks.1.hook_mlp_out "
    "--context 24",
    "vit": "--images pictures --model vit --hook blocks.1.hook_resid_post",
    "transcoder": "--activations vectors.npy --targets targets.npy",
}
SKIPS = ("transcoder",)
EVALUATED_MORE = {"toy": "", "idx": "--probe label", "gpt2": "--probe kind --n-ce-positions 200"}
STEPS = "--n-features 48 --steps 40 --batch-size 128 --seed 1"


def jobs() -> dict[str, list[str]]:
    """Name -> commands, to be run in a folder with `small_inputs`; results go to a folder of the job's name."""
    made = {}
    for name, options in TRAINED.items():
        out = f"digits-{name}"
        commands = [f"train {DIGITS} {STEPS} {options} --out {out}/sae"]
        if name in BUILT:
            commands.append(f"build {out}/sae {DIGITS} --store {out}/store --sae-id it")
            commands.append(f"evaluate {out}/sae {DIGITS} --json")
        made[out] = commands
    for name, source in SOURCES.items():
        out = f"source-{name}"
        skip = "--skip" if name in SKIPS else ""
        commands = [
            f"train {source} {STEPS} --arch topk --k 4 {skip} --out {out}/sae",
            f"build {out}/sae {source} --store {out}/store --sae-id it --n-samples 3 --n-sample-items 20",
        ]
        if name in EVALUATED_MORE:
            commands.append(f"evaluate {out}/sae {source} {EVALUATED_MORE[name]} --json")
        made[out] = commands
    for name, options in (("relu", "--l1 0.2"), ("kl", "--rho 0.05")):
        out = f"transcoder-{name}"
        source = SOURCES["transcoder"]
        made[out] = [
            f"train {source} {STEPS} --arch {name} {options} --out {out}/sae",
            f"evaluate {out}/sae {source} --json",
        ]
    made["sweep"] = [
        f"sweep {DIGITS} {STEPS} --arch topk --values 2,6 --store sweep/store --name swept",
        f"sweep {DIGITS} {STEPS} --arch jumprelu --parameter target-l0 --values 5 --store sweep/store --name swept",
        *(
            f"export swept-topk-k6 --store sweep/store --format {f} --out sweep/{f}"
            for f in ("parquet", "csv", "jsonl")
        ),
        "convert sweep/store/saes/swept-topk-k2 --to saelens --out sweep/saelens",
    ]
    return made


RUNNER = """
import io, json, os, sys, time, traceback
import duckdb, numba, numpy, pyarrow.parquet, safetensors.torch, sklearn.datasets, torch, transformers
torch.set_num_threads(1)

def run(words, out, errors):
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for number, path in ((1, out), (2, errors)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
            sys.argv = ["saescope", *words]
            from saescope.cli import main
            main()
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, time.perf_counter() - started

for line in sys.stdin:
    given = json.loads(line)
    print(json.dumps(run(given["words"], given["out"], given["errors"])), flush=True)
"""


class Version:
    """The commands of one installation of saescope."""

    def __init__(self, saescope: Path, folder: Path) -> None:
        self.folder = folder
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "NUMBA_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "SAESCOPE_CACHE": str(folder / "cache"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "PYTHONWARNINGS": "ignore",
        }
        python = saescope if saescope.name.startswith("python") else saescope.parent / "python"
        self.process = subprocess.Popen(
            [python, "-P", "-c", RUNNER],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, command: str) -> tuple[int, float, str, str]:
        """Exit code, seconds, stdout and stderr of `saescope COMMAND`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        paths = {"out": self.folder / "stdout", "errors": self.folder / "stderr"}
        given = {"words": command.split(), **{name: str(path) for name, path in paths.items()}}
        self.process.stdin.write(json.dumps(given) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"the Python of {self.process.args} ended")
        code, seconds = json.loads(answer)
        return code, seconds, paths["out"].read_text("utf-8"), paths["errors"].read_text("utf-8")

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def record(saescope: Path, only: list[str]) -> dict[str, Values]:
    """Values by job; what a command says when it fails is a value too."""
    from small_inputs import write_inputs

    results: dict[str, Values] = {}
    with tempfile.TemporaryDirectory(prefix="same-results-") as name:
        folder = Path(name)
        write_inputs(folder)
        results["inputs"] = values_of_folder(folder)
        version = Version(saescope, folder)
        for job, commands in jobs().items():
            if only and not any(part in job for part in only):
                continue
            started = time.perf_counter()
            values: Values = {}
            for number, command in enumerate(commands):
                code, _, out, errors = version(with_version(command, folder))
                if code:
                    values[f"{number} {command.split()[0]} failed"] = errors[-600:]
                    print(f"{job}: saescope {command}\n{errors}", file=sys.stderr)
                if command.startswith("evaluate") and not code:
                    values.update({f"evaluate {name}": repr(value) for name, value in _flat(json.loads(out)).items()})
            values |= values_of_folder(folder / job)
            results[job] = values
            print(f"{job}: {len(values)} values, {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)
        version.close()
    return results


def with_version(command: str, folder: Path) -> str:
    """The command, with the live version's SAE in the place of an entry that is to be converted."""
    words = command.split()
    if words[0] == "convert":
        entry = folder / words[1]
        words[1] = f"{words[1]}/{(entry / 'CURRENT').read_text('utf-8').strip()}/sae"
    return " ".join(words)


def _flat(content: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(content, dict):
        return {name: content}
    return {k: v for key, each in content.items() for k, v in _flat(each, f"{name} {key}".strip()).items()}


def compare(before: dict[str, Values], after: dict[str, Values]) -> int:
    """Print the table and the differences; their number."""
    differences: list[str] = []
    print(f"{'job':28} {'values':>7} {'same':>7} {'differ':>7} {'missing':>8} {'new':>5}")
    for job in sorted({*before, *after}):
        a, b = before.get(job, {}), after.get(job, {})
        missing, new = sorted(a.keys() - b.keys()), sorted(b.keys() - a.keys())
        differ = sorted(name for name in a.keys() & b.keys() if a[name] != b[name])
        same = len(a.keys() & b.keys()) - len(differ)
        print(f"{job:28} {len(a):7} {same:7} {len(differ):7} {len(missing):8} {len(new):5}")
        differences += [f"{job}: {name}: {a[name]} -> {b[name]}" for name in differ]
        differences += [f"{job}: {name} is missing after" for name in missing]
        differences += [f"{job}: {name} is new" for name in new]
    print(*differences, sep="\n")
    print(f"{len(differences)} differences" if differences else "no difference")
    return len(differences)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="saescope (or the Python) of the one version")
    parser.add_argument("--after", type=Path, help="and of the other")
    parser.add_argument("--only", nargs="+", default=[], help="jobs whose name holds one of these")
    commands = parser.add_subparsers(dest="command")
    recording = commands.add_parser("record", help="values of one version, as JSON")
    recording.add_argument("out", type=Path)
    recording.add_argument("--saescope", type=Path, default=Path(sys.executable).parent / "saescope")
    recording.add_argument("--only", nargs="+", default=[])
    comparing = commands.add_parser("compare", help="two of them")
    comparing.add_argument("recorded", type=Path, nargs=2)
    args = parser.parse_args()
    if args.command == "record":
        args.out.write_text(json.dumps(record(args.saescope.absolute(), args.only), indent=1, sort_keys=True), "utf-8")
        return
    if args.command == "compare":
        before, after = (json.loads(path.read_text("utf-8")) for path in args.recorded)
        keys = before.keys() & after.keys()
        before, after = ({name: each[name] for name in keys} for each in (before, after))
    elif args.before and args.after:
        before, after = (record(path.absolute(), args.only) for path in (args.before, args.after))
    else:
        parser.error("give --before and --after, or record, or compare")
    sys.exit(1 if compare(before, after) else 0)


if __name__ == "__main__":
    main()

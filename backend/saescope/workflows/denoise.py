"""Pictures through a trained denoiser."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from saescope.autoencoders.device import choose_device
from saescope.checkpoints import load_checkpoint
from saescope.checkpoints.conversion import training_space
from saescope.denoising.denoiser import Denoiser
from saescope.denoising.quality import psnr, ssim
from saescope.denoising.tiles import Picture
from saescope.progress import SILENT, Progress
from saescope.sources.images.image_source import ImageSource
from saescope.sources.images.image_stack import mode_of
from saescope.sources.images.opening import find_images, open_data
from saescope.sources.images.options import PixelOptions
from saescope.sources.images.picture_folder import PictureData, pictures_under
from saescope.sources.images.png import encode_png
from saescope.sources.splits import parts_of
from saescope.store import atomic
from saescope.store.errors import DataError, OptionError
from saescope.workflows.notes import Note, warn

GAP = 2
"""White pixels between pictures side by side."""
SIGMAS = 6.0
"""Standard deviations beyond the range of values that noise is thought to reach."""


@dataclass(frozen=True)
class DenoisedPicture:
    """What became of one picture. PSNR (dB) and SSIM are against the clean one: None where there is none."""

    name: str
    height: int
    width: int
    noise_level: float | None
    """As given, added or estimated; None where it is not known."""
    psnr_noisy: float | None
    psnr: float | None
    ssim: float | None


@dataclass(frozen=True)
class Denoised:
    """What became of all pictures: means over those that the figure exists for, else None."""

    pictures: list[DenoisedPicture]
    psnr: float | None
    ssim: float | None
    psnr_noisy: float | None
    noise_level: float | None


def denoise(
    checkpoint: Path | str,
    pictures: PixelOptions,
    out: Path | str,
    *,
    clean: Path | str | None = None,
    noise_level: float | None = None,
    add_noise: float | None = None,
    seed: int = 0,
    cycle_spinning: bool = False,
    format: str | None = None,
    assume: Mapping[str, Any] | None = None,
    device: str = "auto",
    note: Note = warn,
    progress: Progress = SILENT,
) -> Denoised:
    """Denoises `pictures` of any size with the model in `checkpoint`, and writes to the new folder `out`:
    denoised/NAME.png, side-by-side/NAME.png (noisy, denoised, what was taken away about grey, clean) and summary.json.

    Pictures larger than the model's are taken in overlapping tiles, each picture at its own noise level: `noise_level`,
    or estimated where that is possible. `clean` are the same pictures without noise; with `add_noise`, a level, the
    pictures themselves are, and are corrupted first as in training, by `seed`. `cycle_spinning` averages over shifts
    (see `saescope.denoising.cycle_spinning`). Raises `UserError`.
    """
    target = Path(out)
    _check_free(target)
    _check_levels(noise_level, add_noise, clean)
    where = choose_device(device)
    loaded = load_checkpoint(checkpoint, format, assume)
    model = Denoiser.of(loaded.sae.to(where), training_space(loaded, str(checkpoint))[0], str(checkpoint))
    for text in (*loaded.notes, *_remarks(model)):
        note(text)
    noisy, pairs = _opened(pictures, progress), None
    if clean is not None:
        pairs = _opened(replace(pictures, images=str(clean)), progress)
        if noisy.n_items != pairs.n_items:
            raise DataError(
                f"{pictures.path} has {noisy.n_items:,} pictures, {clean} has {pairs.n_items:,}",
                "give as many clean pictures, in the same order",
            )
    how = _How(noise_level, add_noise, cycle_spinning)
    done: list[DenoisedPicture] = []
    seen = _Extent()
    atomic.make_folder(target.parent)
    with atomic.new_folder(target) as folder:
        for name in ("denoised", "side-by-side"):
            (folder / name).mkdir()
        beside = iter(pairs) if pairs is not None else None
        for index, (name, picture) in enumerate(noisy):
            reference = next(beside) if beside is not None else None
            seen.add(picture)
            data_range = noisy.data_range if pairs is None else pairs.data_range
            row, shown = _one(model, name, picture, reference, how, seed + index, data_range)
            (folder / "denoised" / f"{name}.png").write_bytes(_png(shown[1], model.value_range))
            (folder / "side-by-side" / f"{name}.png").write_bytes(_side_by_side(shown, model.value_range))
            done.append(row)
            progress.update("denoising", index + 1, noisy.n_items)
        result = _summary(done)
        (folder / "summary.json").write_text(json.dumps(_json_ready(result), indent=1) + "\n", encoding="utf-8")
    for remark in (_outside(model, done), seen.beyond(model)):
        if remark is not None:
            note(remark)
    return result


class _Extent:
    """Least and greatest value of the pictures."""

    def __init__(self) -> None:
        self.low, self.high = np.inf, -np.inf

    def add(self, picture: Picture) -> None:
        self.low, self.high = min(self.low, float(picture.min())), max(self.high, float(picture.max()))

    def beyond(self, model: Denoiser) -> str | None:
        """Says where values lie so far outside the model's that no noise of a trained level explains it."""
        low, high = model.value_range
        slack = high - low
        if model.settings.corruption == "gaussian" and model.low_high:
            slack += SIGMAS * model.low_high[1]
        if self.low >= low - slack and self.high <= high + slack:
            return None
        return (
            f"the pictures hold values from {self.low:g} to {self.high:g}, the model's are {low:g} to {high:g}: if "
            "they are stored in other units, say which stand for 0 and 1 with --value-range"
        )


class _How(NamedTuple):
    """What holds for all pictures."""

    noise_level: float | None
    add_noise: float | None
    cycle_spinning: bool


class _Named(NamedTuple):
    name: str
    picture: Picture


class _Pictures:
    """Pictures one after another, each with a name for its files; those of a folder may differ in size."""

    def __init__(self, sources: list[ImageSource], names: list[str]) -> None:
        self._sources, self._names = sources, names
        self.n_items = sum(source.n_items for source in sources)
        ranges = [source.describe().value_range for source in sources]
        self.data_range = max(high for _, high in ranges) - min(low for low, _ in ranges)
        """How far apart the values that are shown as black and white lie."""

    def __iter__(self) -> Iterator[_Named]:
        for source, name in zip(self._sources, self._names, strict=True):
            for batch in source.batches():
                values: Float[np.ndarray, "item height width channels"] = batch.activations.numpy().reshape(
                    -1, *source.input_shape
                )
                for item, picture in zip(batch.item_ids, values, strict=True):
                    yield _Named(name if name and source.n_items == 1 else f"{name}{item:05d}", picture)


def _opened(options: PixelOptions, progress: Progress) -> _Pictures:
    data = find_images(options)
    if not isinstance(data, PictureData):
        return _Pictures([open_data(options, "evaluate", progress)], [""])
    split = options.split or ("test" if data.splits else None)
    roots = parts_of(data.roots, split, options.path)
    files = [(root, path) for root in roots for path in ([root] if root.is_file() else pictures_under(root))]
    names = [
        ("-".join(path.relative_to(root).parts) if root.is_dir() else path.name).replace(".", "-").rpartition("-")[0]
        for root, path in files
    ]
    repeated = len(set(names)) < len(names)
    names = [f"{name}-{at:05d}" if repeated else name for at, name in enumerate(names)]
    sources = [open_data(replace(options, images=str(path), split=None), "evaluate", progress) for _, path in files]
    return _Pictures(sources, [n if s.n_items == 1 else f"{n}-" for n, s in zip(names, sources, strict=True)])


def _one(
    model: Denoiser,
    name: str,
    picture: Picture,
    reference: _Named | None,
    how: _How,
    seed: int,
    data_range: float,
) -> tuple[DenoisedPicture, list[Picture]]:
    """The row of a picture, and what is shown of it. `data_range` is that of clean pictures, for PSNR and SSIM."""
    height, width, channels = picture.shape
    if channels != model.shape[2]:
        raise DataError(
            f"picture {name} is {mode_of(channels)}, the model was trained on {mode_of(model.shape[2])} ones",
            f"--image-mode {mode_of(model.shape[2])} converts them",
        )
    clean = None if reference is None else reference.picture
    if clean is not None and clean.shape != picture.shape:
        raise DataError(
            f"picture {name} is {height} x {width} pixels with {channels} channels, the clean one "
            f"{clean.shape[0]} x {clean.shape[1]} with {clean.shape[2]}",
            "give clean pictures of the same size, in the same order",
        )
    if how.add_noise is not None:
        clean, picture = picture, model.corrupted(picture[None], how.add_noise, seed)[0]
    level = how.noise_level if how.noise_level is not None else how.add_noise
    if level is None:
        level = model.estimated_level(picture)
    if level is None and model.is_told:
        raise OptionError(
            f"the model is told the level of its noise, and that of {model.settings.corruption} in picture {name} "
            "cannot be estimated",
            "give it: --noise-level X",
        )
    found = model.denoised(picture, level, how.cycle_spinning)
    low, high = model.value_range
    before, after, alike = (None, None, None)
    shown = [picture, found, (picture - found) / 2 + (low + high) / 2]
    if clean is not None:
        shown.append(clean)
        before = float(psnr(clean[None], picture[None], data_range)[0])
        after = float(psnr(clean[None], found[None], data_range)[0])
        alike = float(ssim(clean[None], found[None], data_range)[0])
    return DenoisedPicture(name, height, width, level, before, after, alike), shown


def _summary(rows: list[DenoisedPicture]) -> Denoised:
    def mean(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None and np.isfinite(value)]
        return float(np.mean(known)) if known else None

    return Denoised(
        rows,
        mean([row.psnr for row in rows]),
        mean([row.ssim for row in rows]),
        mean([row.psnr_noisy for row in rows]),
        mean([row.noise_level for row in rows]),
    )


def _json_ready(result: Denoised) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        return None if isinstance(value, float) and not np.isfinite(value) else value

    content = asdict(result)
    rows = [{name: plain(value) for name, value in row.items()} for row in content["pictures"]]
    return {**{name: plain(value) for name, value in content.items()}, "pictures": rows}


def _check_levels(noise_level: float | None, add_noise: float | None, clean: Path | str | None) -> None:
    for name, level in (("noise_level", noise_level), ("add_noise", add_noise)):
        if level is not None and not (np.isfinite(level) and level >= 0):
            raise OptionError(f"{name} is {level:g}, expected a level of at least 0", "e.g. 0.4")
    if add_noise is not None and clean is not None:
        raise OptionError(
            "noise is to be added, so the pictures are the clean ones, and others are given too",
            "leave out --clean or --add-noise",
        )


def _remarks(model: Denoiser) -> list[str]:
    if model.low_high is not None or model.from_pairs:
        return []
    return ["the model was trained without corruption: it rebuilds pictures, and was not asked to take noise away"]


def _outside(model: Denoiser, rows: list[DenoisedPicture]) -> str | None:
    """Says which levels the model was not trained at; a single trained level is missed by more than a tenth."""
    if model.low_high is None:
        return None
    low, high = model.low_high
    slack = 0.1 * high if low == high else 1e-6
    levels = [row.noise_level for row in rows if row.noise_level is not None]
    beyond = [level for level in levels if level < low - slack or level > high + slack]
    if not beyond:
        return None
    trained = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    found = f"{min(beyond):.3g}" if min(beyond) == max(beyond) else f"{min(beyond):.3g} to {max(beyond):.3g}"
    return f"outside the trained levels, {trained}, is the noise of {len(beyond):,} of {len(rows):,} pictures: {found}"


def _check_free(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()):
        raise OptionError(f"{out} is not empty", "name a folder that is empty or not there")
    if out.exists() and not out.is_dir():
        raise OptionError(f"{out} is a file, and a folder is to be written", "name another folder")


def _png(picture: Picture, value_range: tuple[float, float]) -> bytes:
    low, high = value_range
    return encode_png(np.clip(np.rint((picture - low) / (high - low) * 255), 0, 255).astype(np.uint8))


def _side_by_side(pictures: list[Picture], value_range: tuple[float, float]) -> bytes:
    gap = np.full((pictures[0].shape[0], GAP, pictures[0].shape[2]), value_range[1], np.float32)
    pieces = [piece for picture in pictures for piece in (gap, picture)][1:]
    return _png(np.concatenate(pieces, axis=1), value_range)

"""From options to images as pixels or patches of them, whatever file they are in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from saescope.progress import SILENT, Progress
from saescope.sources.images import arrays, embedded_images, idx, parquet_images, picture_folder
from saescope.sources.images.image_data import ImageData, ImageSet
from saescope.sources.images.image_source import ImageSource
from saescope.sources.images.options import CapturedOptions, ImageOptions, PatchOptions
from saescope.sources.images.pairing import check_pair
from saescope.sources.images.patches import PatchSource
from saescope.sources.images.pixels import PixelSource
from saescope.sources.labels import chosen_items
from saescope.sources.options import Purpose, Split
from saescope.sources.splits import chosen_split
from saescope.sources.streams import compression_of, head_of, reading_errors
from saescope.store.errors import DataError, OptionError

_EXPECTED = (
    "expected an IDX file or MNIST-style folder, .npy, .npz, a picture or a folder of pictures, Parquet, "
    "or embedded:digits"
)


def open_data(options: ImageOptions, purpose: Purpose, progress: Progress = SILENT) -> ImageSource:
    """The images that `options` name, as pixels or patches; to train, with their pair where they have one."""
    source = _opened(options, purpose, progress)
    if isinstance(options, CapturedOptions) and options.pair is not None:
        if purpose == "train":
            second = _opened(replace(options, images=options.pair, pair=None), purpose, progress)
            check_pair(source, second, (options.path, options.pair))
            source.pair = second
        else:
            progress.tell(f"{options.pair}: is not read, a pair being for training alone")
    return source


def _opened(options: ImageOptions, purpose: Purpose, progress: Progress) -> ImageSource:
    data = find_images(options)
    split = chosen_split(data.splits, options, purpose, progress)
    images = load_images(data, split, options, progress)
    if isinstance(options, PatchOptions):
        return PatchSource(
            images,
            patch=options.patch,
            stride=options.stride,
            path=options.path,
            format=data.format,
            split=split,
            labels=options,
            progress=progress,
        )
    return PixelSource(images, path=options.path, format=data.format, split=split, labels=options, progress=progress)


def load_images(data: ImageData, split: Split | None, options: ImageOptions, progress: Progress = SILENT) -> ImageSet:
    """The images of a split, those alone that `options` choose by their label."""
    images = data.load(split, progress)
    if not options.chooses:
        return images
    items = chosen_items(images.labels, options.path, **options.choice)
    progress.tell(f"{options.path}: {len(items):,} of {images.stack.n_items:,} images are read, by their label")
    return images.taken(items)


def has_splits(options: ImageOptions) -> bool:
    """Whether the data has a train and a test split of its own."""
    return bool(find_images(options).splits)


def find_images(options: ImageOptions) -> ImageData:
    """The data set that `options` name. `DataError` where there is none, or where an option means nothing for it."""
    data = _find(options)
    for name in ("layout", "value_range", "data_key", "label_key"):
        if getattr(options, name) is not None and name not in data.uses:
            raise OptionError(
                f"{name} is given, but it means nothing for {options.path} ({data.format})", "leave it out"
            )
    return data


def _find(options: ImageOptions) -> ImageData:
    if options.path.startswith(embedded_images.PREFIX):
        return embedded_images.find_embedded(options)
    path = Path(options.path).expanduser()
    with reading_errors(path):
        if path.is_dir():
            return _find_in_folder(path, options)
        if not path.exists():
            raise DataError(f"{path}: no such file or folder", _EXPECTED)
    head = head_of(path, 8)
    if not head:
        raise DataError(f"{path} is empty", _EXPECTED)
    if head.startswith(arrays.NPY_MAGIC):
        return arrays.NpyData(path, options)
    if head.startswith(b"PK\x03\x04") or path.suffix.lower() == ".npz":
        return arrays.find_npz(path, options)
    if path.suffix.lower() == ".npy":
        return arrays.NpyData(path, options)
    if idx.is_idx_magic(head) or head.startswith(idx.GZIP_MAGIC) or "ubyte" in path.name.lower():
        return idx.find_file(path, options)
    if head.startswith(parquet_images.MAGIC) or path.suffix.lower() in (".parquet", ".pq"):
        return parquet_images.find_file(path, options)
    if path.suffix.lower() in picture_folder.SUFFIXES:
        return picture_folder.PictureData(options, {"all": path})
    if (compression := compression_of(head)) is not None:
        raise DataError(f"{path}: is compressed by {compression}", "unpack it first: only IDX files are read from gzip")
    raise DataError(f"{path}: not a file of images that is known (it starts with bytes {head.hex(' ')})", _EXPECTED)


def _find_in_folder(path: Path, options: ImageOptions) -> ImageData:
    for find in (idx.find_in_folder, parquet_images.find_in_folder, picture_folder.find_in_folder):
        found: ImageData | None = find(path, options)
        if found is not None:
            return found
    names = sorted(p.name for p in path.iterdir())
    if not names:
        raise DataError(f"{path}: the folder is empty", _EXPECTED)
    listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    raise DataError(f"{path}: holds no images (found {listed})", _EXPECTED)

"""`saescope denoise`: pictures through a trained denoiser."""

from __future__ import annotations

from pathlib import Path

import click

from saescope.cli.checkpoint_options import checkpoint_options
from saescope.cli.extras import need
from saescope.cli.report import json_object, json_option, line, number


@click.command()
@click.argument("checkpoint")
@click.argument("pictures")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder to write to.")
@click.option("--clean", metavar="PATH", help="The same pictures without noise, to compare with.")
@click.option(
    "--noise-level",
    type=float,
    metavar="X",
    help="Level of the noise, as --noise of training has it.  [default: estimated]",
)
@click.option("--add-noise", type=float, metavar="X", help="Corrupt clean PICTURES to this level first, for a test.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    metavar="N",
    help="Of the noise that is added.",
)
@click.option(
    "--cycle-spinning",
    is_flag=True,
    help="Denoise each picture and its shifts by one pixel, and take the mean: five times the work, mostly 0.1 dB.",
)
@click.option(
    "--image-mode",
    type=click.Choice(["grey", "colour"]),
    help="Convert to one channel or to three.  [default: as the pictures]",
)
@click.option(
    "--value-range",
    type=(float, float),
    metavar="LOW HIGH",
    help="Stored values that stand for 0 and 1.  [default: 0 255 for integers, 0 65535 for those of 16 "
    "bits, floats as they are]",
)
@click.option("--split", type=click.Choice(["train", "test", "validation", "all"]), help="Which part of PICTURES.")
@checkpoint_options
@click.option("--device", default="auto", show_default=True, metavar="DEVICE", help="auto, cpu or cuda.")
@json_option
def command(
    checkpoint: str,
    pictures: str,
    out: Path,
    clean: str | None,
    noise_level: float | None,
    add_noise: float | None,
    seed: int,
    cycle_spinning: bool,
    image_mode: str | None,
    value_range: tuple[float, float] | None,
    split: str | None,
    format_name: str | None,
    assume: dict[str, str],
    device: str,
    as_json: bool,
) -> None:
    """Take the noise out of PICTURES (a picture, a folder of them, .npy, an IDX file) with the model in CHECKPOINT.

    Writes denoised pictures, each beside the noisy one, what was taken away and the clean one, and summary.json to DIR,
    which must be empty or not there yet. Pictures may have any size.
    """
    need("backend")
    from saescope.progress.terminal import terminal_progress
    from saescope.sources.images.options import PixelOptions
    from saescope.sources.kinds import SourceOptions
    from saescope.workflows import denoise

    options = SourceOptions(images=pictures, image_mode=image_mode, value_range=value_range, split=split)
    assert isinstance(options, PixelOptions)
    with terminal_progress() as progress:
        found = denoise(
            checkpoint,
            options,
            out,
            clean=clean,
            noise_level=noise_level,
            add_noise=add_noise,
            seed=seed,
            cycle_spinning=cycle_spinning,
            format=format_name,
            assume=assume,
            device=device,
            note=progress.tell,
            progress=progress,
        )
    if as_json:
        json_object(
            {
                "psnr": found.psnr,
                "ssim": found.ssim,
                "psnr_noisy": found.psnr_noisy,
                "noise_level": found.noise_level,
                "n_pictures": len(found.pictures),
                "out": str(out),
            }
        )
        return
    level = "" if found.noise_level is None else f", mean noise level {number(found.noise_level)}"
    line(f"denoised {len(found.pictures):,} pictures{level}: {out}")
    if found.psnr is not None:
        line(f"PSNR {found.psnr:.2f} dB (noisy {number(found.psnr_noisy, 4)}), SSIM {number(found.ssim)}")

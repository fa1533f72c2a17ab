"""From atoms to an autoencoder that is coded, built, browsed and exported as any other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from saescope.autoencoders import architecture
from saescope.autoencoders.linear import LinearConfig
from saescope.autoencoders.protocol import Autoencoder, AutoencoderConfig
from saescope.baselines.method import Atoms
from saescope.baselines.registry import Method
from saescope.baselines.settings import MethodSettings
from saescope.progress import SILENT, Progress
from saescope.sources.protocol import ActivationTable


def fitted(
    method: Method, table: ActivationTable, settings: MethodSettings, progress: Progress = SILENT
) -> tuple[Autoencoder, Atoms]:
    """The method fitted on the rows of `table`, as an autoencoder, with what it found.

    `OptionError` for settings that do not go with the method or the data, `DataError` for data that does not go with
    the method.
    """
    complete = completed(method, table, settings)
    found = method.fit(table, complete, progress)
    return autoencoder(method, found, complete), found


def completed(method: Method, table: ActivationTable, settings: MethodSettings) -> MethodSettings:
    """The settings with what the data decides, checked."""
    settings.check(method.name, table.d_in, table.n_rows)
    complete = settings if settings.n_components is not None else replace(settings, n_components=table.d_in)
    _config(method, complete, table.d_in, complete.n_components or table.d_in)
    return complete


def autoencoder(method: Method, found: Atoms, settings: MethodSettings) -> Autoencoder:
    """Atoms that were found, coded as the method and `settings` say."""
    sae = architecture(method.name).module(_config(method, settings, found.atoms.shape[1], len(found.atoms)))
    tensors = {"W_dec": found.atoms, "b_dec": found.offset}
    if found.filters is not None:
        tensors |= {"W_enc": found.filters.T, "b_enc": np.zeros(len(found.atoms))}
    sae.load_tensors({name: torch.from_numpy(np.ascontiguousarray(t)) for name, t in tensors.items()})
    return sae


def _config(method: Method, settings: MethodSettings, d_in: int, n_features: int) -> AutoencoderConfig:
    kind: Any = architecture(method.name).config
    linear = {"apply_b_dec_to_input": True} if issubclass(kind, LinearConfig) else {}
    config: AutoencoderConfig = kind(d_in=d_in, n_features=n_features, **linear, **settings.kept(method.name, d_in))
    return config

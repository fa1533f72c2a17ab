"""dictionary_learning (saprmarks): `ae.pt` and, beside it, config.json with the trainer's options.

| dict_class | architecture | tensors |
|---|---|---|
| AutoEncoder | relu, `bias` subtracted | encoder.weight, encoder.bias, decoder.weight, bias |
| AutoEncoderNew | relu | encoder.*, decoder.weight, decoder.bias |
| GatedAutoEncoder | gated | encoder.weight, decoder.weight, decoder_bias, r_mag, gate_bias, mag_bias |
| JumpReluAutoEncoder | jumprelu, b_dec not subtracted | W_enc, b_enc, W_dec, b_dec, threshold |
| AutoEncoderTopK | topk | encoder.*, decoder.weight, b_dec, k, threshold |
| BatchTopKSAE | batchtopk | the same |
| MatryoshkaBatchTopKSAE | matryoshka | W_enc, b_enc, W_dec, b_dec, k, threshold, group_sizes |

Without config.json TopK and BatchTopK look alike: `--assume activation=topk` or `batchtopk` says which. A threshold of
-1 was never calibrated: the k largest of each position are kept then. An AutoEncoder whose atoms do not have norm 1 is
read as it is stored; the library's own `from_pretrained` moves their norms into the encoder, which leaves
reconstructions as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from saescope.autoencoders.batchtopk.module import UNCALIBRATED
from saescope.checkpoints.assembly import assemble
from saescope.checkpoints.assumptions import Assumptions, how_to_assume
from saescope.checkpoints.config import Config
from saescope.checkpoints.formats.protocol import CheckpointFormat, Loaded
from saescope.checkpoints.metadata import metadata
from saescope.checkpoints.tensors.files import CheckpointFiles
from saescope.checkpoints.tensors.weights import Weights
from saescope.store.errors import CheckpointError

WEIGHTS_NAME = "ae.pt"
CLASSES = {
    "AutoEncoder": "relu",
    "AutoEncoderNew": "relu",
    "GatedAutoEncoder": "gated",
    "JumpReluAutoEncoder": "jumprelu",
    "AutoEncoderTopK": "topk",
    "BatchTopKSAE": "batchtopk",
    "MatryoshkaBatchTopKSAE": "matryoshka",
}
"""dict_class -> architecture."""

_LINEAR = {"encoder.weight", "encoder.bias", "decoder.weight"}


def recognise(files: CheckpointFiles) -> bool:
    path = files.find(WEIGHTS_NAME) or files.single
    if isinstance(files.config_or_nothing("config.json").any("trainer"), dict) and path is not None:
        return True
    return _class_of(files.content_or_nothing(path).tensors) is not None


def _class_of(tensors: dict[str, Tensor]) -> str | None:
    """The class whose tensors these are, where their names alone say so."""
    names = set(tensors)
    if {"gate_bias", "mag_bias", "decoder_bias"} <= names:
        return "GatedAutoEncoder"
    if {"group_sizes", "W_enc", "threshold"} <= names:
        return "MatryoshkaBatchTopKSAE"
    if names == {*_LINEAR, "bias"}:
        return "AutoEncoder"
    if {*_LINEAR, "b_dec", "k"} <= names or names == {*_LINEAR, "b_dec"}:
        return "TopK or BatchTopK"
    return None


def load(files: CheckpointFiles, assume: Assumptions) -> Loaded:
    path = files.find(WEIGHTS_NAME) or files.single
    if path is None:
        raise CheckpointError(
            f"{WEIGHTS_NAME} is missing in {files.folder}", "dictionary_learning saves its weights there"
        )
    content = files.content(path)
    config = files.config("config.json") or Config({}, "config.json")
    trainer = config.inner("trainer")
    name = _architecture(trainer.text("dict_class"), content.tensors, assume, str(path))
    sizes = {"d_in": trainer.whole("activation_dim"), "n_features": trainer.whole("dict_size")}
    weights = Weights(str(path), content, sizes)
    fields: dict[str, Any] = {"apply_b_dec_to_input": True}
    notes: list[str] = []
    if name == "relu":
        new = not weights.has("bias")
        fields["apply_b_dec_to_input"] = not new
        tensors = weights.take_linear_layers(
            "encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias" if new else "bias"
        )
    elif name == "gated":
        tensors = {
            "W_enc": weights.take("encoder.weight", "n_features", "d_in").T,
            "W_dec": weights.take("decoder.weight", "d_in", "n_features").T,
            "b_dec": weights.take("decoder_bias", "d_in"),
            "r_mag": weights.take("r_mag", "n_features"),
            "b_gate": weights.take("gate_bias", "n_features"),
            "b_mag": weights.take("mag_bias", "n_features"),
        }
    elif name in ("jumprelu", "matryoshka"):
        tensors = {
            "W_enc": weights.take("W_enc", "d_in", "n_features"),
            "b_enc": weights.take("b_enc", "n_features"),
            "W_dec": weights.take("W_dec", "n_features", "d_in"),
            "b_dec": weights.take("b_dec", "d_in"),
        }
    else:
        tensors = weights.take_linear_layers("encoder.weight", "encoder.bias", "decoder.weight", "b_dec")
    if name == "jumprelu":
        fields["apply_b_dec_to_input"] = False
        tensors["threshold"] = weights.take("threshold", "n_features")
    if name in ("topk", "batchtopk", "matryoshka"):
        threshold, k = weights.number("threshold"), weights.number("k")
        if name == "matryoshka":
            fields["group_sizes"] = weights.whole_numbers("group_sizes")
        weights.check()
        recorded = trainer.whole("k") if k is None else int(k)
        fields["k"] = assume.need("k", recorded, str(path))
        if name != "topk":
            if threshold is None or threshold < 0:
                notes.append("the threshold was never calibrated: the k largest of each position are kept instead")
                threshold = UNCALIBRATED
            tensors["threshold"] = torch.tensor(threshold)
    weights.check()
    return Loaded(assemble(name, tensors, **fields), _metadata(config, trainer), tuple(notes))


def _architecture(dict_class: str | None, tensors: dict[str, Tensor], assume: Assumptions, where: str) -> str:
    if dict_class is not None and dict_class not in CLASSES:
        raise CheckpointError(f"config.json has dict_class {dict_class!r}", f"known: {', '.join(CLASSES)}")
    recognised = _class_of(tensors)
    if dict_class is None and recognised == "TopK or BatchTopK":
        chosen = assume.get("activation")
        if chosen not in ("topk", "batchtopk"):
            raise CheckpointError(
                f"{where} may hold an AutoEncoderTopK or a BatchTopKSAE, whose tensors have the same names, and no "
                "config.json beside it says which",
                how_to_assume("activation") + " or batchtopk",
            )
        return str(chosen)
    name = dict_class or recognised
    if name is None and {*_LINEAR, "decoder.bias"} <= set(tensors):
        name = "AutoEncoderNew"
    if name is None and {"W_enc", "W_dec", "threshold"} <= set(tensors):
        name = "JumpReluAutoEncoder"
    if name is None:
        raise CheckpointError(f"{where} holds none of dictionary_learning's classes: {', '.join(sorted(tensors)[:8])}")
    expected = {"AutoEncoderTopK": "TopK or BatchTopK", "BatchTopKSAE": "TopK or BatchTopK"}.get(name, name)
    if recognised is not None and recognised != expected:
        raise CheckpointError(
            f"config.json says dict_class {name}, but the tensors are those of {recognised}",
            "correct dict_class in config.json",
        )
    return CLASSES[name]


def _metadata(config: Config, trainer: Config) -> dict[str, Any]:
    return metadata(
        model=trainer.text("lm_name"),
        hook=trainer.text("submodule_name"),
        layer=trainer.layer(),
        context_size=config.inner("buffer").whole("ctx_len"),
        original_config=config.values,
    )


FORMAT = CheckpointFormat("dictionary_learning", recognise, load)

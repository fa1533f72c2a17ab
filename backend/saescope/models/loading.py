"""Models, tokenizers and image processors from wherever a user keeps them. Code from the hub is never run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch

from saescope.autoencoders.device import choose_device
from saescope.models.location import Located, loading_errors, locate
from saescope.models.options import DType, ModelOptions
from saescope.models.packed_linear import pack_linear_layers, plain
from saescope.models.silence import quiet
from saescope.progress import SILENT, Progress
from saescope.store.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import BaseImageProcessor, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

Kind = Literal["causal", "encoder", "vision"]

_VISION_TOWERS = {"clip": "CLIPVisionModel", "siglip": "SiglipVisionModel"}
"""Models of text and images -> the class of the part that sees."""
_FINGERPRINT_VALUES = 4096
_POOLER = "pooler"
_DTYPES: dict[DType, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode, without gradients, on its device."""

    model: PreTrainedModel
    options: ModelOptions
    """As given, with dtype, device and revision as they turned out."""
    kind: Kind
    """'causal': a language model with logits, which may see pictures too; 'encoder': of texts, hidden states only;
    'vision': of pictures."""
    without_logits: str | None = None
    """Why a model of images and texts gives no logits for texts, where it gives none."""

    @property
    def config(self) -> PretrainedConfig:
        """Of the part whose blocks are hooked (a multimodal model's language model)."""
        return self.model.config.get_text_config() if self.kind != "vision" else self.model.config

    @property
    def n_layers(self) -> int:
        return int(self.config.num_hidden_layers)

    @property
    def d_model(self) -> int:
        return int(self.config.hidden_size)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over name, shape and up to 4,096 evenly spaced values of every weight, as loaded; poolers, which may
        be missing from the files and are never read, left out.

        It tells apart any two models that differ all over (another training run, fine-tuning, quantisation), not two
        that differ in a few values.
        """
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            if _POOLER in name:
                continue
            flat = plain(tensor.detach()).reshape(-1)
            step = max(1, -(-flat.numel() // _FINGERPRINT_VALUES))
            digest.update(f"{name} {list(tensor.shape)}\n".encode())
            digest.update(flat[::step].to("cpu", torch.float32).numpy().tobytes())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """What a manifest says about the model."""
        import transformers

        return {
            "model": self.options.name,
            "revision": self.options.revision,
            "model_class": type(self.model).__name__,
            "model_kind": self.kind,
            "dtype": self.options.dtype,
            "device": self.options.device,
            "centred": self.options.centred,
            "fingerprint": self.fingerprint,
            "n_layers": self.n_layers,
            "d_model": self.d_model,
            "transformers": transformers.__version__,
            **({} if self.without_logits is None else {"without_logits": self.without_logits}),
        }


def load_model(options: ModelOptions, progress: Progress = SILENT) -> LoadedModel:
    """The model, on its device. Raises `CheckpointError` for one that is not there, incomplete, or of no usable kind.

    A GGUF file is dequantised on its first load and kept in the cache folder.
    """
    import transformers

    device = choose_device(options.device)
    located = locate(options, progress)
    stage = f"loading {options.name}"
    progress.update(stage, 0, 1)
    with quiet(downloads=not located.is_local), loading_errors(located, "model"):
        config = transformers.AutoConfig.from_pretrained(
            located.path, revision=located.revision, trust_remote_code=False
        )
        auto, kind = _class_for(config, located)
        model, report = auto.from_pretrained(
            located.path,
            revision=located.revision,
            trust_remote_code=False,
            dtype=_dtype(options, config, device),
            output_loading_info=True,
        )
    _check_complete(located, report)
    model = model.eval().requires_grad_(False).to(device)
    pack_linear_layers(model, keep=model.get_output_embeddings())
    progress.update(stage, 1, 1)
    if model.main_input_name == "pixel_values":
        kind = "vision"
    if kind != "vision" and model.config.is_encoder_decoder:
        raise CheckpointError(
            f"model {options.name} is an encoder-decoder ({type(model).__name__})",
            "use a causal language model, an encoder or a vision model",
        )
    without_logits = _without_logits(model, options.name) if kind == "image-text" else None
    if kind == "image-text":
        kind = "causal" if without_logits is None else "encoder"
    names = {dtype: name for name, dtype in _DTYPES.items()}
    if model.dtype not in names:
        raise CheckpointError(f"model {options.name} is loaded as {model.dtype}", f"give a dtype: {', '.join(_DTYPES)}")
    commit = getattr(config, "_commit_hash", None) if not located.is_local else None
    resolved = replace(options, dtype=names[model.dtype], device=str(device), revision=commit or located.revision)
    return LoadedModel(model, resolved, kind, without_logits)


def read_config(options: ModelOptions, progress: Progress = SILENT) -> PretrainedConfig:
    """The model's config alone, of the part whose blocks are hooked. Raises `CheckpointError` where there is none."""
    import transformers

    located = locate(options, progress)
    with quiet(), loading_errors(located, "model"):
        config = transformers.AutoConfig.from_pretrained(
            located.path, revision=located.revision, trust_remote_code=False
        )
    return config.get_text_config()


def load_tokenizer(options: ModelOptions, progress: Progress = SILENT) -> PreTrainedTokenizerBase:
    """The tokenizer that belongs to the model. Raises `CheckpointError` where there is none."""
    from transformers import AutoTokenizer

    located = locate(options, progress)
    with quiet(downloads=not located.is_local), loading_errors(located, "the tokenizer of"):
        return AutoTokenizer.from_pretrained(located.path, revision=located.revision, trust_remote_code=False)


def load_image_processor(options: ModelOptions, progress: Progress = SILENT) -> BaseImageProcessor:
    """The image processor that belongs to a vision model. Raises `CheckpointError` where there is none."""
    from transformers import AutoImageProcessor

    located = locate(options, progress)
    with quiet(downloads=not located.is_local), loading_errors(located, "the image processor of"):
        return AutoImageProcessor.from_pretrained(located.path, revision=located.revision, trust_remote_code=False)


def _class_for(config: PretrainedConfig, located: Located) -> tuple[Any, Kind | Literal["image-text"]]:
    """The class that loads the model, and of which kind it is as far as its config tells."""
    import transformers
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        MODEL_MAPPING_NAMES,
    )

    tower = _VISION_TOWERS.get(config.model_type)
    if tower is not None:
        return getattr(transformers, tower), "vision"
    names = config.architectures or []
    if names:
        is_causal = names[0] in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    else:
        is_causal = (
            config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
            and config.model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
        )
    if is_causal:
        return transformers.AutoModelForCausalLM, "causal"
    if names and names[0] in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.values():
        return transformers.AutoModelForImageTextToText, "image-text"
    if config.model_type not in MODEL_MAPPING_NAMES:
        raise CheckpointError(
            f"model {located.path} is of type {config.model_type!r}, which transformers loads as no model"
        )
    return transformers.AutoModel, "encoder"


@torch.no_grad()
def _without_logits(model: PreTrainedModel, name: str) -> str | None:
    """Why a model of images and texts gives no logits of a next token that follow from the text before it; None where
    it does. Raises `CheckpointError` where it cannot be run on text alone."""
    ids = torch.tensor([[0, 1, 2], [0, 1, 3]], device=model.device)
    try:
        logits = getattr(model(input_ids=ids, use_cache=False), "logits", None)
    except Exception as error:  # whatever a model does without its pictures
        raise CheckpointError(
            f"model {name} (a {type(model).__name__}) cannot be run on text alone: {type(error).__name__}",
            "use its language model by itself, or a model that reads text without pictures",
        ) from error
    if logits is None or logits.shape[:2] != ids.shape:
        return "it gives none for text alone"
    if not torch.allclose(logits[0, :2], logits[1, :2], atol=1e-4, rtol=1e-3):
        return "its attention to text alone also looks ahead"
    return None


def _dtype(options: ModelOptions, config: PretrainedConfig, device: torch.device) -> torch.dtype:
    if options.dtype != "auto":
        return _DTYPES[options.dtype]
    stored = getattr(config, "dtype", None) or getattr(config.get_text_config(), "dtype", None)
    is_half = stored in (torch.float16, torch.bfloat16)
    return torch.bfloat16 if device.type == "cuda" and is_half else torch.float32


def _check_complete(located: Located, report: dict[str, Any]) -> None:
    """Weights that are missing would be drawn at random: refuse. A pooler is none of ours."""
    missing = sorted(key for key in report["missing_keys"] if _POOLER not in key)
    if missing:
        raise CheckpointError(
            f"model {located.path} lacks {len(missing)} of its weights, such as {missing[0]}",
            "check that the download is complete and that config.json belongs to the weights",
        )
    mismatched = list(report.get("mismatched_keys") or [])
    if mismatched:
        raise CheckpointError(
            f"model {located.path}: weights do not have the shapes that config.json says: {mismatched[0]}"
        )

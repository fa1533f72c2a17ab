"""From options to texts read by a model."""

from __future__ import annotations

from saescope.models import HookedModel, load_tokenizer
from saescope.progress import SILENT, Progress
from saescope.sources.hooked.source import shared_model
from saescope.sources.options import Purpose
from saescope.sources.splits import chosen_split
from saescope.sources.texts.corpus import open_corpus
from saescope.sources.texts.finding import find_texts
from saescope.sources.texts.framing import frame_of, separator_of
from saescope.sources.texts.options import TextOptions
from saescope.sources.texts.rendering import Rendering
from saescope.sources.texts.source import HookedTexts, check_context
from saescope.store.errors import CheckpointError


def open_data(options: TextOptions, purpose: Purpose, progress: Progress = SILENT) -> HookedTexts:
    """The texts that `options` name, tokenised, and the model that reads them. `CheckpointError` for what is wrong."""
    documents = find_texts(options)
    split = chosen_split(documents.splits, options, purpose, progress)
    documents.columns()  # a column that is not there is told before anything long begins, and so is a wrong hook
    loaded = shared_model(options, progress)
    if loaded.kind == "vision":
        raise CheckpointError(f"model {options.model} reads images, not texts", "give --images in the place of --texts")
    hooked = HookedModel(loaded, options.hook, options.head)
    check_context(hooked, options.context)
    tokenizer = load_tokenizer(options.model_options, progress)
    frame = frame_of(tokenizer, options.bos)
    column = documents.text
    is_text = column is None or column.form == "text"
    corpus = open_corpus(
        documents,
        tokenizer,
        split=split,
        separator=separator_of(tokenizer) if options.packing == "packed" else None,
        max_tokens=options.max_tokens,
        subject=options.path,
        rendering=None if is_text or column is None else Rendering(column, tokenizer, frame, options.path),
        progress=progress,
    )
    source = HookedTexts(
        corpus,
        tokenizer,
        frame,
        hooked,
        options,
        split=split,
        format=documents.format,
        column=column,
        progress=progress,
    )
    for note in documents.notes():  # after all that can fail: a mistake is told by itself
        progress.tell(note)
    return source


def has_splits(options: TextOptions) -> bool:
    """Whether the texts have a train and a test split of their own."""
    return bool(find_texts(options).splits)

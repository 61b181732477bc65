"""The vocabulary of a GGUF file without its weights, as llama.cpp reads it: 0.2 s to open."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lema_local.errors import MissingPackageError, ProfileError


@contextmanager
def open_vocabulary(file: Path) -> Iterator[tuple[Any, Any]]:
    """llama.cpp's model and vocabulary, for its own functions, until the block ends. ProfileError where it cannot read
    the file, MissingPackageError where there is no llama.cpp."""
    try:
        import llama_cpp
    except ImportError as error:
        raise MissingPackageError("GGUF files need llama-cpp-python: pip install 'lema-local[llama]'") from error
    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)  # alive until the end of this function
    llama_cpp.llama_log_set(quiet, None)
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(file).encode(), parameters)
    try:
        if not model:
            raise ProfileError(f"{file} is not a GGUF file that llama.cpp can read.")
        yield model, llama_cpp.llama_model_get_vocab(model)
    finally:
        if model:
            llama_cpp.llama_model_free(model)
        llama_cpp.llama_log_set(llama_cpp.llama_log_callback(0), None)


def token_ids(vocabulary: Any, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
    """The ids of a text. `add_special`: with the BOS that the tokenizer adds by itself; `parse_special`: text that
    spells a special token is that token. llama.cpp's servers read the prompt of a raw completion with both."""
    import llama_cpp

    data = text.encode("utf-8", "replace")
    ids = (llama_cpp.llama_token * (len(data) + 2))()
    count = llama_cpp.llama_tokenize(vocabulary, data, len(data), ids, len(ids), add_special, parse_special)
    return list(ids[:count])

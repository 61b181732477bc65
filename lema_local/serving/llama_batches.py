"""A GGUF model under llama.cpp's own library, for what its server cannot be asked: the top token at every position of
a text, the speed of a batch, and the same weights in another form.

    with Batches(path) as batches:
        batches.top_tokens(text)             # [198, 2683, ...]
        batches.tokens_per_s(sequences=16)   # of one thread, by its CPU time: a busy neighbour changes little

llama-cpp-python's library and llama.cpp's server are one build, so what is measured here is what serves.
"""

import ctypes
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from lema_local.errors import MissingPackageError, ServerError

# llama.cpp's file types (enum llama_ftype of llama.h); 1-dimensional tensors stay float32 in all of them.
FILE_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 7, "bf16": 32}
_CONTEXT = 2048
_PART = 128  # positions whose logits are there at once
_MOST_SEQUENCES = 32


def _library() -> Any:
    try:
        import llama_cpp
    except ImportError as error:
        raise MissingPackageError("GGUF files need llama-cpp-python: pip install 'lema-local[llama]'") from error
    return llama_cpp


@contextmanager
def _quiet() -> Iterator[Any]:
    """llama.cpp's library without what it says on stderr."""
    library = _library()
    silent = library.llama_log_callback(lambda level, text, data: None)  # alive as long as it is set
    library.llama_log_set(silent, None)
    try:
        yield library
    finally:
        library.llama_log_set(library.llama_log_callback(0), None)


def convert(source: Path, target: Path, form: str) -> None:
    """Writes `source`'s weights in another form, atomically. ServerError where that fails."""
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _quiet() as library:
            parameters = library.llama_model_quantize_default_params()
            parameters.ftype, parameters.allow_requantize = FILE_TYPES[form], True
            code = library.llama_model_quantize(str(source).encode(), str(partial).encode(), ctypes.byref(parameters))
        if code:
            raise ServerError(f"llama.cpp cannot write {source} as {form} (code {code}): is {target.parent} full?")
        with partial.open("rb") as written:
            os.fsync(written.fileno())  # or the name could outlive a loss of power, and the weights not
        partial.replace(target)
    except OSError as error:
        raise ServerError(f"Cannot write {target}: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)


class Batches:
    """A model with room for _MOST_SEQUENCES sequences, on one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> "Batches":
        with _quiet() as library:
            self._llama = library
            library.llama_backend_init()
            parameters = library.llama_model_default_params()
            self._model = library.llama_model_load_from_file(str(self._path).encode(), parameters)
            if not self._model:
                raise ServerError(f"{self._path} is not a GGUF file that llama.cpp can read.")
            options = library.llama_context_default_params()
            options.n_ctx, options.n_batch, options.n_ubatch = _CONTEXT, _PART, _PART
            options.n_seq_max, options.kv_unified = _MOST_SEQUENCES, True
            # A second thread would wait at hundreds of barriers for whoever else works on this machine.
            options.n_threads = options.n_threads_batch = 1
            self._context = library.llama_init_from_model(self._model, options)
            if not self._context:
                library.llama_model_free(self._model)
                raise ServerError(f"llama.cpp has no room for {self._path}.")
        self._vocabulary = library.llama_model_get_vocab(self._model)
        self._batch = library.llama_batch_init(_PART, 0, 1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _quiet():
            self._llama.llama_batch_free(self._batch)
            self._llama.llama_free(self._context)
            self._llama.llama_model_free(self._model)

    def top_tokens(self, text: str) -> list[int]:
        """The most probable next token after each token of a text, up to the context's length."""
        import numpy

        tokens, found = self._tokens(text)[:_CONTEXT], []
        self._forget()
        for start in range(0, len(tokens), _PART):
            part = tokens[start : start + _PART]
            self._decode([(token, start + k, 0) for k, token in enumerate(part)])
            logits = self._llama.llama_get_logits(self._context)
            shape = (len(part), self._llama.llama_vocab_n_tokens(self._vocabulary))
            found += numpy.ctypeslib.as_array(logits, shape).argmax(axis=1).tolist()
        return found

    def tokens_per_s(self, *, sequences: int, prompt: int = 8, steps: int = 10) -> float:
        """Tokens a second of one thread, where so many sequences are written on together."""
        self._forget()
        for sequence in range(sequences):
            self._decode([(1000 + sequence + k, k, sequence) for k in range(prompt)])
        began = time.process_time()
        for step in range(steps):
            self._decode([(2000 + step, prompt + step, sequence) for sequence in range(sequences)])
        return sequences * steps / (time.process_time() - began)

    def prompt_tokens_per_s(self, *, length: int = 256) -> float:
        """Tokens a second of one thread, of a prompt."""
        self._forget()
        began = time.process_time()
        for start in range(0, length, _PART):
            self._decode([(1000 + k, k, 0) for k in range(start, start + _PART)], with_logits=False)
        return length / (time.process_time() - began)

    def _forget(self) -> None:
        self._llama.llama_memory_clear(self._llama.llama_get_memory(self._context), True)

    def _tokens(self, text: str) -> list[int]:
        raw = text.encode()
        buffer = (self._llama.llama_token * (len(raw) + 8))()
        count = self._llama.llama_tokenize(self._vocabulary, raw, len(raw), buffer, len(buffer), True, True)
        return list(buffer[:count])

    def _decode(self, inputs: list[tuple[int, int, int]], *, with_logits: bool = True) -> None:
        """Token, position and sequence of each input."""
        batch = self._batch
        for k, (token, position, sequence) in enumerate(inputs):
            batch.token[k], batch.pos[k], batch.n_seq_id[k], batch.seq_id[k][0] = token, position, 1, sequence
            batch.logits[k] = with_logits or k == len(inputs) - 1
        batch.n_tokens = len(inputs)
        if self._llama.llama_decode(self._context, batch):
            raise ServerError(f"llama.cpp cannot compute with {self._path}.")
        self._llama.llama_synchronize(self._context)

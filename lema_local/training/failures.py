"""What a training run says when it cannot go on: one line, with what to do next and what is left.

Out of memory at training.per_device_batch_size 8: try 4, or training.gradient_checkpointing = true; training goes
on from its last checkpoint.
"""

from collections.abc import Iterator

from lema_local.settings.training import TrainingSettings
from lema_local.training.base import BaseModel

GIB = 2**30
# What transformers raises where a file of a tokenizer is not there or broken: whatever reading on in it comes to.
UNREADABLE = (OSError, ValueError, LookupError, AttributeError, TypeError, RecursionError)
# What huggingface_hub raises, by class name: transformers hands them on as the cause of an OSError of its own.
_REFUSED = {
    "GatedRepoError": "is gated: accept its licence on its Hub page, then `hf auth login` or set HF_TOKEN",
    "RepositoryNotFoundError": "is not on the Hub, or is private: check the name, or `hf auth login` where it is yours",
    "RevisionNotFoundError": "has no such revision on the Hub: check the name",
}
_UNREACHABLE = ("LocalEntryNotFoundError", "OfflineModeIsEnabled", "TransportError")


def cannot_load(base: BaseModel, error: Exception) -> str:
    """The line for a base model that does not load."""
    where = base.hub_id or base.path or base.gguf_path
    named = f"The base model {base.name}" if base.name == str(where) else f"The base model {base.name} ({where})"
    hub = _hub_says(error) if base.hub_id is not None else None
    if hub is not None:
        return f"{named} {hub}, or choose another with --model."
    reason = " ".join(str(error).split())[:160]
    return f"{named} does not load ({reason}): it needs config.json, a tokenizer and *.safetensors; or choose another."


def _hub_says(error: Exception) -> str | None:
    causes = list(_causes(error))
    for cause in causes:
        if type(cause).__name__ in _REFUSED:
            return _REFUSED[type(cause).__name__]
    status = next((s for c in causes if (s := getattr(getattr(c, "response", None), "status_code", None))), None)
    if status is not None:
        return f"is refused by the Hub (HTTP {status}): try later, or check what your token (HF_TOKEN) may read"
    if any(kind.__name__ in _UNREACHABLE for cause in causes for kind in type(cause).__mro__):
        return "is not on this machine, and the Hub is switched off or cannot be reached: go online, or give a folder"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(10):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def smaller_batch(settings: TrainingSettings, processes: int) -> int | None:
    """The next smaller per-device batch that still divides the global batch; None where it is 1 already."""
    sizes = range(settings.per_device_batch_size - 1, 0, -1)
    return next((size for size in sizes if settings.global_batch_size % (size * processes) == 0), None)


def out_of_memory(settings: TrainingSettings, *, processes: int) -> str:
    """The line for a run that its memory does not hold. None of what it names makes another run of it but the last."""
    smaller = smaller_batch(settings, processes)
    ways = [f"try {smaller}"] if smaller is not None else []
    if not settings.gradient_checkpointing:
        ways.append("training.gradient_checkpointing = true")
    if not ways:
        ways = ["a smaller model, or lower source_max_length and target_max_length (these begin anew)"]
    return (
        f"Out of memory at training.per_device_batch_size {settings.per_device_batch_size}: {', or '.join(ways)}; "
        "training goes on from its last checkpoint."
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is a failed allocation: Python's, torch's on CUDA, or on CPU, where it is a RuntimeError."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("bad_alloc" in text or ("alloc" in text and "memory" in text))


def not_finite(what: str, step: int, settings: TrainingSettings, *, last: int | None) -> str:
    """The line for a loss or gradient that is no number; `last` is the step of the last good checkpoint."""
    kept = "no checkpoint was reached" if last is None else f"the checkpoint of step {last} is good and stays"
    return (
        f"The {what} at step {step}: {kept}. Lower training.learning_rate ({settings.learning_rate}), or "
        f"training.max_grad_norm ({settings.max_grad_norm}); with another setting training begins anew."
    )


def no_room(step: int, *, needed: int, free: int, directory: object, last: int | None) -> str:
    """The line for a disk that the next checkpoint does not fit on; sizes in bytes."""
    start = "nothing is trained yet" if last is None else f"training goes on from step {last}"
    return (
        f"No room for the checkpoint of step {step}: it takes {needed / GIB:.2f} GiB and the disk of {directory} has "
        f"{free / GIB:.2f}. Make room, or keep fewer checkpoints (--keep); {start}."
    )

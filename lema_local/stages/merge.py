"""`lema train merge`: a checkpoint's adapter merged into the base that it was trained over, or into a named one."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lema_local.errors import TrainingError
from lema_local.serving.llama_batches import convert
from lema_local.settings.models import known_models, resolve_model
from lema_local.stages.checkpoints import FoundCheckpoint, find_checkpoint
from lema_local.stages.train import base_model
from lema_local.training.adapter_gguf import gguf_needs, merge_gguf
from lema_local.training.base import BaseModel, default_cache, resolve_base
from lema_local.training.checkpoints import ADAPTER_FILES, is_removed, refuse_damaged
from lema_local.training.job import JOB_FILE, Job
from lema_local.training.merge import Adapter, Dtype, make_sure_of_room, merge, read_adapter
from lema_local.training.packages import require
from lema_local.training.quantization import Nf4
from lema_local.training.quiet import quiet

AS_TRAINED = "trained"
_HUB_FILES = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja")


@dataclass(frozen=True, slots=True)
class _Training:
    """What the run says of the base under the adapter."""

    base: BaseModel
    nf4: Nf4 | None


def merge_checkpoint(
    db: Path,
    name: str,
    *,
    base: str,
    dtype: Dtype,
    output: Path,
    any_base: bool = False,
    on_notice: Callable[[str], None],
) -> Path:
    """Merges the checkpoint `name` (an id's beginning, or a directory) and returns the folder of weights.

    `base` "trained" is what it was trained over, NF4 values where that was NF4; else a model's name, a folder, a GGUF
    or a Hub id. One of another name is refused unless `any_base`. Raises TrainingError in one line for all that is
    wrong.
    """
    found, adapter, place, nf4 = _chosen(db, name, base, any_base, on_notice)
    folder = _folder(place)
    what = f"{adapter.base_name} as NF4 dequantised" if nf4 else (place.hub_id or place.name)
    record = found.record
    facts = {
        "checkpoint": record.id if record else str(found.path.name),
        "adapter": json.loads((found.path / "COMPLETE").read_text(encoding="utf-8"))["files"][ADAPTER_FILES[0]][0],
        "base": what,
        "dtype": dtype,
    }
    merge(
        adapter,
        folder,
        output,
        dtype=dtype,
        nf4=nf4,
        readme=_readme(found, what, dtype),
        facts=facts,
        on_notice=on_notice,
    )
    return output


def merge_checkpoint_gguf(
    db: Path,
    name: str,
    *,
    base: str,
    form: str,
    output: Path,
    any_base: bool = False,
    on_notice: Callable[[str], None],
) -> Path:
    """The same as one GGUF file in a form of llama.cpp's (FILE_TYPES), where the base is a GGUF too. Its values are the
    file's, dequantised, whatever the training rounded them to. Raises TrainingError, or ServerError where llama.cpp
    cannot write the form."""
    if output.exists():
        raise TrainingError(f"{output} is there already: give another --output, or remove it.")
    found, adapter, place, nf4 = _chosen(db, name, base, any_base, on_notice)
    if place.gguf_path is None:
        raise TrainingError(f"{place.name} is no GGUF here, whose tokenizer --gguf takes over: name one with --base.")
    if nf4 is not None:
        on_notice(_OTHER_MODEL)
    wanted, into = gguf_needs(found.path, place.gguf_path, form), place.gguf_path.name
    make_sure_of_room(wanted, output, f"merging {len(adapter.pairs)} matrices into {into} as {form}", on_notice)
    with TemporaryDirectory(prefix=".lema-merge-", dir=output.parent) as folder:
        whole = Path(folder) / "f32.gguf"
        merge_gguf(found.path, adapter.scale, place.gguf_path, whole)
        convert(whole, output, form)
    return output


def _chosen(
    db: Path, name: str, base: str, any_base: bool, on_notice: Callable[[str], None]
) -> tuple[FoundCheckpoint, Adapter, BaseModel, Nf4 | None]:
    """The checkpoint, its adapter, and the base to merge it into; NF4 where that base is to be rounded as trained."""
    found = find_checkpoint(db, name)
    if is_removed(found.path):
        raise TrainingError(
            f"The weights of {found.path} were removed (keep): merge a newer checkpoint, or train anew."
        )
    if not (found.path / ADAPTER_FILES[0]).is_file() and (found.path / "config.json").is_file():
        raise TrainingError(f"{found.path} holds whole weights, no adapter: there is nothing to merge.")
    refuse_damaged(found.path)
    adapter = read_adapter(found.path)
    training = _training(found)
    nf4: Nf4 | None = None
    if base == AS_TRAINED:
        if training is None:
            raise TrainingError(f"{found.path} lies apart from its run's {JOB_FILE}: name its base model with --base.")
        place, nf4 = training.base, training.nf4
    else:
        place = base_model(resolve_model(base))
        if not any_base and not _is_same(adapter.base_name, place):
            raise TrainingError(
                f"The adapter was trained over {adapter.base_name}, not over {place.hub_id or place.name}: name that "
                "with --base, or add --any-base where you know that they are the same weights."
            )
        if training is None or training.nf4 is not None:
            on_notice(_OTHER_MODEL)
    return found, adapter, place, nf4


_OTHER_MODEL = (
    "Note: an adapter trained over NF4 and merged into other weights is not the model that was trained "
    "(docs/training.md has figures): leave --base and --gguf away for that one, and evaluate what you publish."
)


def _training(found: FoundCheckpoint) -> _Training | None:
    try:
        job = Job.read(found.path.parent / JOB_FILE)
    except TrainingError:
        return None
    settings = job.settings
    return _Training(job.base, Nf4(double=settings.double_quantization) if settings.quantization == "nf4" else None)


def _is_same(recorded: str | None, base: BaseModel) -> bool:
    """Whether a base is the recorded one by name or Hub id; a name of ours and its Hub id are the same model."""
    hub_ids = {name: entry["hub_id"] for name, entry in known_models().items()}
    given = {base.name, base.hub_id, hub_ids.get(base.name)} - {None}
    return bool(given & ({recorded, hub_ids.get(recorded or "")} - {None}))


def _folder(base: BaseModel) -> Path:
    """The base's weights as a folder here; from the Hub they are fetched."""
    if base.hub_id is None:
        return Path(resolve_base(base, cache=default_cache()))
    hub = require("huggingface_hub")
    try:
        with quiet():
            return Path(hub.snapshot_download(base.hub_id, allow_patterns=list(_HUB_FILES)))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise TrainingError(
            f"Cannot fetch {base.hub_id} ({reason}): check the name, or log in for gated ones."
        ) from error


def _readme(found: FoundCheckpoint, what: str, dtype: str) -> str:
    from lema_local.markdown import front_matter, text

    record: Any = found.record
    names = (
        f"arm {record.arm}, step {record.step}, checkpoint {record.id}" if record else f"checkpoint {found.path.name}"
    )
    head = front_matter({"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["lema"]})
    return (
        f"{head}\nA LoRA adapter of lema_local ({text(names)}) merged into {text(what)}, stored as {dtype}.\n\n"
        "`COMPLETE` lists every file with its SHA-256. Data, settings and results: the adapter's model card, "
        "`lema train card`.\n"
    )

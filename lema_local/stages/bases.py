"""Over which weights a student is evaluated, which is part of an evaluation's key.

An adapter is trained over NF4 weights, and served over others: greedy text can differ. vLLM serves, by `--base`:

    bf16     the model's own weights (float32 without a GPU)                hf:meta-llama/Llama-2-7b-hf:vllm:bf16
    nf4      those weights rounded to NF4 and back, as training saw them    hf:meta-llama/Llama-2-7b-hf:vllm:nf4-bf16
             with double_quantization = false                               hf:...:vllm:nf4-single-bf16
    merged   the adapter added to the model's own weights                   hf:...:vllm:merged-bf16+<checkpoint id>

llama.cpp serves the GGUF file as it is, whatever its quantisation: gguf:<SHA-256>. Where the student is asked in its
chat template, what that puts around a text is named too: gguf:<SHA-256>+chat-c848dcfb.
"""

import shutil
from dataclasses import replace
from pathlib import Path

from lema_local.calls.endpoint import Endpoint
from lema_local.errors import ProfileError
from lema_local.hardware import gpus
from lema_local.serving.recipes import load_recipe
from lema_local.settings.models import Model
from lema_local.settings.profiles import Profile
from lema_local.stages.run import Experiment, Run
from lema_local.stages.student import student_frame

MERGED = "merged"
DTYPES = {True: ("bf16", "bfloat16"), False: ("f32", "float32")}  # with a GPU, without: short name, full name


def base_name(profile: Profile) -> str | None:
    """The base that the profile's evaluation asks for; None where the recipe has no choice. ProfileError for one that
    it cannot serve."""
    student, wanted = profile.endpoint("student"), profile.evaluation.base
    bases = load_recipe(student.recipe).bases if student.recipe else ()
    if wanted is not None and wanted not in bases:
        here = f"the {student.recipe} recipe" if student.recipe else "a server that is given by its URL"
        raise ProfileError(f'--base {wanted} is for recipe = "vllm"; {here} serves the weights that it has.')
    return wanted or (bases[0] if bases else None)


def describe_student(experiment: Experiment, tuned: str | None = None) -> Endpoint:
    """The student as an evaluation asks it; `tuned`: the id of the checkpoint, or of a published adapter's content."""
    endpoint, profile = experiment.resolved("student").endpoint, experiment.profile
    base, dtype = base_name(profile), DTYPES[bool(gpus())][0]
    if base is not None:
        name = dtype if base == "bf16" or (base == "merged" and tuned is None) else f"{base}-{dtype}"
        if base == "nf4" and not profile.training.double_quantization:
            name = f"nf4-single-{dtype}"
        endpoint = replace(endpoint, identity=f"{endpoint.identity}:{name}")
    frame = student_frame(experiment)
    if frame is not None:
        endpoint = replace(endpoint, identity=f"{endpoint.identity}+{frame.mark}")
    return replace(endpoint, identity=f"{endpoint.identity}+{tuned}") if tuned else endpoint


def serving_dtype(profile: Profile) -> str:
    """What `--dtype` says where there is a GPU."""
    return "auto" if base_name(profile) is None else DTYPES[True][1]


def base_weights(run: Run) -> Model | None:
    """The model that is served, with or without adapters over it; None where the recipe needs none. Rounding to NF4
    writes a folder of weights, once."""
    model = run.resolved("student").model
    if model is None or base_name(run.profile) != "nf4":
        return model
    from lema_local.training.base import default_cache
    from lema_local.training.nf4 import nf4_folder
    from lema_local.training.quantization import Nf4

    run.notice(f"rounding {model.name} to NF4 (once)")
    nf4 = Nf4(double=run.profile.training.double_quantization)
    folder = nf4_folder(model.source, cache=default_cache(), nf4=nf4, dtype=DTYPES[bool(gpus())][1])
    return replace(model, path=folder)


def remove_merged(run: Run) -> None:
    """Take away what was merged to be evaluated."""
    shutil.rmtree(_merged_folder(run), ignore_errors=True)


def merged_weights(run: Run, model: Model, adapter: Path) -> Model:
    """The student's model with an adapter added to its own weights: a folder under runs/, for as long as it is served.
    TrainingError where they do not fit."""
    from lema_local.training.merge import Dtype, merge, read_adapter
    from lema_local.training.nf4 import local_folder

    dtype: Dtype = "bf16" if gpus() else "fp32"
    remove_merged(run)  # of a process that was killed
    output = _merged_folder(run)
    merge(
        read_adapter(adapter),
        local_folder(model.source),
        output,
        dtype=dtype,
        nf4=None,
        readme="Merged to be evaluated; removed afterwards.\n",
        facts={},
        on_notice=run.notice,
    )
    return replace(model, path=output)


def _merged_folder(run: Run) -> Path:
    """runs/merged-lema.duckdb: a database beside it may be evaluated at the same time."""
    return run.directory / f"{MERGED}-{run.store.path.name}"

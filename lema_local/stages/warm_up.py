"""The warm-up: a reasoner that is the student itself learns the gold rationales for some steps before it is sampled.

A small model's mistakes are noise: it has not understood what is asked. After a short training on CoT they are wrong
steps in solutions that are right in form, which is what a corrector can work on. The arms start from the base model
all the same; the warm-up is no part of them.

    [endpoints.reasoner]
    recipe = "llama_server"
    model = "smollm2-135m-instruct"
    warm_up_steps = 30

What it samples bears the name smollm2-135m-instruct+warm-up-30, and has the checkpoint's id in its key.
"""

from dataclasses import replace
from pathlib import Path

from lema_local.errors import ProfileError
from lema_local.serving.recipes import load_recipe
from lema_local.settings.endpoints import EndpointProfile
from lema_local.settings.profiles import Profile
from lema_local.settings.training import TrainingSettings
from lema_local.stages import train
from lema_local.stages.build import warm_up_id
from lema_local.stages.calls import pending
from lema_local.stages.run import Experiment, Run
from lema_local.stages.sample import wanted_of
from lema_local.stages.student import student_model, student_prompt
from lema_local.training.adapter_gguf import convert_adapter
from lema_local.training.checkpoints import checkpoint_path, has_adapter, refuse_damaged


def resolve_warm_up(run: Experiment) -> None:
    """Give the reasoners that are warmed up the adapter that they will have, in the run's profile. Trains nothing.
    ProfileError for a student in chat, by whose template no reasoner is asked."""
    warmed = _warmed(run.profile)
    if not warmed:
        return
    if student_prompt(run) == "chat":
        raise ProfileError(f"warm_up_steps of {', '.join(warmed)} does not go with a student in chat: leave one out.")
    training_set, model = warm_up_id(run), student_model(run)
    resolved = {}
    for name, endpoint in warmed.items():
        settings = _settings(run.profile, endpoint.warm_up_steps)
        dtype = train.dtype_of(run, model, [("warm-up", training_set, settings)])
        run_id = train.run_id_of(model, training_set, replace(settings, compute_dtype=dtype))
        folder = checkpoint_path(train.directory_of(run, "warm-up", run_id), endpoint.warm_up_steps)
        resolved[name] = replace(
            endpoint,
            adapter=str(_loaded(folder, endpoint)),
            identity=train.checkpoint_id_of(run_id, endpoint.warm_up_steps),
        )
    run.profile = replace(run.profile, endpoints={**run.profile.endpoints, **resolved})


def warm_up(run: Run) -> None:
    """Train what the reasoners need and is not there yet. The run's profile is resolved."""
    for name, endpoint in _warmed(run.profile).items():
        if not _is_to_be_asked(run, name):
            continue
        assert endpoint.adapter is not None
        loaded = Path(endpoint.adapter)
        folder = loaded.parent if _is_gguf(endpoint) else loaded
        if not has_adapter(folder):
            settings = _settings(run.profile, endpoint.warm_up_steps)
            train.train(replace(run, profile=replace(run.profile, training=settings)), ("warm-up",))
        refuse_damaged(folder)
        if _is_gguf(endpoint) and not loaded.is_file():
            convert_adapter(folder, loaded, base_gguf=student_model(run).gguf())


def _is_to_be_asked(run: Run, name: str) -> bool:
    """Whether this reasoner has anything left to write; what evolving and re-solving will ask is known only later."""
    if run.profile.correction.resolve or run.profile.evolution.questions:
        return True
    return bool(pending(run, wanted_of(run.profile, name, run.resolved(name).endpoint, run.problems.train)))


def _warmed(profile: Profile) -> dict[str, EndpointProfile]:
    names = profile.sampling.reasoners
    return {name: profile.endpoint(name) for name in names if profile.endpoint(name).warm_up_steps}


def _settings(profile: Profile, steps: int) -> TrainingSettings:
    """The profile's, for so many steps: its checkpoints, seeds and matching are the arms'."""
    training = replace(profile.training, max_steps=steps, save_steps=steps, save_at=(), seeds=1, keep=None)
    return replace(training, first_seed=None, match="steps", match_beside=None)


def _is_gguf(endpoint: EndpointProfile) -> bool:
    return endpoint.recipe is not None and load_recipe(endpoint.recipe).weights == "gguf"


def _loaded(folder: Path, endpoint: EndpointProfile) -> Path:
    """What its server loads."""
    return folder / "adapter.gguf" if _is_gguf(endpoint) else folder

"""By which engine, and in which form of the weights, a run goes on: by those that its database began with.

A model's identity says what served it (serving/forms.py), so a run never mixes two. Where a profile leaves that open, a
database that was begun elsewhere, or before there was the engine that the profile names, goes on as it began:

    gguf:8f3a...                                  llama-cpp-python's server, the file as it is
    gguf:8f3a...:llama_server-0.3.36:bf16         llama.cpp's server, unpacked to BF16

Where the engine was not built, the recipe that its own names (`otherwise`) stands in, and one line says so; so does one
where another version of the engine will be asked for what is there already.
"""

from dataclasses import replace
from typing import cast

from lema_local.serving.command import is_built
from lema_local.serving.forms import choose_form, known_choice, served_form
from lema_local.serving.recipes import Recipe, load_recipe
from lema_local.settings.endpoints import EndpointProfile, Form
from lema_local.stages.run import Experiment

_BEGUN_WITH = """
select split_part(model_identity, '+', 1) as served, count(*) as replies from completion  -- an adapter's id may follow
where starts_with(model_identity, $engine) or model_identity = $file or starts_with(model_identity, $file || '+')
group by served order by bool_or(endpoint = $endpoint) desc, min(created_at) limit 1
"""


def resolve_recipes(experiment: Experiment) -> None:
    """Put into the experiment's profile the recipe and the form of the weights of each endpoint that leaves them open:
    one whose recipe has a choice of forms, with `form = "auto"`."""
    for name, endpoint in experiment.profile.endpoints.items():
        if endpoint.recipe is None or endpoint.form != "auto" or not (recipe := load_recipe(endpoint.recipe)).forms:
            continue
        file = experiment.endpoints.model(endpoint.model).gguf_identity
        begun = experiment.store.rows(_BEGUN_WITH, engine=f"{file}:{recipe.name}-", file=file, endpoint=name)
        resolved = _as_begun(endpoint, recipe, begun[0]["served"].removeprefix(file)) if begun else endpoint
        if resolved.recipe == recipe.name and not is_built(recipe) and recipe.otherwise is not None:
            resolved = replace(endpoint, recipe=recipe.otherwise)
            experiment.notice(
                f"{recipe.program} is not built here: {recipe.otherwise} serves {name}, one call at a time "
                "(make llama-server builds it)."
            )
        elif resolved == endpoint and known_choice(model := experiment.endpoints.model(endpoint.model)) is None:
            experiment.notice(f"measuring in which form this machine serves {model.name} fastest (once, 20 s or more)")
            choose_form(model)
        if begun and begun[0]["served"] not in (file, now := _served(file, resolved)):
            experiment.notice(
                f"{begun[0]['replies']} replies are by {begun[0]['served'].removeprefix(file)[1:]}: "
                f"{now.removeprefix(file)[1:] or resolved.recipe} is asked for all of them again. To go on with them, "
                f"install that version of {recipe.engine} (make llama-server builds its server)."
            )
        if resolved != endpoint:
            endpoints = {**experiment.profile.endpoints, name: resolved}
            experiment.profile = replace(experiment.profile, endpoints=endpoints)


def _as_begun(endpoint: EndpointProfile, recipe: Recipe, served: str) -> EndpointProfile:
    """`served`: what the identity of the first model that answered says after its file's."""
    if not served:
        return endpoint if recipe.otherwise is None else replace(endpoint, recipe=recipe.otherwise)
    return replace(endpoint, form=cast("Form", served.rpartition(":")[2]))


def _served(file: str, endpoint: EndpointProfile) -> str:
    """The identity of the model that this endpoint will serve."""
    return file + served_form(load_recipe(endpoint.recipe or ""), endpoint.form)

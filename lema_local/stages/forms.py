"""In which form of the weights a run goes on: in the one that its database began with.

A model's identity says what served it (serving/forms.py), so a run never mixes two. Where a profile leaves the form to
the measurement, a database that was begun elsewhere goes on as it began:

    gguf:8f3a...:llama_server-0.3.36:bf16         llama.cpp's server, unpacked to BF16
"""

from dataclasses import replace

from lema_local.serving.recipes import load_recipe
from lema_local.settings.endpoints import EndpointProfile, Form
from lema_local.stages.run import Experiment

_BEGUN_WITH = """
select model_identity from completion where starts_with(model_identity, $engine)
order by endpoint = $endpoint desc, created_at desc limit 1
"""


def resolve_forms(experiment: Experiment) -> None:
    """Put into the experiment's profile what its database says of each endpoint whose form is left open.

    Does nothing for recipes that have no choice of forms.
    """
    for name, endpoint in experiment.profile.endpoints.items():
        if endpoint.recipe is None or endpoint.form != "auto" or not load_recipe(endpoint.recipe).forms:
            continue
        found = _begun_with(experiment, name, endpoint)
        if found is not None:
            endpoints = {**experiment.profile.endpoints, name: replace(endpoint, form=found)}
            experiment.profile = replace(experiment.profile, endpoints=endpoints)


def _begun_with(experiment: Experiment, name: str, endpoint: EndpointProfile) -> Form | None:
    engine = f"{experiment.endpoints.model(endpoint.model).gguf_identity}:{endpoint.recipe}-"
    rows = experiment.store.rows(_BEGUN_WITH, engine=engine, endpoint=name)
    if not rows:
        return None
    form: Form = rows[0]["model_identity"].partition("+")[0].rpartition(":")[2]  # an adapter's id may follow
    return form

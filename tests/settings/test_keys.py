"""Whose key goes where: a key is for the host that it was named for."""

from pathlib import Path
from typing import Any

import pytest
from commands import lema
from review_records import fill
from scripted_server import ScriptedServer, chat

from lema_local.settings.assignments import read_assignment
from lema_local.settings.endpoints import EndpointProfile
from lema_local.settings.profiles import Overrides, load_profile

PROFILE = """
description = "d"
[data]
dataset = "gsm8k"
[endpoints.reasoner]
recipe = "llama_cpp"
model = "a"
[endpoints.student]
recipe = "llama_cpp"
model = "a"
[endpoints.corrector]
base_url = "https://api.openai.com/v1"
model = "gpt-4"
api_key_env = "FILE_KEY"
"""
JUDGE = {
    "LEMA_JUDGE_BASE_URL": "https://api.openai.com/v1",
    "LEMA_JUDGE_MODEL": "gpt-4o",
    "LEMA_JUDGE_API_KEY_ENV": "OPENAI_API_KEY",
}
HERE = "http://here/v1"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(PROFILE)
    return path


def endpoint(name: str, profile: Path | str, *texts: str, environment: Any = None, **options: Any) -> EndpointProfile:
    overrides = Overrides(assignments=tuple(map(read_assignment, texts)), **options)
    return load_profile(str(profile), overrides, environment or {}).endpoint(name)


def test_another_host_of_the_judge_does_not_get_the_key_of_the_environments() -> None:
    judge = endpoint("judge", "laptop", environment=JUDGE, judge_url=HERE)
    assert (judge.base_url, judge.model, judge.api_key_env) == (HERE, "gpt-4o", None)


def test_a_key_that_is_named_with_the_judges_host_is_its_key() -> None:
    assert endpoint("judge", "laptop", environment=JUDGE).api_key_env == "OPENAI_API_KEY"
    assert endpoint("judge", "laptop", environment=JUDGE, judge_model="m").api_key_env == "OPENAI_API_KEY"
    assert endpoint("judge", "laptop", environment=JUDGE, judge_url=HERE, judge_key_env="K").api_key_env == "K"


@pytest.mark.parametrize(
    ("variable", "options"),
    [("LEMA_JUDGE_MODEL", {"judge_url": HERE}), ("LEMA_JUDGE_BASE_URL", {"judge_model": "gpt-4o"})],
)
def test_environment_and_options_may_name_a_judge_together(variable: str, options: dict[str, str]) -> None:
    judge = endpoint("judge", "laptop", environment={variable: JUDGE[variable]}, **options)
    assert (judge.base_url, judge.model) == (options.get("judge_url", JUDGE["LEMA_JUDGE_BASE_URL"]), "gpt-4o")


def test_an_option_of_the_judge_beats_set() -> None:
    given = ("endpoints.judge.base_url=http://set/v1", "endpoints.judge.model=of-set")
    judge = endpoint("judge", "laptop", *given, judge_url=HERE, judge_model="of-option")
    assert (judge.base_url, judge.model) == (HERE, "of-option")


def test_no_request_of_a_judge_elsewhere_bears_the_key(tmp_path: Path, server: ScriptedServer) -> None:
    fill(tmp_path / "lema.duckdb")
    server.then = lambda body: chat("Grade: good")
    key = "sk-of-another-host"
    options = ("--judge-url", server.base_url, "--sample", "1")
    done = lema("review", "judge", *options, cwd=tmp_path, **JUDGE, OPENAI_API_KEY=key)
    assert done.returncode == 0, done.stderr
    assert server.calls > 0
    assert not [headers for headers in server.headers if key in str(headers)]


@pytest.mark.parametrize("variables", [{}, {"LEMA_CORRECTOR_BASE_URL": "https://theirs/v1"}])
def test_a_host_that_is_set_does_not_get_the_key_of_the_environment(mine: Path, variables: dict[str, str]) -> None:
    environment = {"LEMA_CORRECTOR_API_KEY_ENV": "THEIR_KEY", **variables}
    set_alone = endpoint("corrector", mine, f"endpoints.corrector.base_url={HERE}", environment=environment)
    assert (set_alone.base_url, set_alone.api_key_env) == (HERE, None)
    table = f'endpoints.corrector={{model = "m", base_url = "{HERE}"}}'
    assert endpoint("corrector", mine, table, environment=environment).api_key_env is None


def test_a_host_that_is_set_gets_the_key_that_is_set_with_it(mine: Path) -> None:
    environment = {"LEMA_CORRECTOR_API_KEY_ENV": "THEIR_KEY"}
    together = ("endpoints.corrector.api_key_env=K", f"endpoints.corrector.base_url={HERE}")
    for texts in (together, together[::-1]):
        assert endpoint("corrector", mine, *texts, environment=environment).api_key_env == "K"
    table = f'endpoints.corrector={{model = "m", base_url = "{HERE}", api_key_env = "K"}}'
    assert endpoint("corrector", mine, table, environment=environment).api_key_env == "K"


@pytest.mark.parametrize("options", [{"corrector_url": HERE}, {}])
def test_what_is_set_of_an_endpoint_stays_with_the_host_of_an_option_or_the_environment(
    options: dict[str, str],
) -> None:
    set_ = ("api_key_env=K", "concurrency=2", "api=completions", "servers=2", "recipe=llama_cpp")  # the last go
    texts = [f"endpoints.corrector.{key}" for key in set_]
    environment = {} if options else {"LEMA_CORRECTOR_BASE_URL": HERE}
    corrector = endpoint("corrector", "gguf", *texts, environment=environment, corrector_model="m", **options)
    assert (corrector.base_url, corrector.recipe, corrector.model) == (HERE, None, "m")
    assert (corrector.api_key_env, corrector.concurrency, corrector.api) == ("K", 2, "completions")
    assert corrector.servers == 1


def test_a_host_of_an_option_does_not_get_the_key_that_is_set_for_another_host(mine: Path) -> None:
    texts = ("endpoints.corrector.base_url=http://set/v1", "endpoints.corrector.api_key_env=K")
    corrector = endpoint("corrector", mine, *texts, corrector_url=HERE)
    assert (corrector.base_url, corrector.api_key_env) == (HERE, None)


def test_a_price_that_is_set_stays_with_the_model_of_an_option(mine: Path) -> None:
    texts = [f"endpoints.corrector.usd_per_million_{way}put={usd}" for way, usd in (("in", 1.0), ("out", 2.0))]
    corrector = endpoint("corrector", mine, *texts, corrector_model="m")
    assert (corrector.usd_per_million_input, corrector.usd_per_million_output) == (1.0, 2.0)


def test_calls_at_once_that_are_set_hold_for_a_student_that_is_served_elsewhere() -> None:
    served = {"endpoint": HERE, "served_model": "m"}
    assert endpoint("student", "laptop", **served).concurrency == 8
    assert endpoint("student", "laptop", "endpoints.student.concurrency=2", **served).concurrency == 2


def test_a_host_that_is_set_does_not_get_the_key_of_the_profiles_own(mine: Path) -> None:
    assert endpoint("corrector", mine, f"endpoints.corrector.base_url={HERE}").api_key_env is None
    assert endpoint("corrector", mine, "endpoints.corrector.model=gpt-4o").api_key_env == "FILE_KEY"
    same = "endpoints.corrector.base_url=https://api.openai.com/v1"
    assert endpoint("corrector", mine, same).api_key_env == "FILE_KEY"


def test_a_key_without_a_host_in_the_profile_is_for_the_host_that_is_set(mine: Path) -> None:
    mine.write_text(PROFILE.replace('base_url = "https://api.openai.com/v1"\n', ""))
    assert endpoint("corrector", mine, f"endpoints.corrector.base_url={HERE}").api_key_env == "FILE_KEY"

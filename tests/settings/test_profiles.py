"""Profiles: what ships loads, what is mistyped is refused with the right word, and who beats whom."""

import dataclasses
import re
from pathlib import Path

import pytest

from lema_local.errors import ProfileError
from lema_local.serving.command import ServeOptions
from lema_local.serving.endpoints import Endpoints, read_key
from lema_local.serving.process import open_endpoint
from lema_local.serving.recipes import load_recipe
from lema_local.settings.endpoints import EndpointProfile
from lema_local.settings.profiles import ENDPOINTS, Overrides, Profile, load_profile, profile_names
from lema_local.settings.reasoners import reasoner_presets
from lema_local.settings.tables import ScaleProfile

MINIMAL = """
description = "d"
[data]
dataset = "gsm-symbolic"
train_problems = 10
[endpoints.reasoner]
recipe = "llama_cpp"
model = "a"
[endpoints.student]
recipe = "llama_cpp"
model = "a"
[endpoints.corrector]
recipe = "llama_cpp"
model = "a"
"""


def load(name: str | Path, overrides: Overrides | None = None, **environment: str) -> Profile:
    return load_profile(str(name), overrides, environment)


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(MINIMAL)
    return path


def test_the_five_profiles_of_the_readme_ship() -> None:
    assert {"smoke", "laptop", "gguf", "workstation", "a100"} <= set(profile_names())


@pytest.mark.parametrize("name", profile_names())
def test_every_shipped_profile_loads_and_names_recipes_that_exist(name: str) -> None:
    profile = load(name)
    assert profile.name == name
    assert len(profile.description) > 20
    assert set(profile.correction.correctors) <= set(profile.endpoints)
    assert all(load_recipe(e.recipe) for e in profile.endpoints.values() if e.recipe)
    assert profile.endpoint("student").api == "completions"  # evaluation sends the raw CoT input
    assert profile.as_dict()["endpoints"]["student"]["model"] == profile.endpoint("student").model


@pytest.mark.parametrize("name", profile_names())
def test_no_shipped_profile_holds_a_key(name: str) -> None:
    for endpoint in load(name).endpoints.values():
        assert endpoint.api_key_env is None or endpoint.api_key_env.isupper()


def test_the_offline_profiles_close_their_cascade_with_the_oracle() -> None:
    assert load("laptop").correction.correctors == load("smoke").correction.correctors == ("corrector", "oracle")


def test_the_a100_profile_is_the_papers_setting() -> None:
    t = load("a100").training
    assert (t.lora_r, t.lora_alpha, t.lora_dropout, t.global_batch_size, t.max_steps, t.save_steps) == (
        64,
        16,
        0.05,
        96,
        2000,
        100,
    )


def test_a_base_url_in_place_of_a_recipe_takes_its_servers_and_warm_up_away() -> None:
    reasoner = load("study", LEMA_REASONER_BASE_URL="http://x/v1").endpoint("reasoner")
    assert (reasoner.servers, reasoner.warm_up_steps, reasoner.recipe) == (1, 0, None)


def test_a_reasoner_that_is_warmed_up_is_asked_as_it_was_trained() -> None:
    assert load("study").sampling.by("reasoner").prompt == "cot"


def test_only_the_student_is_warmed_up() -> None:
    with pytest.raises(ProfileError, match="only the student is warmed up") as refused:
        load("study", Overrides(model="llama-2-7b"))
    assert "\n" not in str(refused.value)


WRONG = {
    "profile": ("laptpo", None, "did you mean 'laptop'"),
    "file": ("nowhere/x.toml", None, "Cannot read profile nowhere/x.toml"),
    "key": (None, "[smapling]\nsamples = 2", "'smapling' (did you mean 'sampling'?)"),
    "nested key": (None, "[sampling]\ntemprature = 1", "'temprature' (did you mean 'temperature'?)"),
    "endpoint key": (None, '[endpoints.x]\nmodel = "a"\nbase_ulr = "b"', "(did you mean 'base_url'?)"),
    "value": (None, '[build]\narms = ["lema-controled"]', "(did you mean 'lema-controlled'?)"),
    "kind of value": (None, '[sampling]\nsamples = "two"', "expected int, got 'two'"),
    "truth for a number": (None, "[sampling]\nsamples = true", "expected int, got True"),
    "no list": (None, '[build]\narms = "cot"', "expected a list"),
    "no table": (None, "build = 3", "build: expected a table, got 3"),
    "below zero": (None, "[sampling]\ntemperature = -1", "below zero"),
    "a seed that no column holds": (
        None,
        "[training]\nseed = 3_000_000_000",
        "training, seed: 3000000000 is too large",
    ),
    "the seed of a build": (None, "[build]\nseed = 2_147_483_648", "build, seed: 2147483648 is too large"),
    "no samples": (None, "[sampling]\nsamples = 0", "samples must be 1 or more"),
    "corrector": (None, '[correction]\ncorrectors = ["corector"]', "(did you mean 'corrector'?)"),
    "arm twice": (None, '[build]\narms = ["cot", "cot"]', "name each arm once"),
    "no arm": (None, "[build]\narms = []", "name each arm once"),
    "neither recipe nor URL": (None, '[endpoints.x]\nmodel = "a"', "needs either a recipe or a base_url"),
    "no model": (None, '[endpoints.x]\nrecipe = "oracle"', "'model' is missing"),
    "no concurrency": (None, '[endpoints.x]\nrecipe = "oracle"\nmodel = "a"\nconcurrency = 0', "1 or more"),
    "fewer replicas at most than at least": (None, "[scale]\nreplicas = [8, 2]", "replicas = 8, or [2, 8]"),
    "an engine of another name": (None, '[scale]\nengine = "rya"', "did you mean 'ray'"),
    "TOML": (None, "[sampling", "is not valid TOML"),
}


@pytest.mark.parametrize(("name", "more", "words"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_refused_in_one_line(minimal: Path, name: str | None, more: str | None, words: str) -> None:
    minimal.write_text(MINIMAL + (more or "") if more != "build = 3" else more + MINIMAL)
    with pytest.raises(ProfileError) as caught:
        load(name or minimal)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_table_is_named(minimal: Path) -> None:
    minimal.write_text('description = "d"')
    with pytest.raises(ProfileError, match="'data' is missing"):
        load(minimal)


def test_a_profile_file_takes_its_name_from_the_file(minimal: Path) -> None:
    assert load(minimal).name == "mine"


def test_an_option_beats_the_environment_which_beats_the_profile(minimal: Path) -> None:
    environment = {"LEMA_CORRECTOR_BASE_URL": "http://e/v1", "LEMA_CORRECTOR_MODEL": "from-environment"}
    assert load(minimal, None, **environment).endpoint("corrector").model == "from-environment"
    both = load(minimal, Overrides(corrector_model="from-option"), **environment).endpoint("corrector")
    assert (both.model, both.base_url) == ("from-option", "http://e/v1")


def test_an_empty_variable_says_nothing(minimal: Path) -> None:
    assert load(minimal, LEMA_CORRECTOR_MODEL="", LEMA_STUDENT_BASE_URL="") == load(minimal)


def test_a_base_url_from_outside_starts_no_server_and_replaces_the_cascade() -> None:
    profile = load("laptop", Overrides(corrector_url="http://there/v1", corrector_model="big", corrector_key_env="KEY"))
    corrector = profile.endpoint("corrector")
    assert (corrector.base_url, corrector.recipe, corrector.model, corrector.api_key_env) == (
        "http://there/v1",
        None,
        "big",
        "KEY",
    )
    assert profile.correction.correctors == ("corrector",)
    assert profile.endpoint("reasoner") == load("laptop").endpoint("reasoner")


def test_a_corrector_from_outside_is_spoken_to_in_chat() -> None:
    """Hosted models serve no raw completions; the profile's own server did."""
    given = Overrides(corrector_url="http://there/v1", corrector_model="big")
    assert load("laptop").endpoint("corrector").api == "completions"
    assert load("laptop", given).endpoint("corrector").api == "chat"


def test_a_student_from_outside_still_gets_raw_text() -> None:
    assert load("laptop", LEMA_STUDENT_BASE_URL="http://there/v1").endpoint("student").api == "completions"


def test_a_model_alone_keeps_the_recipe_and_replaces_the_cascade() -> None:
    profile = load("laptop", Overrides(corrector_model="other.gguf"))
    assert (profile.endpoint("corrector").recipe, profile.endpoint("corrector").model) == ("llama_server", "other.gguf")
    assert profile.correction.correctors == ("corrector",)


def test_a_key_variable_alone_leaves_the_cascade() -> None:
    profile = load("laptop", Overrides(corrector_key_env="KEY"))
    assert profile.correction.correctors == ("corrector", "oracle")


@pytest.mark.parametrize("option", ["model", "key-env"])
def test_an_option_of_a_corrector_that_is_not_there_is_not_lost_without_a_word(minimal: Path, option: str) -> None:
    minimal.write_text(
        MINIMAL.replace("[endpoints.corrector]", "[endpoints.gpt]") + '[correction]\ncorrectors = ["gpt"]\n'
    )
    name, key = f"corrector_{option.replace('-', '_')}", {"model": "model", "key-env": "api_key_env"}[option]
    with pytest.raises(ProfileError) as refused:
        load(minimal, Overrides(**{name: "X"}))  # type: ignore[arg-type]
    assert str(refused.value) == (
        f"Profile mine has no [endpoints.corrector] for --corrector-{option}: give --corrector-url too, or --set "
        f"endpoints.NAME.{key}=... of one of its correctors (gpt)."
    )
    assert load(minimal, LEMA_CORRECTOR_MODEL="X", LEMA_CORRECTOR_API_KEY_ENV="X") == load(minimal)


@pytest.mark.parametrize("from_environment", ["LEMA_CORRECTOR_BASE_URL", "LEMA_CORRECTOR_MODEL"])
def test_environment_and_options_may_name_a_corrector_together(minimal: Path, from_environment: str) -> None:
    minimal.write_text(
        MINIMAL.replace("[endpoints.corrector]", "[endpoints.gpt]") + '[correction]\ncorrectors = ["gpt"]\n'
    )
    said = {"LEMA_CORRECTOR_BASE_URL": "http://x/v1", "LEMA_CORRECTOR_MODEL": "m"}
    options = {"LEMA_CORRECTOR_BASE_URL": "corrector_url", "LEMA_CORRECTOR_MODEL": "corrector_model"}
    environment = {from_environment: said.pop(from_environment)}
    given = Overrides(**{options[name]: value for name, value in said.items()})  # type: ignore[arg-type]
    profile = load(minimal, given, **environment)
    assert (profile.endpoint("corrector").base_url, profile.endpoint("corrector").model) == ("http://x/v1", "m")
    assert profile.correction.correctors == ("corrector",)


def test_the_model_option_is_the_student_alone() -> None:
    profile = load("laptop", Overrides(model="llama-2-7b"))
    assert profile.endpoint("student").model == "llama-2-7b"
    assert profile.endpoint("reasoner") == load("laptop").endpoint("reasoner")


@pytest.mark.parametrize("name", ENDPOINTS)
def test_the_environment_overrides_every_endpoint(minimal: Path, name: str) -> None:
    keys = {"BASE_URL": "http://x/v1", "MODEL": "m", "API_KEY_ENV": "K"}
    profile = load(minimal, None, **{f"LEMA_{name.upper()}_{key}": value for key, value in keys.items()})
    endpoint = profile.endpoint(name)
    assert (endpoint.base_url, endpoint.recipe, endpoint.model, endpoint.api_key_env) == ("http://x/v1", None, "m", "K")


def test_a_url_for_an_endpoint_that_is_not_there_wants_its_model(minimal: Path) -> None:
    with pytest.raises(ProfileError, match="has no evolver: give its model too"):
        load(minimal, LEMA_EVOLVER_BASE_URL="http://x/v1")


def test_openais_own_variable_is_not_read(minimal: Path) -> None:
    assert load(minimal, OPENAI_BASE_URL="http://x/v1") == load(minimal)


def test_the_engine_is_the_profile_s_or_the_option_s(minimal: Path) -> None:
    minimal.write_text(MINIMAL + '[scale]\nreplicas = [2, 8]\naddress = "head:6379"\n')
    assert load(minimal).scale == ScaleProfile(replicas=(2, 8), address="head:6379")
    assert load(minimal, Overrides(engine="ray", ray_address="auto")).scale == ScaleProfile(
        engine="ray", replicas=(2, 8)
    )
    with pytest.raises(ProfileError, match="--ray-address goes with --engine ray"):
        load(minimal, Overrides(ray_address="auto"))


def test_limit_takes_the_lesser_of_both_splits(minimal: Path) -> None:
    data = load(minimal, Overrides(limit=4)).data
    assert (data.train_problems, data.test_problems) == (4, 4)
    assert load(minimal, Overrides(limit=99)).data.train_problems == 10
    with pytest.raises(ProfileError, match="--limit must be 1 or more"):
        load(minimal, Overrides(limit=0))


def test_another_dataset_forgets_what_only_the_first_one_has() -> None:
    data = load("laptop", Overrides(dataset="gsm8k", data_path="there")).data
    assert (data.dataset, data.templates, data.train_path, data.test_path) == ("gsm8k", None, "there", None)
    assert load("laptop", Overrides(dataset="gsm-symbolic")) == load("laptop")


def test_a_missing_key_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEMA_TEST_KEY", raising=False)
    profile = EndpointProfile(model="m", base_url="http://x/v1", api_key_env="LEMA_TEST_KEY")
    with pytest.raises(ProfileError, match="export LEMA_TEST_KEY="):
        read_key("corrector", profile)
    monkeypatch.setenv("LEMA_TEST_KEY", "secret")
    assert read_key("corrector", profile) == "secret"
    with open_endpoint(Endpoints().resolve("corrector", profile), options=ServeOptions()) as endpoint:
        assert endpoint.api_key == "secret"
        assert "secret" not in repr(endpoint)


def test_the_identity_of_a_served_alias_is_what_the_profile_says() -> None:
    profile = EndpointProfile(model="alias", base_url="http://x/v1/")
    assert Endpoints().resolve("student", profile).endpoint.identity == "served:http://x/v1:alias"
    named = Endpoints().resolve("student", dataclasses.replace(profile, identity="weights-7")).endpoint
    assert (named.identity, named.base_url) == ("weights-7", "http://x/v1")


def test_profiles_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load("laptop").name = "other"  # type: ignore[misc]


PRESET = """
description = "presets"
[data]
dataset = "gsm8k"
[endpoints.reasoner]
preset = "llama-2-70b"
[endpoints.wizard]
preset = "{preset}"
{more}
[endpoints.corrector]
base_url = "http://127.0.0.1:1/v1"
model = "c"
[endpoints.student]
preset = "llama-2-70b"
[sampling]
reasoners = ["reasoner", "wizard"]
samples = 4
[sampling.of.wizard]
samples = 2
"""


def preset_profile(tmp_path: Path, preset: str, more: str = "") -> Profile:
    path = tmp_path / "presets.toml"
    path.write_text(PRESET.format(preset=preset, more=more))
    return load_profile(str(path), environment={})


def test_a_preset_fills_an_endpoint_and_says_how_it_is_asked(tmp_path: Path) -> None:
    profile = preset_profile(tmp_path, "wizardmath-70b", "concurrency = 7")
    wizard = profile.endpoint("wizard")
    assert (wizard.recipe, wizard.api, wizard.concurrency) == ("vllm", "completions", 7)
    assert wizard.model == "WizardLMTeam/WizardMath-70B-V1.0"
    asked = profile.sampling.by("wizard")
    assert (asked.samples, asked.prompt) == (2, "alpaca")
    assert (profile.sampling.by("reasoner").samples, profile.sampling.by("reasoner").prompt) == (4, "few-shot")


def test_a_preset_that_is_served_elsewhere_takes_neither_recipe_nor_key(tmp_path: Path) -> None:
    wizard = preset_profile(tmp_path, "gpt-4", 'base_url = "http://127.0.0.1:9/v1"').endpoint("wizard")
    assert (wizard.base_url, wizard.recipe, wizard.api_key_env) == ("http://127.0.0.1:9/v1", None, None)


@pytest.mark.parametrize(
    ("preset", "words"),
    [("text-davinci-003", 'preset = "gpt-3.5-turbo-instruct"'), ("wizardmath-7", "did you mean 'wizardmath-70b'")],
)
def test_a_retired_or_unknown_preset_is_refused_with_the_nearest(tmp_path: Path, preset: str, words: str) -> None:
    with pytest.raises(ProfileError, match=re.escape(words)):
        preset_profile(tmp_path, preset)


def test_every_preset_is_a_whole_endpoint(tmp_path: Path) -> None:
    for name, preset in reasoner_presets().items():
        if "retired" in preset:
            assert preset["nearest"] in reasoner_presets()
        else:
            assert preset_profile(tmp_path, name).endpoint("wizard").model

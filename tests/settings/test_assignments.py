"""`--set KEY=VALUE`: written as in the file, checked like it, and who beats whom."""

import re
from pathlib import Path
from typing import Any

import pytest
from commands import PROBLEMS, lema

from lema_local.errors import LemaError
from lema_local.problems.datasets import Fields
from lema_local.settings.assignments import read_assignment
from lema_local.settings.profiles import ENDPOINTS, Overrides, Profile, load_profile, training_origins


def load(*texts: str, name: str = "laptop", environment: dict[str, str] | None = None, **options: Any) -> Profile:
    return load_profile(name, overrides(*texts, **options), environment or {})


def overrides(*texts: str, **options: Any) -> Overrides:
    return Overrides(assignments=tuple(map(read_assignment, texts)), **options)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("k=4", 4),
        ("k = 0.5", 0.5),
        ("k=true", True),
        ("k=gsm8k", "gsm8k"),  # no TOML: text
        ('k="4"', "4"),
        ('k=["cot", "lema"]', ["cot", "lema"]),
        ("k=a=b", "a=b"),
        ("k=", ""),
        ("k=1\nother=2", "1\nother=2"),  # one value, whatever it holds
    ],
)
def test_a_value_is_toml_or_else_text(text: str, value: object) -> None:
    assert read_assignment(text) == ("k", value)


def test_any_key_is_set_and_the_rest_of_its_table_stays() -> None:
    profile, plain = load("sampling.samples=4", "training.max_steps=8", 'build.arms=["lema"]'), load()
    assert (profile.sampling.samples, profile.training.max_steps, profile.build.arms) == (4, 8, ("lema",))
    assert profile.sampling.max_tokens == plain.sampling.max_tokens
    assert profile.endpoints == plain.endpoints


def test_a_table_that_the_profile_lacks_is_made_and_the_last_word_counts() -> None:
    profile = load("endpoints.judge.model=m", "endpoints.judge.base_url=http://x/v1", "endpoints.judge.model=n")
    assert profile.endpoint("judge").model == "n"


WRONG = {
    "key": (
        "sampling.smaples=4",
        "profile laptop with --set, sampling: unknown key 'smaples' (did you mean 'samples'?)",
    ),
    "table": ("smapling.samples=4", "unknown key 'smapling' (did you mean 'sampling'?)"),
    "kind of value": ("sampling.samples=two", "expected int, got 'two'"),
    "what no run can do": ("sampling.samples=0", "samples must be 1 or more"),
    "through a value": ("data.dataset.x=1", "dataset of --set data.dataset.x is no table"),
    "training": ("training.learning_rate=0", "training.learning_rate is 0"),
    "a key in the place of its variable": ("endpoints.corrector.api_key_env=sk-1", "wants the NAME of a variable"),
}


@pytest.mark.parametrize(("text", "words"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(LemaError, match=re.escape(words)) as refused:
        load(text)
    assert "\n" not in str(refused.value)
    assert "sk-1" not in str(refused.value)


@pytest.mark.parametrize("text", ["sampling.samples", "=4", "a..b=4", "sk-proj:secret=1", "a b=4"])
def test_what_is_no_assignment_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"^write KEY=VALUE, e\.g\. sampling\.samples=4$"):
        read_assignment(text)


def test_set_beats_the_environment_and_a_named_option_beats_set() -> None:
    environment = {"LEMA_CORRECTOR_MODEL": "from-environment", "LEMA_REASONER_MODEL": "r"}
    profile = load("endpoints.corrector.model=from-set", environment=environment)
    assert (profile.endpoint("corrector").model, profile.endpoint("reasoner").model) == ("from-set", "r")
    assert load("data.train_problems=9", limit=4).data.train_problems == 4


DATA = {
    "train_problems": 30, "test_problems": 20, "kind": "choice", "revision": "r", "test_path": "set.jsonl",
    "fields": {"question": "Body", "answer": "A"},
}  # fmt: skip
OTHERS = {
    "another data set": {"dataset": "mine"},
    "another path": {"dataset": "mine", "data_path": "given"},
    "a path of the profile's data set": {"data_path": "given"},
}


@pytest.fixture
def theirs(tmp_path: Path) -> str:
    """A profile that says much of its own data."""
    path = tmp_path / "theirs.toml"
    path.write_text(
        'description = "d"\n[data]\ndataset = "theirs"\ntrain_path = "own"\ntest_path = "own"\nkind = "number"\n'
        'train_problems = 5\ntest_problems = 5\n[data.fields]\nquestion = "q"\nanswer = "a"\nlevel = "l"\n'
        + "".join(f'[endpoints.{name}]\nmodel = "m"\nrecipe = "llama_cpp"\n' for name in ENDPOINTS)
    )
    return str(path)


@pytest.mark.parametrize("options", OTHERS.values(), ids=OTHERS.keys())
def test_an_option_that_names_other_data_keeps_what_was_set_of_them(theirs: str, options: dict[str, str]) -> None:
    given = Overrides(assignments=tuple((f"data.{key}", value) for key, value in DATA.items()), **options)  # type: ignore[arg-type]
    data = load_profile(theirs, given, {}).data
    assert {key: getattr(data, key) for key in DATA} == DATA | {"fields": Fields(question="Body", answer="A")}
    assert data.train_path == options.get("data_path")


def test_fields_that_are_set_are_not_mixed_with_those_of_another_data_set(theirs: str) -> None:
    given = ("data.fields.question=Body", "data.fields.answer=A")
    assert load(*given, name=theirs, dataset="mine").data.fields == Fields(question="Body", answer="A")
    assert load(*given, name=theirs).data.fields == Fields(question="Body", answer="A", level="l")


def test_other_data_still_forget_what_was_not_set(theirs: str) -> None:
    data = load("data.test_problems=9", name=theirs, dataset="mine", data_path="given").data
    assert (data.kind, data.fields, data.test_path, data.train_problems) == (None, None, None, None)
    assert data.test_problems == 9


def test_an_option_of_the_data_beats_set_for_the_key_that_it_is(theirs: str) -> None:
    given = ("data.dataset=set", "data.train_path=set", "data.train_problems=30", "data.test_problems=3")
    data = load(*given, name=theirs, dataset="mine", data_path="given", limit=4).data
    assert (data.dataset, data.train_path, data.train_problems, data.test_problems) == ("mine", "given", 4, 3)


def test_a_profiles_own_data_set_by_name_keeps_all_that_it_says(theirs: str) -> None:
    assert load(name=theirs, dataset="theirs") == load(name=theirs)


def test_set_beats_a_variant_and_chooses_it_too() -> None:
    assert load("data.dataset=math", name="a100").training.source_max_length == 768
    long = ("data.dataset=math", "training.source_max_length=99")
    assert load(*long, name="a100").training.source_max_length == 99
    origins = training_origins("a100", overrides(*long), {})
    assert (origins["source_max_length"], origins["target_max_length"]) == (
        "--set",
        "profile, variant dataset = math",
    )


@pytest.mark.parametrize(
    ("model", "rate"),
    [
        ("meta-llama/Meta-Llama-3-70B", 1e-4), ("Qwen/Qwen2-57B-A14B", 1e-4), ("01-ai/Yi-34B", 1e-4),
        ("mistralai/Mistral-7B-v0.3", 2e-4), ("somebody/a-model", 2e-4),
    ],
)  # fmt: skip
def test_a_model_that_is_known_by_its_name_alone_gets_the_learning_rate_of_its_size(model: str, rate: float) -> None:
    assert load(f"endpoints.student.model={model}", name="a100").training.learning_rate == rate


def test_a_preset_may_be_set() -> None:
    profile = load("endpoints.judge.preset=gpt-4")
    assert profile.endpoint("judge").base_url == "https://api.openai.com/v1"


def test_a_wrong_key_is_one_line_before_anything_is_made(tmp_path: Path) -> None:
    done = lema("data", "--set", "sampling.smaples=4", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_what_was_set_is_what_is_asked_for(tmp_path: Path) -> None:
    given = ["--dataset", "mine", "--data-path", str(PROBLEMS), "--set", "sampling.samples=3"]
    done = lema("data", "--dry-run", *given, cwd=tmp_path)
    once = lema("data", "--dry-run", *given[:-2], cwd=tmp_path)
    calls = [int(run.stdout.splitlines()[2].split()[3]) for run in (done, once)]
    assert calls[0] == 3 * calls[1] > 0

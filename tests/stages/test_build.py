"""Building from a database: the paper's sizes and its books, the same sets on any machine, nothing unfit trains."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bulk_records import Counts, fill, write_files

from lema_local.records.store import Writer
from lema_local.settings.profiles import load_profile
from lema_local.settings.tables import Arm
from lema_local.settings.training import Match
from lema_local.stages import sample
from lema_local.stages.build import Built, build
from lema_local.stages.run import Run
from lema_local.stages.train import TrainingRun, planned_runs

SMALL = Counts(gold=8, sampled=20, right=14, corrections=6)
PAPER = {  # gold, sampled, right, corrections; cot, lema, lema-controlled (arXiv 2310.20689, section 3)
    "GSM8K": (Counts(7_473, 30_000, 24_948, 12_523), (32_421, 44_944, 32_421)),
    "MATH": (Counts(7_500, 30_000, 12_509, 6_306), (20_009, 26_315, 20_009)),
}


def built_from(folder: Path, counts: Counts, *arms: Arm, backwards: bool = False) -> list[Built]:
    folder.mkdir(exist_ok=True)
    with Writer(folder / "lema.duckdb") as store:
        return build(fill(store, write_files(folder, counts), counts, backwards=backwards), arms)


def manifest(built: Built) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(built.training_set.manifest)
    return found


def change(run: Run, sql: str) -> None:
    with run.store.connect(write=True) as connection:
        connection.execute(sql)


@pytest.mark.parametrize("name", PAPER)
def test_records_of_the_papers_counts_give_its_arms(tmp_path: Path, name: str) -> None:
    counts, sizes = PAPER[name]
    arms = built_from(tmp_path, counts, "cot", "lema", "lema-controlled")
    assert tuple(len(built.examples) for built in arms) == sizes
    controlled = arms[2].training_set
    assert controlled.correction_examples == counts.corrections
    assert controlled.cot_examples == sizes[0] - counts.corrections  # GSM8K: 19,898
    books = manifest(arms[0])["augmentation"]
    assert books == {
        "target": 30_000,
        "sampled": 30_000,
        "kept": counts.right,
        "rejected": {"wrong answer": 30_000 - counts.right},
        "duplicates": 0,
    }
    assert manifest(arms[1])["sources"] == {
        "gold": counts.gold,
        "augmented by bulk-augmenter": counts.right,
        "correction by bulk-corrector": counts.corrections,
    }


def test_the_order_of_records_in_the_database_changes_no_set(tmp_path: Path) -> None:
    arms: tuple[Arm, ...] = ("cot", "lema", "lema-controlled", "cot-expanded", "cot-matched-tokens")
    one = built_from(tmp_path / "one", SMALL, *arms)
    other = built_from(tmp_path / "other", SMALL, *arms, backwards=True)
    assert [built.training_set for built in one] == [built.training_set for built in other]
    assert [built.examples for built in one] == [built.examples for built in other]


def test_building_again_changes_nothing(tmp_path: Path) -> None:
    with Writer(tmp_path / "lema.duckdb") as store:
        run = fill(store, write_files(tmp_path, SMALL), SMALL)
        first = build(run, ("cot-matched-tokens", "lema"))
        assert build(run, ("cot-matched-tokens", "lema")) == first
        sets, links = (store.rows(f"from {table} order by all") for table in ("training_set", "training_set_example"))
    assert len(sets) == 2
    assert len(links) == sum(len(set(built.training_set.example_ids)) for built in first)


def test_the_books_tell_duplicates_from_rejected_paths(tmp_path: Path) -> None:
    with Writer(tmp_path / "lema.duckdb") as store:
        run = fill(store, write_files(tmp_path, SMALL), SMALL)
        change(run, "update completion set text = replace(text, 'In way 8', 'In way 0')")  # as path 0 of its problem
        change(
            run,
            "update rationale set is_cut = true where id in (select id from completion where text like '%In way 1,%')",
        )
        change(run, "update completion set text = 'The answer is 3.' where text like '%In way 2,%'")
        change(
            run,
            "update rationale set answer = null where id in (select id from completion where text like '%In way 19,%')",
        )
        (cot,) = build(run, ("cot",))
    books = manifest(cot)["augmentation"]
    assert books["rejected"] == {"cut off": 1, "no answer": 1, "no steps": 1, "wrong answer": 5}
    assert (books["sampled"], books["kept"], books["duplicates"]) == (20, 11, 1)


def test_paths_beyond_the_target_are_not_taken_up_but_may_match_tokens(tmp_path: Path) -> None:
    profile = write_files(tmp_path, SMALL)
    with Writer(tmp_path / "lema.duckdb") as store:
        fill(store, profile, SMALL)
        profile.write_text(profile.read_text().replace("augment_target = 20", "augment_target = 9"))
        run = Run(load_profile(str(profile), environment={}), store)
        cot, matched = build(run, ("cot", "cot-matched-tokens"))
        augmenter = run.resolved("augmenter").endpoint
        asked_for = {call.id for call in sample.wanted_of(run.profile, "augmenter", augmenter, run.problems.train)}
    assert manifest(cot)["augmentation"]["sampled"] == 9
    # those that a run with this target alone would sample, whatever else is in the database
    taken_up = {example.source_id for example in cot.examples if "In way" in example.output}
    assert taken_up == asked_for
    assert cot.training_set.cot_examples == 8 + 9  # paths 0 to 13 are right
    assert manifest(matched)["paths_beyond_target"] == 5  # 14 are right
    # one path of every problem before any problem has two
    assert len({example.problem_id for example in cot.examples if "In way" in example.output}) == 8


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        (
            "update correction set explanation = repeat('so ', 9000)",
            "correction too long",
        ),
        (
            "update correction set explanation = 'Wrong. ' || chr(10) || 'Correct Solution: 3'",
            "correction that does not read back",
        ),
        ("update correction set explanation = 'One book. <file_sep> Not eight.'", "special token in the text"),
    ],
    ids=["too long", "hostile", "a special token"],
)
def test_a_correction_that_would_not_read_back_never_trains(tmp_path: Path, sql: str, reason: str) -> None:
    with Writer(tmp_path / "lema.duckdb") as store:
        run = fill(store, write_files(tmp_path, SMALL), SMALL)
        change(run, f"{sql} where id = (select min(id) from correction)")
        (lema,) = build(run, ("lema",))
    assert lema.training_set.correction_examples == 5
    assert manifest(lema)["left_out"] == {reason: 1}


def test_special_tokens_that_marks_hide_in_a_models_steps_reach_no_arm(tmp_path: Path) -> None:
    """Bold marks are taken off a step after its reply was cut at the first token that shows."""
    with Writer(tmp_path / "lema.duckdb") as store:
        run = fill(store, write_files(tmp_path, SMALL), SMALL)
        for path in ("In way 3,", "Try 1:"):
            change(run, f"update completion set text = replace(text, '{path}', '{path} <|im**_end|>')")
        cot, lema = build(run, ("cot", "lema"))
    texts = [example.prompt + example.output for example in lema.examples]
    assert len(texts) > 20
    assert not any("im_end" in text for text in texts)
    assert len(cot.examples) < 8 + 14
    assert lema.training_set.correction_examples < 6
    assert manifest(lema)["left_out"]["special token in the text"] > 1


def test_expanded_cot_has_the_corrected_solution_of_each_correction(tmp_path: Path) -> None:
    (expanded,) = built_from(tmp_path, SMALL, "cot-expanded")
    assert expanded.training_set.correction_examples == 0
    assert expanded.training_set.cot_examples == 8 + 14 + 6
    corrected = [example.output for example in expanded.examples if "Try" in example.output]
    assert len(corrected) == 6
    assert "Try 0: we count the books. That makes 1. The answer is 1." in corrected
    assert manifest(expanded)["sources"]["corrected solution by bulk-corrector"] == 6
    assert manifest(expanded)["reference_derived"] == 0


def test_expanded_cot_counts_the_solutions_that_an_oracle_wrote(tmp_path: Path) -> None:
    (expanded,) = built_from(tmp_path, replace(SMALL, is_reference_derived=True), "cot-expanded")
    assert manifest(expanded)["reference_derived"] == 6


def test_a_student_of_another_input_gets_the_same_examples_in_it(tmp_path: Path) -> None:
    with Writer(tmp_path / "lema.duckdb") as store:
        run = fill(store, write_files(tmp_path, SMALL), SMALL)
        (paper,) = build(run, ("lema",))
        student = replace(run.profile.endpoint("student"), model="wizardmath-7b")
        run.profile = replace(run.profile, endpoints={**run.profile.endpoints, "student": student})
        (alpaca,) = build(run, ("lema",))
    assert alpaca.training_set.id != paper.training_set.id
    assert sorted(e.output.strip() for e in alpaca.examples) == sorted(e.output.strip() for e in paper.examples)
    responses = {e.kind: e.prompt.rpartition("### Response: ")[2] for e in alpaca.examples}
    assert responses == {"cot": "Let's think step by step.", "correction": "Incorrect Step:"}
    assert all("Please solve" not in e.prompt for e in alpaca.examples)


def test_matched_arms_train_for_steps_of_their_own(tmp_path: Path) -> None:
    with Writer(tmp_path / "lema.duckdb") as store:
        run = fill(store, write_files(tmp_path, SMALL), SMALL)
        student = replace(run.profile.endpoint("student"), model="llama-2-7b")
        run.profile = replace(run.profile, endpoints={**run.profile.endpoints, "student": student})

        def runs(match: Match) -> list[TrainingRun]:
            run.profile = replace(run.profile, training=replace(run.profile.training, match=match, max_steps=220))
            return planned_runs(run, ("cot", "lema"))

        (cot, lema), (same_cot, longer) = runs("steps"), runs("epochs")
        (_, shorter) = runs("tokens")
        run.profile = replace(run.profile, training=replace(run.profile.training, match_beside="tokens"))
        (_, beside) = runs("steps")
    assert (cot.settings.max_steps, lema.settings.max_steps) == (220, 220)
    assert same_cot.id == cot.id  # it sets the measure: nothing is trained again
    assert longer.settings.max_steps == 280  # 22 CoT + 6 corrections
    assert longer.settings.checkpoint_steps == (100, 200, 280)
    assert set(beside.settings.checkpoint_steps) >= {shorter.settings.max_steps, 220}
    assert lema.id == longer.id == shorter.id  # of another length: the same run, of which less or more is trained
    assert shorter.settings.max_steps != 220

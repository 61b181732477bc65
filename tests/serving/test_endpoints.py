"""What an endpoint stands for is looked up once in a run, however many stages ask."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from lema_local.cli.data import command
from loop_steps import opened

from lema_local.calls.replies import Reply
from lema_local.serving import endpoints
from lema_local.settings import models
from lema_local.stages import sample
from lema_local.stages.work import completion


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a model was resolved, a file hashed, an endpoint described: counted as it is done."""
    counts: Counter[str] = Counter()

    def counted(module: Any, function: str) -> None:
        real = getattr(module, function)

        def count(first: Any, *rest: Any, **more: Any) -> Any:
            counts[f"{function} {getattr(first, 'name', first)}"] += 1
            return real(first, *rest, **more)

        monkeypatch.setattr(module, function, count)

    counted(endpoints, "resolve_model")
    counted(endpoints, "_endpoint")
    counted(models, "cached_sha256")
    return counts


def test_one_lema_data_resolves_and_hashes_each_model_once_and_describes_each_endpoint_once(
    db: Path, write_profile: Callable[..., Path], looked_up: Counter[str]
) -> None:
    profile = write_profile()
    head, student, _ = profile.read_text().partition("[endpoints.student]")
    reasoner = head.partition("[endpoints.reasoner]")[2].partition("[endpoints.corrector]")[0]
    local = '\nrecipe = "llama_cpp"\nmodel = "smollm2-135m-instruct"\n'
    profile.write_text(head.replace(reasoner, local) + student + local + "[correction]\ncorrectors = ['oracle']\n")
    with opened(db, profile) as run:  # what the reasoner said is there already: no server of it is started
        for call in sample.wanted(run):
            reply = Reply("Step 1: 1 + 1 = 3. The answer is 3.", "stop", 1, 1, 0.1, None)
            run.store.add(completion(call, call.id, reply))
    looked_up.clear()
    done = CliRunner().invoke(command, ["--profile", str(profile), "--db", str(db)], catch_exceptions=False)
    assert "lema: " in done.output
    gguf = models.resolve_model("smollm2-135m-instruct").gguf().name
    assert looked_up == {
        "resolve_model smollm2-135m-instruct": 1,
        f"cached_sha256 {gguf}": 1,
        **{f"_endpoint {name}": 1 for name in ("reasoner", "oracle", "student")},
    }

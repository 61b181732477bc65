"""The compute dtype of a CPU: bfloat16 where it is measured to be fast, never by a flag alone; old runs keep theirs."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lema_local.errors import TrainingError
from lema_local.hardware import has_bfloat16_units
from lema_local.training import bfloat16


@pytest.fixture(autouse=True)
def _measured_anew() -> Iterator[None]:
    bfloat16.multiplies_bfloat16.cache_clear()
    yield
    bfloat16.multiplies_bfloat16.cache_clear()


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16\n", True),
        ("flags\t\t: fpu amx_bf16 amx_tile\n", True),
        ("Features\t: fp asimd i8mm bf16\n", True),
        ("flags\t\t: fpu avx2 avx512f\n", False),
        ("cpu family : 7\n", None),
    ],
)
def test_the_flags_say_what_a_processor_lists(text: str, has: bool | None, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert has_bfloat16_units(tmp_path / "cpuinfo") is has
    assert has_bfloat16_units(tmp_path / "nowhere") is None


@pytest.mark.parametrize(("taken", "is_fast"), [((2.0, 1.0), True), ((1.0, 1.0), False), ((1.0, 20.0), False)])
def test_units_that_are_listed_and_slow_are_not_used(
    taken: tuple[float, float], is_fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    said = f'{{"float32": {taken[0]}, "bfloat16": {taken[1]}}}\n'
    calls: list[Any] = []

    def measured(command: Any, **_: Any) -> Any:
        calls.append(command)
        return subprocess.CompletedProcess(command, 0, stdout=said, stderr="")

    monkeypatch.setattr(bfloat16, "has_bfloat16_units", lambda: True)
    monkeypatch.setattr(subprocess, "run", measured)
    assert [bfloat16.multiplies_bfloat16() for _ in range(2)] == [is_fast] * 2
    assert len(calls) == 1


def test_a_measurement_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(bfloat16, "has_bfloat16_units", lambda: None)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, "", ""))
    with pytest.raises(TrainingError, match="compute_dtype"):
        bfloat16.multiplies_bfloat16()


def test_without_units_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bfloat16, "has_bfloat16_units", lambda: False)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("measured"))
    assert not bfloat16.multiplies_bfloat16()


def test_a_measurement_takes_both_and_less_than_some_seconds() -> None:
    pytest.importorskip("torch")
    import torch

    threads = torch.get_num_threads()
    taken = bfloat16.measure()
    torch.set_num_threads(threads)
    assert 0 < taken["float32"] < 1
    assert taken["bfloat16"] > 0

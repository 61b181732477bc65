"""What this machine has, as far as it can be tested anywhere."""

from pathlib import Path

import pytest

from lema_local.hardware import _visible, available_bytes

LISTED = "0, GPU-aa, NVIDIA A100-SXM4-80GB, 81920\n1, GPU-bb, NVIDIA A100, 40960\nno devices\n"


@pytest.mark.parametrize(
    ("variable", "memory"),
    [
        (None, [80, 40]),
        ("1", [40]),
        ("GPU-aa", [80]),
        ("GPU-b", [40]),
        ("GPU-c", []),
        ("0, 1", [80, 40]),
        ("", []),
        ("-1", []),
    ],
)
def test_only_the_gpus_that_are_left_to_us_count(variable: str | None, memory: list[float]) -> None:
    assert [gpu.memory_gib for gpu in _visible(LISTED, variable)] == memory
    assert [gpu.name for gpu in _visible(LISTED, None)] == ["NVIDIA A100-SXM4-80GB", "NVIDIA A100"]


def test_available_memory_counts_swap_and_is_none_where_no_system_says_it(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    assert available_bytes(meminfo) is None
    meminfo.write_text("MemTotal: 900 kB\nMemAvailable:    400 kB\nSwapFree: 100 kB\n")
    assert available_bytes(meminfo) == 500 * 1024
    meminfo.write_text("MemTotal: 900 kB\n")
    assert available_bytes(meminfo) is None

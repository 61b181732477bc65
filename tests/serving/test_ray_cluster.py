"""How a cluster is joined, and adapters get to its nodes: what can be told without one."""

import sys
from pathlib import Path

import pytest

from lema_local.errors import MissingPackageError, ProfileError
from lema_local.serving.ray_cluster import join, replicas
from lema_local.serving.shipping import ship, unpack
from lema_local.settings.tables import ScaleProfile


def test_without_the_package_a_line_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'lema-local\[ray\]'"):
        join("auto")


def test_a_driver_outside_the_cluster_is_refused_in_words() -> None:
    with pytest.raises(ProfileError, match="lema runs on a node of the cluster"):
        join("ray://head:10001")


@pytest.mark.parametrize(("asked", "bounds"), [(3, (3, 3)), ((2, 8), (2, 8)), ((4,), (4, 4))])
def test_replicas_are_a_count_or_the_least_and_the_most(asked: int | tuple[int, ...], bounds: tuple[int, int]) -> None:
    assert replicas(ScaleProfile(replicas=asked), 0) == bounds


def test_an_adapter_is_read_from_a_shared_folder_where_its_content_is_the_same(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    (adapter / "more").mkdir(parents=True)
    (adapter / "weights").write_bytes(b"1")
    (adapter / "more" / "config").write_bytes(b"2")
    shipped = ship(adapter, node="n")
    assert unpack(shipped, tmp_path / "here") == adapter
    (adapter / "weights").write_bytes(b"3")
    assert ship(adapter, node="n").digest != shipped.digest
    file = ship(adapter / "weights", node="n")
    assert unpack(file, tmp_path / "here") == adapter / "weights"

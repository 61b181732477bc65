"""Adapters on their way to a node: read from a folder that the node shares, or sent where it has none.

Which of both is told by the content: a path that is there but holds something else is not the adapter.
"""

from dataclasses import dataclass
from pathlib import Path

from lema_local.records.keys import content_key, file_sha256
from lema_local.serving import ray_cluster


@dataclass(frozen=True, slots=True)
class Shipped:
    """A file, or a folder of files, as a node of a Ray cluster has it."""

    path: Path
    digest: str
    node: str  # the id of that node


def ship(path: Path, *, node: str) -> Shipped:
    """A file or a folder of this node, ready to be fetched."""
    return Shipped(path.absolute(), _digest(path), node)


def unpack(shipped: Shipped, folder: Path) -> Path:
    """Where the same lies on this node: at its own path where that is shared, else in `folder`, fetched through Ray's
    object store."""
    if shipped.path.exists() and _digest(shipped.path) == shipped.digest:
        return shipped.path
    content = ray_cluster.at(shipped.node, _content).remote(shipped.path)
    placed = folder / shipped.path.name
    for name, data in ray_cluster.package().get(content).items():
        file = placed / name if name else placed
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return placed


def _content(path: Path) -> dict[str, bytes]:
    return {name: file.read_bytes() for name, file in _files(path).items()}


def _files(path: Path) -> dict[str, Path]:
    """Relative path -> file; "" for a file alone."""
    if path.is_file():
        return {"": path}
    return {str(file.relative_to(path)): file for file in sorted(path.rglob("*")) if file.is_file()}


def _digest(path: Path) -> str:
    return content_key("shipped", [(name, file_sha256(file)) for name, file in _files(path).items()])

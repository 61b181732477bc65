"""A Ray cluster of three nodes on this machine, processes that can be killed; the driver's own takes no replica."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lema_local.serving.ray_cluster import leave, package

STORE_BYTES = 80 * 2**20
WORKERS = 2


class RayNodes:
    """The cluster, and its worker nodes."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE_BYTES})
        self.address: str = self.cluster.address
        self.workers: list[Any] = []
        self.mend()

    def mend(self) -> None:
        """As many worker nodes as at the beginning."""
        while len(self.workers) < WORKERS:
            self.workers.append(self.cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES))

    def kill_one(self) -> None:
        """A worker node dies, without a word."""
        self.cluster.remove_node(self.workers.pop(), allow_graceful=False)


@contextmanager
def ray_nodes() -> Iterator[RayNodes]:
    package()  # before anything else imports Ray: it is told to be quiet
    nodes = RayNodes()
    try:
        yield nodes
    finally:
        leave()
        nodes.cluster.shutdown()

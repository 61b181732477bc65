"""A Ray cluster that is named and not there; tests/stages/test_cluster.py has those that are."""

import pytest

from lema_local.errors import EndpointError, ProfileError
from lema_local.serving.process import free_port
from lema_local.serving.ray_cluster import join


def test_an_address_where_nothing_listens_is_one_line_at_once() -> None:
    address = f"127.0.0.1:{free_port('127.0.0.1')}"
    with pytest.raises(EndpointError, match=rf"^No Ray cluster answers at {address}\. See `ray status` there\.$"):
        join(address)


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "head:http", "head:99999999"])
def test_what_is_no_address_is_refused_before_any_cluster_is_asked(address: str) -> None:
    with pytest.raises((ProfileError, EndpointError), match="Ray cluster"):
        join(address)

"""A process that does one thing: when lema is gone, however it went, it ends a server with all that the server started.

    with ended_with_us(process.pid):        # a process that leads a group
        ...

The kernel can end a server when lema is killed, but not what the server started in turn (vLLM's engines, which hold the
GPUs). So a shell waits at a pipe of which lema alone holds the other end, and kills the group when that end closes.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

_WAIT = 'read -r line; kill -s KILL -- "-$1"'


@contextmanager
def ended_with_us(group: int) -> Iterator[None]:
    """For the length of a `with` block: if this process ends in it, a process group is killed."""
    keeper = subprocess.Popen(
        ["/bin/sh", "-c", _WAIT, "lema-keeper", str(group)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what ends lema's own group (Ctrl-C, a closed terminal) must not end it first
    )
    try:
        yield
    finally:
        keeper.kill()  # before its pipe closes: the group's number may be another's by now
        keeper.communicate()

"""In which order examples are trained on: a pure function of the seed, so that a resumed run goes on as it would have.

Epochs are seeded shuffles joined end to end; global batches are cut from that stream, so none is short. With
`group_by_length` a window of batches is sorted by length and cut anew, which makes the padding small. Within a batch
the longest come first: micro-batches hold rows of like length, and a batch too big for the memory fails at once.
The order inside a global batch does not change the gradient (the loss is a mean over its output tokens).

    >>> data_order([5, 9, 7, 3], seed=1, batch=2, steps=2, group_by_length=False)
    [1, 0, 2, 3]
"""

import random
from collections.abc import Iterator, Sequence
from itertools import islice

# The window of transformers' LengthGroupedSampler: 50 batches, or a quarter of the data where that is less.
_WINDOW_BATCHES = 50


def data_order(lengths: Sequence[int], *, seed: int, batch: int, steps: int, group_by_length: bool) -> list[int]:
    """`steps * batch` indices into `lengths` (tokens per row); the k-th global batch is the k-th slice of `batch`.

    A longer run begins with the order of a shorter one. Raises ValueError where there are no rows.
    """
    if not lengths:
        raise ValueError("no rows to order")
    stream = _epochs(len(lengths), seed)
    shuffle = random.Random(f"batches {seed}")
    window = min(_WINDOW_BATCHES, len(lengths) // (4 * batch)) if group_by_length else 1
    window = max(window, 1)
    order: list[int] = []
    while len(order) < steps * batch:
        rows = sorted(islice(stream, window * batch), key=lambda row: -lengths[row])
        batches = [rows[start : start + batch] for start in range(0, len(rows), batch)]
        shuffle.shuffle(batches)
        for rows in batches:
            order.extend(rows)
    return order[: steps * batch]


def _epochs(rows: int, seed: int) -> Iterator[int]:
    epoch = 0
    while True:
        indices = list(range(rows))
        random.Random(f"epoch {seed} {epoch}").shuffle(indices)
        yield from indices
        epoch += 1

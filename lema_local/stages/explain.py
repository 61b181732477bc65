"""The life of a record: what it was made from, and all that came of it, as a tree.

    problem 5b0b5d21  gsm8k, train
      rationale 0d1f3a90  llama-2-70b, answer 70, wrong
        correction 77aa0c4e  gpt-4, incorrect_step 2, kept       <- asked for
          example e0c1...
            training_set 9d4f7aa8  lema, 32421 CoT + 12523 corrections
              checkpoint 4be2...  step 100, loss 0.41, 1031 of 1319 right

A test answer is followed the other way: to the checkpoint that gave it, the set that it trained on, and the examples
there that are of the same subject or seed as the test problem.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from lema_local.errors import DataError
from lema_local.records.store import Store, stage_sql

SHOWN = 20  # children of one node that are read
_PREFIX = re.compile(r"[0-9a-f][0-9a-f-]{3,35}")
# what comes of a record of each kind, and where it came from
_CHILDREN = {
    "problem": ("problem", "rationale", "example", "evaluation"),
    "rationale": ("correction", "example"),
    "correction": ("review", "example"),
    "example": ("training_set",),
    "training_set": ("checkpoint",),
}
_PARENTS = {
    "rationale": (("problem", "problem_id"),),
    "correction": (("rationale", "rationale_id"),),
    "review": (("correction", "correction_id"),),
    "example": (("correction", "source_id"), ("rationale", "source_id"), ("problem", "source_id")),
    "checkpoint": (("training_set", "training_set_id"),),
    "evaluation": (("problem", "problem_id"),),
    "completion": (("rationale", "rationale_id"), ("problem", "problem_id")),
    "attempt": (("completion", "completion_id"),),
    "problem": (("problem", "source"),),
}


@dataclass(slots=True)
class Node:
    """A record in the tree."""

    kind: str
    id: str
    facts: dict[str, Any]
    text: str | None = None
    is_asked: bool = False
    children: list["Node"] = field(default_factory=list)
    not_shown: int = 0  # children beyond the first SHOWN of each kind

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "kind": self.kind,
            "id": self.id,
            "asked": self.is_asked,
            **self.facts,
            "text": self.text,
            "children": [child.as_dict() for child in self.children],
            "not_shown": self.not_shown,
        }

    def walk(self, depth: int = 0) -> Iterator[tuple[int, "Node"]]:
        """This node and those below it with their depth, top down."""
        yield depth, self
        for child in self.children:
            yield from child.walk(depth + 1)


def explain(store: Store, prefix: str) -> Node:
    """The tree around the one record whose id begins with `prefix` (at least four characters).

    Raises DataError where there is none, or more than one.
    """
    prefix = prefix.strip().lower()
    if not _PREFIX.fullmatch(prefix):
        raise DataError("Give a record's id, or at least its first four characters (hexadecimal).")
    with store.connect() as connection:
        return _Reader(connection).explain(prefix)


class _Reader:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def explain(self, prefix: str) -> Node:
        found = self._rows("find_record", prefix=prefix)
        if not found:
            raise DataError(f"No record has an id that begins with {prefix}.")
        if len(found) > 1:
            some = ", ".join(f"{row['kind']} {row['id']}" for row in found[:5])
            raise DataError(f"More than one record begins with {prefix}: {some}{', ...' if len(found) > 5 else ''}.")
        asked = self._node(found[0]["kind"], found[0]["id"])
        asked.is_asked = True
        if asked.kind == "evaluation":
            self._follow_back(asked)
        else:
            self._grow(asked)
        return self._with_ancestors(asked)

    def _node(self, kind: str, id_: str) -> Node:
        return _as_node(kind, self._rows(f"explain_{kind}", id=id_, of=None)[0])

    def _grow(self, node: Node, depth: int = 0) -> None:
        for kind in _CHILDREN.get(node.kind, ()):
            rows = self._rows(f"explain_{kind}", id=None, of=node.id)
            node.not_shown += max(0, len(rows) - SHOWN)
            for row in rows[:SHOWN]:
                child = _as_node(kind, row)
                node.children.append(child)
                if not (kind == node.kind == "problem"):  # an evolved problem has a life of its own
                    self._grow(child, depth + 1)

    def _with_ancestors(self, node: Node) -> Node:
        for _ in range(len(_CHILDREN) + 2):  # lineage may be long: no deeper than this
            parent = self._parent(node)
            if parent is None:
                return node
            parent.children.append(node)
            node = parent
        return node

    def _parent(self, node: Node) -> Node | None:
        for kind, column in _PARENTS.get(node.kind, ()):
            id_ = node.facts.get(column)
            if id_ is None or not _is_uuid(id_):
                continue
            rows = self._rows(f"explain_{kind}", id=id_, of=None)
            if rows:
                return _as_node(kind, rows[0])
        return None

    def _follow_back(self, evaluation: Node) -> None:
        checkpoint_id = evaluation.facts.get("checkpoint_id")
        if checkpoint_id is None:
            return  # the base model answered
        checkpoint = self._node("checkpoint", checkpoint_id)
        training_set = self._node("training_set", checkpoint.facts["training_set_id"])
        related = self._rows("explain_related", id=evaluation.facts["problem_id"], of=training_set.id)
        training_set.facts["examples_like_the_problem"] = len(related)
        training_set.children = [_as_node("example", row) for row in related[:SHOWN]]
        training_set.not_shown = max(0, len(related) - SHOWN)
        checkpoint.children = [training_set]
        evaluation.children = [checkpoint]

    def _rows(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        result = self._connection.execute(stage_sql(name), parameters)
        columns = [column[0] for column in result.description]
        return [
            {c: str(v) if isinstance(v, UUID) else v for c, v in zip(columns, row, strict=True)}
            for row in result.fetchall()
        ]


def _as_node(kind: str, row: dict[str, Any]) -> Node:
    facts = {name: value for name, value in row.items() if name not in ("id", "text") and value is not None}
    if "manifest" in facts:
        facts["manifest"] = json.loads(facts["manifest"])
    return Node(kind, row["id"], facts, row.get("text"))


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True

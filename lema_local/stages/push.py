"""Pushing to the Hugging Face Hub: a checkpoint as a model, an exported arm as a data set; one commit each.

    to = log_in("me/lema-adapter", "model", is_public=False)     # refused in one line, before anything is built
    push(to, checkpoint_files(db, "4be2"), "lema train push")
    # Pushed(url="https://huggingface.co/me/lema-adapter", is_private=True)

The token is huggingface_hub's to find: HF_TOKEN, or what `hf auth login` left. No error of ours shows it.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lema_local.errors import EndpointError, MissingPackageError, ProfileError, TrainingError
from lema_local.settings.models import HUB_ID
from lema_local.stages.card import base_id, model_card
from lema_local.stages.checkpoints import find_checkpoint
from lema_local.training.checkpoints import ADAPTER_FILES, is_removed, refuse_damaged, serving_files

Files = Mapping[str, Path | bytes]  # name in the repository -> a file here, or what it holds


@dataclass(frozen=True, slots=True)
class Destination:
    """A repository that a token, known to be good, is to write to."""

    repository: str
    kind: Literal["model", "dataset"]
    is_public: bool
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pushed:
    """Where it is now, and whether others see it there."""

    url: str
    is_private: bool

    def __str__(self) -> str:
        return f"{self.url}  ({'private' if self.is_private else 'public'})"


def log_in(repository: str, kind: Literal["model", "dataset"], *, is_public: bool) -> Destination:
    """Asks the Hub whether there is a token and whether it is good. Raises ProfileError without one or for a name that
    is none, EndpointError where the Hub refuses it or is not there, MissingPackageError without huggingface_hub."""
    if not HUB_ID.fullmatch(repository):
        raise ProfileError(f"{repository!r} is no repository of the Hub: write OWNER/NAME.")
    try:
        from huggingface_hub import HfApi, get_token
    except ImportError as error:
        raise MissingPackageError("Pushing needs huggingface_hub: pip install 'lema-local[hub]'") from error
    token = get_token()
    if token is None:
        raise ProfileError("No token for the Hub: set HF_TOKEN to one that may write, or `hf auth login`.")
    to = Destination(repository, kind, is_public, token)
    with _in_one_line(to):
        HfApi(token=token).whoami()
    return to


def push(to: Destination, files: Files, message: str) -> Pushed:
    """Makes the repository where it is not there and commits the files, all or none. Raises ProfileError where it is
    there and public, and that was not asked for; EndpointError in one line for all that the Hub refuses."""
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(token=to.token)
    with _in_one_line(to):
        url = api.create_repo(to.repository, repo_type=to.kind, private=not to.is_public, exist_ok=True)
        # one that was there before keeps what it was, whatever is asked for now
        is_private = bool(api.repo_info(to.repository, repo_type=to.kind).private)
        if not is_private and not to.is_public:
            raise ProfileError(f"{to.repository} is there already, and public: add --public, or name another.")
        operations = [
            CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
            for name, content in files.items()
        ]
        api.create_commit(to.repository, operations, commit_message=message, repo_type=to.kind)
    return Pushed(str(url), is_private)


def checkpoint_files(db: Path, name: str) -> Files:
    """The weights of the checkpoint `name` (an id's beginning, or a directory) with its card, without the trainer's
    state. An adapter names its base as the Hub does. Raises TrainingError where the weights are gone or damaged, or
    the database does not know them."""
    found = find_checkpoint(db, name)
    if is_removed(found.path):
        raise TrainingError(f"The weights of {found.path} were removed (keep): push a newer checkpoint.")
    refuse_damaged(found.path)
    card = model_card(db, name)
    files: dict[str, Path | bytes] = {file: found.path / file for file in serving_files(found.path)}
    config = ADAPTER_FILES[1]
    if config in files and found.record is not None:
        fields = json.loads((found.path / config).read_text(encoding="utf-8"))
        named = {**fields, "base_model_name_or_path": base_id(found.record)}
        files[config] = (json.dumps(named, indent=2) + "\n").encode()
    return {**files, "README.md": card.encode()}


@contextmanager
def _in_one_line(to: Destination) -> Iterator[None]:
    """What the Hub says, without the token: a client may quote the header that it could not send."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError

    def said(words: str | None) -> str:
        return " ".join((words or "").replace(to.token, "(token)").split())[:160]

    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        way = {
            401: "the token is not good: `hf auth login`, or another HF_TOKEN",
            403: "take a token that may write there",
        }
        raise EndpointError(
            f"The Hub refuses {to.repository} ({f'HTTP {status} {said(error.server_message)}'.strip()}): "
            f"{way.get(status, 'nothing was committed; try again later')}."
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        words = said(str(error)) if type(error) is ValueError else ""  # what is wrong with the card
        raise EndpointError(
            f"Nothing was committed to {to.repository} ({f'{type(error).__name__} {words}'.strip()}): check the "
            "connection, the token and HF_ENDPOINT."
        ) from None

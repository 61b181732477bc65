"""Data sets from the Hugging Face Hub, into its own cache: the files that a preset or a profile names, at a revision.

fetch("openai/gsm8k", ("main/test-00000-of-00001.parquet",), revision="e53f0488...")
# (Path("~/.cache/huggingface/hub/datasets--openai--gsm8k/snapshots/e53f0488.../main/test-00000-of-00001.parquet"),)
"""

from pathlib import Path

from lema_local.errors import DataError, MissingPackageError


def fetch(repository: str, names: tuple[str, ...], *, revision: str | None = None) -> tuple[Path, ...]:
    """The local paths of files of a data set, downloaded once.

    Raises DataError for what cannot be had, MissingPackageError without huggingface_hub.
    """
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError as error:
        raise MissingPackageError(
            f"Fetching {repository} needs huggingface_hub: pip install 'lema-local[hub]', or give a file with "
            "--data-path."
        ) from error
    try:
        return tuple(Path(hf_hub_download(repository, name, repo_type="dataset", revision=revision)) for name in names)
    except (HfHubHTTPError, HFValidationError, OSError) as error:  # OSError: no connection, offline mode, disk
        why = " ".join(str(error).split())[:160]
        raise DataError(
            f"Cannot fetch {', '.join(names)} of {repository} from the Hub ({type(error).__name__}: {why}); "
            "download it elsewhere and give it with --data-path."
        ) from error

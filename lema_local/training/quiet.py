"""quiet(): the training libraries without their progress bars, banners and warnings.

stdout belongs to data and stderr to our own lines; transformers alone prints three bars before the first step.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator

from lema_local.training.packages import require

_LOGGERS = ("transformers", "peft", "accelerate", "bitsandbytes", "huggingface_hub", "torch")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within it, transformers, peft, accelerate and bitsandbytes say nothing below an error; afterwards as before."""
    transformers_logging = require("transformers.utils.logging")
    bars = transformers_logging.is_progress_bar_enabled()
    verbosity = transformers_logging.get_verbosity()
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()

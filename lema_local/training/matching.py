"""Matched runs: how many steps each arm takes so that arms of different size can be compared.

arm_steps(settings(max_steps=2000, match="epochs"), {"cot": ArmSize(32_421), "lema": ArmSize(44_944)})
# {"cot": 2000, "lema": 2773}: 5.92 epochs each
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lema_local.errors import TrainingError
from lema_local.settings.training import TrainingSettings


@dataclass(frozen=True, slots=True)
class ArmSize:
    """What an arm has: examples, and the tokens of their prompts and outputs together (None: not known)."""

    examples: int
    tokens: int | None = None


def arm_steps(settings: TrainingSettings, sizes: Mapping[str, ArmSize]) -> dict[str, int]:
    """The steps of each arm by `settings.match`; the first arm takes `max_steps`, and sets the measure.

    steps: all take as many. epochs: all see each of their examples as often. tokens: all see as many tokens, prompts
    and outputs. Raises TrainingError where the sizes that this needs are not known.
    """
    if settings.match == "steps" or not sizes:
        return dict.fromkeys(sizes, settings.max_steps)
    first = next(iter(sizes.values()))
    found = {}
    for arm, size in sizes.items():
        if not first.examples or not size.examples:
            raise TrainingError(
                f'training.match = "{settings.match}" needs the size of arm {arm}: run `make data` first.'
            )
        if settings.match == "epochs":
            share = size.examples / first.examples
        elif first.tokens and size.tokens:
            share = (first.tokens / first.examples) / (size.tokens / size.examples)
        else:
            raise TrainingError(f'training.match = "tokens" needs the tokens of arm {arm}: run `make data` first.')
        found[arm] = max(1, round(settings.max_steps * share))
    return found


def arm_settings(settings: TrainingSettings, sizes: Mapping[str, ArmSize]) -> dict[str, TrainingSettings]:
    """The settings of each arm: its own steps, and saved among them the one at which `match_beside` would end.

    Raises TrainingError where the sizes that this needs are not known.
    """
    steps, beside = arm_steps(settings, sizes), {}
    if settings.match_beside is not None:
        beside = arm_steps(replace(settings, match=settings.match_beside), sizes)
    return {
        arm: replace(settings, max_steps=steps[arm], save_at=(*settings.save_at, *([beside[arm]] if beside else [])))
        for arm in sizes
    }

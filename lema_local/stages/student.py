"""The student: its weights, the input that it trains and is evaluated by, and the chat frame where that is chat."""

from dataclasses import replace
from typing import Literal

from lema_local.serving.recipes import load_recipe
from lema_local.settings.chat import ChatFrame
from lema_local.settings.models import Model, prompt_of
from lema_local.stages.run import Experiment

StudentPrompt = Literal["cot", "alpaca", "chat"]


def student_model(experiment: Experiment) -> Model:
    """The student's weights; those of its GGUF only where that is what will be served."""
    student = experiment.profile.endpoint("student")
    model = experiment.endpoints.model(student.model)
    serves_gguf = student.recipe is not None and load_recipe(student.recipe).weights == "gguf"
    if serves_gguf or (model.hub_id is None and model.path is None):
        return model
    return replace(model, gguf_path=None)


def student_prompt(experiment: Experiment) -> StudentPrompt:
    """As the profile says, else the input that its model was tuned with."""
    student = experiment.profile.endpoint("student")
    return student.prompt or prompt_of(student.model)


def student_frame(experiment: Experiment) -> ChatFrame | None:
    """What stands around its texts where its input is chat. ProfileError where its model has no usable template."""
    if student_prompt(experiment) != "chat":
        return None
    return experiment.endpoints.frame(student_model(experiment), experiment.profile.endpoint("student").system)

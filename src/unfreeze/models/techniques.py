"""Parameter-efficient methods as a saved model names them: what of it a method put in, and how to put it there again.

The files are those of `unfreeze/methods/`; the registry finds one by the name that stands in a model's description.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from unfreeze.errors import ModelError
from unfreeze.recipe_io import read_options
from unfreeze.registry import Registry
from unfreeze.stack.additions import Addition

if TYPE_CHECKING:
    from unfreeze.models.pretrained import Pretrained


class Technique(Protocol):
    """What is asked here of a method."""

    @property
    def options(self) -> type[Any] | None:
        """Dataclass of its settings."""

    @property
    def additions(self) -> Sequence[Addition]:
        """Which parameters are its own."""

    @property
    def rewrite(self) -> Callable[[Pretrained, Any], Any]:
        """Changes the module in place; returns the settings with what it decided, or None."""

    @property
    def merge(self) -> Callable[[Pretrained, Any], None] | None:
        """Folds what it added into the base, in place."""

    @property
    def fold(self) -> Callable[[Pretrained, Any], Any] | None:
        """Drops what only training needs, in place; returns the settings of what is left."""

    @property
    def interchange(self) -> Callable[[Pretrained, Any, Path], None] | None:
        """Writes what it added as other tools read it."""


TECHNIQUES: Registry[Technique] = Registry("method", "unfreeze.methods", "METHOD")


def tune(pretrained: Pretrained, method: str, options: Mapping[str, Any]) -> None:
    """Let a method change the module, in place, and note in the model's description how it did.

    Raises
    ------
    RecipeError
        If an option is unknown or of the wrong kind.
    ModelError
        If the method cannot be used on this model.
    """
    technique = TECHNIQUES.get(method)
    settings = settings_of(method, options)
    decided = technique.rewrite(pretrained, settings)
    settings = settings if decided is None else decided
    pretrained.additions = pretrained.additions or tuple(technique.additions)
    if pretrained.additions:
        pretrained.spec["tuning"] = {"method": method, "options": {} if settings is None else asdict(settings)}
        for parameter in pretrained.module.parameters():
            parameter.requires_grad_(True)  # who learns is the stack's to say, not a library's
        try:
            pretrained.stack()
        except ModelError as error:
            raise ModelError(f"'{method}' cannot be used on the family '{pretrained.family.name}'. {error}") from None


def settings_of(method: str, options: Mapping[str, Any]) -> Any:
    """A method's settings, checked; None if it has none.

    Raises
    ------
    RecipeError
        If an option is unknown or of the wrong kind.
    """
    kind = TECHNIQUES.get(method).options
    return read_options(kind, options, f"method.options of {method}")


def tuning_of(pretrained: Pretrained) -> tuple[Technique, Any]:
    """The method that a model was rewritten by, and its settings.

    Raises
    ------
    ModelError
        If there is none.
    """
    tuning = pretrained.spec.get("tuning")
    if tuning is None:
        raise ModelError(f"'{pretrained.provenance.name}' holds no adapter: all of its weights are its own.")
    return TECHNIQUES.get(tuning["method"]), settings_of(tuning["method"], tuning["options"])


def fold(pretrained: Pretrained) -> bool:
    """After training, put the result of what only training needs in its place; whether there was anything."""
    if "tuning" not in pretrained.spec:
        return False
    technique, settings = tuning_of(pretrained)
    left = settings if technique.fold is None else technique.fold(pretrained, settings)
    if left == settings:
        return False
    pretrained.spec["tuning"] = {**pretrained.spec["tuning"], "options": asdict(left)}
    return True


def interchange(pretrained: Pretrained, folder: Path) -> None:
    """Write what a method added into a folder, in the layout that other tools read, where it has one.

    Raises
    ------
    ModelError
        If it would do something else there.
    """
    if "tuning" in pretrained.spec:
        technique, settings = tuning_of(pretrained)
        if technique.interchange is not None:
            technique.interchange(pretrained, settings, folder)


def merge(pretrained: Pretrained) -> None:
    """Fold what a method added into the base's own weights, in place: a plain model with the same outputs.

    Raises
    ------
    ModelError
        If nothing was added, or the method adds something that the base has no place for.
    """
    technique, settings = tuning_of(pretrained)
    if technique.merge is None:
        name = pretrained.spec["tuning"]["method"]
        can = [key for key, other in TECHNIQUES.items() if other.additions and other.merge]
        raise ModelError(
            f"What '{name}' adds cannot be folded into the model's own layers. Methods that can: {', '.join(can)}."
        )
    technique.merge(pretrained, settings)
    del pretrained.spec["tuning"]
    pretrained.additions = ()

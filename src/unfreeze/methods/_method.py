"""What a method is: three slots over the layer stack, of which most fill only one. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unfreeze.registry import Card

if TYPE_CHECKING:
    from unfreeze.models.pretrained import Pretrained
    from unfreeze.recipe import Recipe
    from unfreeze.stack.additions import Addition
    from unfreeze.train.hooks import Hook


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training with one set of learning groups.

    Parameters
    ----------
    name : str
        Shown in tables.
    learn : tuple of str
        Names of the groups that learn.
    epochs : float
        Its length; with `until="plateau"` the most that it may take.
    until : "epochs" or "plateau"
        "plateau" ends the phase after the first epoch without gain on validation.
    lr : float or None
        Rate at scale 1; None takes the recipe's rate.
    scales : mapping of group name to float
        Factor on the rate of a group; 1 where absent. The head has a rate of its own (training.head_lr) unless it
        is named here or `lr` is set; then it learns at `lr` (or the recipe's rate) times its factor.
    """

    name: str
    learn: tuple[str, ...]
    epochs: float
    until: Literal["epochs", "plateau"] = "epochs"
    lr: float | None = None
    scales: Mapping[str, float] = field(default_factory=dict)

    def scaled(self, factors: Mapping[str, float]) -> Phase:
        """The same phase with further factors on the groups' rates."""
        scales = {name: self.scales.get(name, 1.0) * factors.get(name, 1.0) for name in self.learn}
        # A stated scale of 1 stays: it gives the head the rate of the other groups instead of its own.
        kept = {name: scale for name, scale in scales.items() if scale != 1.0 or name in self.scales}
        return replace(self, scales=kept)


@dataclass(frozen=True)
class StackView:
    """What a method may know of a stack: the groups' names and sizes, lowest first; the last is the head.

    `beside` maps the name of each group that a method added to that of the group within which it acts.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    beside: Mapping[str, str] = field(default_factory=dict)

    @property
    def head(self) -> str:
        """The new head's name."""
        return self.names[-1]

    @property
    def added(self) -> tuple[str, ...]:
        """The groups that a method added to the model's own, lowest first."""
        return tuple(name for name in self.names if name in self.beside)

    def last(self, k: int) -> tuple[str, ...]:
        """The topmost k groups."""
        return self.names[max(0, len(self.names) - k) :]


@dataclass(frozen=True)
class MethodContext:
    """What a method knows when it plans.

    `argument` is what follows the colon in `last:2`, or None; `epochs` is the whole run's length; `settings` are those
    of method.options, or None.
    """

    stack: StackView
    argument: str | None
    epochs: float
    settings: Any = None


def added_and_head(context: MethodContext) -> Sequence[Phase]:
    """One phase, in which only what the method added learns, and the new head."""
    stack = context.stack
    return [Phase(name="added and head", learn=(*stack.added, stack.head), epochs=context.epochs)]


def no_rewrite(pretrained: Pretrained, settings: Any) -> None:
    """Leave the model as it is."""


def nothing_to_fold(pretrained: Pretrained, settings: Any) -> None:
    """To merge where only parameters of the model's own learned: they are in their place."""


def no_hooks(recipe: Recipe) -> Sequence[Hook]:
    """No hooks of its own."""
    return ()


@dataclass(frozen=True)
class Method:
    """A named way to fine-tune.

    Parameters
    ----------
    card : Card
    phases : callable (MethodContext) -> sequence of Phase
        Which groups learn, when, and how fast.
    rewrite : callable (Pretrained, settings) -> settings or None
        Changes the module in place before the stack is built; returns the settings with what it decided, if anything.
        It may set the model's `additions` itself, where they depend on the settings or on the model, and say in
        `tuned` what the plan should tell of it.
    options : type or None
        Frozen dataclass of the method's settings, each field made by `unfreeze.recipe.option`: what a recipe may say
        under method.options. The name of a field that equals `argument` may be given after the colon instead.
    additions : sequence of Addition
        Which parameters are the method's own: they become layer groups, and a saved run holds only what learned.
    rate : float
        Of what learns beside the head, relative to fine-tuning's rate of the model's family.
    own_rate : float or None
        Of what learns beside the head, for AdamW, where the family's says nothing about it; goes before `rate`.
    rate_reason : str
        Where that comes from, for the plan.
    merge : callable (Pretrained, settings) -> None, or None
        Folds what was added into the model's own weights, in place, with the same outputs.
    fold : callable (Pretrained, settings) -> settings, or None
        Called once after training: puts the result of what only training needs in its place, with the same outputs, and
        returns the settings that describe what is left.
    interchange : callable (Pretrained, settings, Path) -> None, or None
        Writes what was added into a folder, in the layout that other tools read.
    hooks : callable (Recipe) -> sequence of Hook
    argument : str or None
        What may follow the colon, for help and messages: "k". None: nothing may.
    default_argument : str or None
        Taken when nothing follows; None with an `argument` set means that one must, unless `optional`.
    optional : bool
        The argument may be left out, and the method then decides.
    random_weights : bool
        The model is loaded with its own initialisation instead of the pre-trained weights.
    """

    card: Card
    phases: Callable[[MethodContext], Sequence[Phase]]
    rewrite: Callable[[Pretrained, Any], Any] = no_rewrite
    options: type[Any] | None = None
    additions: Sequence[Addition] = ()
    rate: float = 1.0
    own_rate: float | None = None
    rate_reason: str = ""
    merge: Callable[[Pretrained, Any], None] | None = None
    fold: Callable[[Pretrained, Any], Any] | None = None
    interchange: Callable[[Pretrained, Any, Path], None] | None = None
    hooks: Callable[[Recipe], Sequence[Hook]] = no_hooks
    argument: str | None = None
    default_argument: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    optional: bool = False
    random_weights: bool = False

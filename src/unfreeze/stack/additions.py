"""What a method adds to a model, as the layer stack tells it from the model's own. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Addition:
    """Parameters that learn beside those of the layer group in which they lie: put in by a method, or picked out.

    Parameters
    ----------
    label : str
        "lora": the group "block 3" gets a neighbour "block 3 lora", which stands just below it in the stack.
    regex : str
        Searched for in a parameter's or buffer's full name. The head is never divided.
    """

    label: str
    regex: str

"""Of an embedding table, only the rows that occur in the training rows are trained.

What occurs is known before training. A row that never does gets no gradient: all that happens to it is weight decay,
which multiplies it by a number that is the same for all such rows. So the optimizer holds the rows that occur, in a
parameter of their own, and one number that stands for all others: what it makes of that number is made of them, at the
end of each epoch, when the whole table is put together again. Gradient, clipping, update and casts then take as long as
the rows that occur, and not as the vocabulary.

Losses, weights and figures are those of plain training up to rounding: the norm of the gradient is summed in another
order, and the others' decay is multiplied up before it is applied.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unfreeze.errors import CheckpointError
from unfreeze.models.pretrained import Batch
from unfreeze.optim.optimizers import OPTIMIZERS
from unfreeze.stack.working import Working
from unfreeze.train.feed import ENCODED_TOGETHER, Feed
from unfreeze.train.hooks import Hook
from unfreeze.train.job import Job

WORTH = 0.5
"""Rows that occur are trained apart where they are at most this share: their copies take memory too."""

LEAST = 100_000
"""Numbers of smaller tables, such as those of token types, are not worth the trouble."""


@dataclass
class Table:
    """An embedding table, and the rows of it that occur.

    Parameters
    ----------
    name : str
        The weight's full name.
    whole : Parameter of shape (vocabulary, width)
        The master's, which checkpoints and hooks read. Current at the end of each epoch.
    module : Embedding
        The one that computes. In eval mode it reads its own whole table.
    rows : Tensor of shape (occurring,)
        Ascending ids.
    places : Tensor of shape (vocabulary,)
        Where each id stands among `rows`; -1 where it does not.
    part : Parameter of shape (occurring, width)
        What the optimizer moves, in float32.
    copy : Parameter of the same shape
        What computes in training mode; the same as `part` in float32.
    rest : Parameter of shape (1,)
        What stands for all other rows, from 1 on: in float64, since a step of decay is less than a float32 can tell.
    settled : Tensor of shape (1,)
        `rest` when it was last applied to them.
    """

    name: str
    whole: nn.Parameter
    module: nn.Embedding
    rows: Tensor
    places: Tensor
    part: nn.Parameter
    copy: nn.Parameter
    rest: nn.Parameter
    settled: Tensor

    @torch.no_grad()
    def write_back(self) -> None:
        """The rows that occur, as they are now, into the whole table."""
        self.whole[self.rows] = self.part

    @torch.no_grad()
    def settle(self) -> None:
        """All rows as they are now, into the whole table and the one that computes."""
        self.whole.mul_(float((self.rest / self.settled).nan_to_num(0.0)))
        self.settled.copy_(self.rest)
        self.write_back()
        if self.module.weight is not self.whole:
            self.module.weight.copy_(self.whole)

    @torch.no_grad()
    def load(self, rest: Tensor, settled: Tensor) -> None:
        """Begin anew from the whole table, as a checkpoint has it."""
        self.part.copy_(self.whole[self.rows])
        self.copy.copy_(self.part)
        self.rest.copy_(rest)
        self.settled.copy_(settled)
        if self.module.weight is not self.whole:
            self.module.weight.copy_(self.whole)

    def let_decay(self) -> None:
        """Let the optimizer do to `rest` what it does to a row without a gradient, wherever it moves the others."""
        self.rest.grad = None if self.part.grad is None else torch.zeros_like(self.rest)

    def replace_forward(self) -> None:
        """In training mode, look up in the rows that occur."""
        module, whole_forward = self.module, self.module.forward
        padding = None if module.padding_idx is None else int(self.places[module.padding_idx])

        def forward(ids: Tensor) -> Tensor:
            if not module.training:
                return whole_forward(ids)
            before = module._parameters["weight"], module.padding_idx
            # A padding id that never occurs has no row here, and needs none.
            module._parameters["weight"], module.padding_idx = self.copy, None if padding == -1 else padding
            try:
                return whole_forward(self.places[ids])
            finally:
                module._parameters["weight"], module.padding_idx = before

        module.__dict__["forward"] = forward

    def restore_forward(self) -> None:
        """Look up in the whole table again."""
        self.module.__dict__.pop("forward", None)


class TouchedRows:
    """The tables of a job of which only the rows that occur are trained, until the end of a `with` block."""

    def __init__(self, working: Working, tables: Sequence[Table]) -> None:
        self.working, self.tables = working, tables
        for table in tables:
            table.replace_forward()
        working.stand_in({table.whole: (table.part, table.copy) for table in tables})

    def __enter__(self) -> TouchedRows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is written back: what was learned since the last `settle` is lost."""
        for table in self.tables:
            table.restore_forward()
        self.working.stand_in({})

    def groups(self, groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The optimizer's parameter groups, with the rows that occur in the place of whole tables."""
        found = []
        for group in groups:
            rests = [table for table in self.tables for value in group["params"] if table.whole is value]
            params = [*(self.working.trained(value) for value in group["params"]), *(table.rest for table in rests)]
            names = [*group["names"], *(f"{table.name}, other rows" for table in rests)]
            found.append({**group, "params": params, "names": names})
        return found

    def follow(self, optimizer: Optimizer) -> Optimizer:
        """Let the others decay with every step of this optimizer."""

        def let_decay(*_: object) -> None:
            for table in self.tables:
                table.let_decay()

        optimizer.register_step_pre_hook(let_decay)
        return optimizer

    def write_back(self) -> None:
        """What a checkpoint needs; the others stay as of the end of the last epoch, whenever it is written."""
        for table in self.tables:
            table.write_back()

    def settle(self) -> None:
        """Make the whole tables current."""
        for table in self.tables:
            table.settle()

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold beside the whole tables and the optimizer's state."""
        return {table.name: torch.stack([table.rest.detach(), table.settled]) for table in self.tables}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `state` and the whole tables, which are there again.

        Raises
        ------
        CheckpointError
            If it was not made with these tables: the optimizer's state would not fit.
        """
        if set(state) != {table.name for table in self.tables}:
            other = str(not self.tables).lower()
            raise CheckpointError(
                f"This run was begun with training.touched_rows: {other}. Say so in its recipe.resolved.yaml."
            )
        for table in self.tables:
            table.load(*state[table.name])


def touched_rows(job: Job) -> TouchedRows:
    """The embedding tables of which few rows occur, from now on trained apart; none where anything speaks against it.

    That is: a technique that looks at weights or gradients, changes of tokens, an optimizer that does more to a row
    without a gradient than multiply it, and a table that is used in more than one place.
    """
    if not _possible(job):
        return TouchedRows(job.working, [])
    job.working.module.eval()
    job.working.refresh(job.learned)
    batch = _probe(job)
    return TouchedRows(job.working, find_tables(job.working, job.learned, batch, partial(_occurring, job.train, batch)))


def touched_reasons(job: Job) -> dict[str, str]:
    """How many rows of which tables are trained, as the reason of the option; {} if all are. For the plan."""
    with touched_rows(job) as touched:
        found = [f"{len(table.rows):,} of {len(table.whole):,} rows of {table.name}" for table in touched.tables]
    told = f"{' and '.join(found)} occur in the training texts: only these are trained, the others decay"
    return {"training.touched_rows": told} if found else {}


def _possible(job: Job) -> bool:
    training = job.recipe.training
    scales = OPTIMIZERS.get(training.optimizer).scales
    return (
        training.touched_rows
        and not training.compile  # which traces a module's own parameters
        and job.reads_text
        and job.train.pipeline is None
        and (scales == "always" or (scales == "without decay" and not training.weight_decay))
        and not any(hook.sees_weights or type(hook).transform is not Hook.transform for hook in job.hooks)
    )


def _probe(job: Job) -> Batch:
    """Two of the shortest rows, of which one is padded if any row ever is."""
    rows, lengths = range(len(job.train)), job.train.lengths
    shortest = min(rows, key=lengths.__getitem__)
    longer = min((row for row in rows if lengths[row] > lengths[shortest]), key=lengths.__getitem__, default=shortest)
    return job.batch(job.train.batch([shortest, longer]))


def _occurring(feed: Feed, batch: Batch, key: str) -> Tensor:
    """Every id that a training batch can hold, ascending; those of padding stand in a padded batch only."""
    found: Tensor = batch[key].flatten().cpu().unique()  # type: ignore[no-untyped-call]
    for start in range(0, len(feed), ENCODED_TOGETHER):
        some = [feed.sample(row)[key] for row in range(start, min(len(feed), start + ENCODED_TOGETHER))]
        found = torch.cat([found, *some]).unique()  # type: ignore[no-untyped-call]
    return found


def find_tables(
    working: Working, learned: Collection[str], batch: Batch, occurring: Callable[[str], Tensor]
) -> list[Table]:
    """The learned embedding tables that look up what stands in a batch, and of which few rows occur.

    Parameters
    ----------
    learned : collection of str
        Layer groups.
    batch : Batch
        To try them on; the module is in eval mode.
    occurring : callable (name of a tensor of the batch) -> Tensor
        All ids that it may hold in training, ascending.
    """
    stack = working.master
    names = {name for group in learned for name in stack.group(group).parameters}
    names -= {*stack.tied, *stack.tied.values()}
    modules = {
        name: module
        for name, module in ((f"{path}.weight", module) for path, module in working.module.named_modules())
        if name in names and isinstance(module, nn.Embedding) and module.weight.numel() >= LEAST
        if module.max_norm is None and not module.sparse
    }
    inputs, tables = _inputs(working.module, list(modules.values()), batch), []
    for name, module in modules.items():
        read = [key for key, ids in batch.items() if all(_same(ids, each) for each in inputs[module])]
        rows = occurring(read[0]) if read and inputs[module] else None
        if rows is not None and len(rows) <= WORTH * len(module.weight):
            table = _table(stack.module.get_parameter(name), name, module, rows)
            tables += [table] if _equal(working.module, table, batch) else []
    return tables


@torch.no_grad()
def _inputs(whole: nn.Module, modules: Sequence[nn.Module], batch: Batch) -> dict[nn.Module, list[Tensor]]:
    """What each of some modules is called with."""
    seen: dict[nn.Module, list[Tensor]] = {module: [] for module in modules}
    handles = [module.register_forward_pre_hook(lambda module, args: seen[module].extend(args)) for module in modules]
    try:
        whole(**batch)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _same(ids: Tensor, others: Tensor) -> bool:
    """The same ids, in whatever order."""
    return ids.numel() == others.numel() and torch.equal(ids.flatten().sort()[0], others.flatten().sort()[0])


def _ids(feed: Feed, key: str, batch: Batch) -> Tensor:
    """Every id that a training batch can hold, ascending; those of padding stand in a padded batch only."""
    together = [feed.sample(row)[key] for row in range(len(feed))]
    found: Tensor = torch.cat([*together, batch[key].flatten().cpu()]).unique()  # type: ignore[no-untyped-call]
    return found


@torch.no_grad()
def _table(whole: nn.Parameter, name: str, module: nn.Embedding, rows: Tensor) -> Table:
    rows = rows.to(whole.device)
    places = torch.full((len(whole),), -1, dtype=torch.long, device=whole.device)
    places[rows] = torch.arange(len(rows), device=whole.device)
    part = nn.Parameter(whole[rows])
    copy = part if module.weight is whole else nn.Parameter(part.to(module.weight.dtype))
    rest = nn.Parameter(torch.ones(1, dtype=torch.float64), requires_grad=False)
    return Table(name, whole, module, rows, places, part, copy, rest, rest.detach().clone())


def _equal(whole: nn.Module, table: Table, batch: Batch) -> bool:
    """Whether outputs are the same to the bit from the rows that occur, and the table is looked up in nowhere else."""
    with torch.no_grad():
        plain = whole(**batch)
    table.replace_forward()
    try:
        with _only(whole, table.module.weight), torch.enable_grad():
            table.copy.requires_grad_(False)
            table.module.training = True
            found = whole(**batch)
    finally:
        table.restore_forward()
        table.module.training = False
        table.copy.requires_grad_(True)
    return torch.equal(plain, found) and not found.requires_grad


@contextmanager
def _only(module: nn.Module, learning: Tensor) -> Iterator[None]:
    """While this lasts, this parameter alone learns."""
    before = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    for parameter, _ in before:
        parameter.requires_grad_(parameter is learning)
    try:
        yield
    finally:
        for parameter, learns in before:
            parameter.requires_grad_(learns)

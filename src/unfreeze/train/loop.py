"""The training loop: plain and visible. It knows phases, groups and hooks, and no technique by name.

All of its progress is in `Progressed`, which a checkpoint holds. Order, augmentation and dropout follow from
seed and step, so a resumed run is the uninterrupted one, bit for bit.
"""

from __future__ import annotations

import json
import math
import shlex
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from unfreeze.errors import CheckpointError, DivergedError, Interrupted
from unfreeze.methods import Phase
from unfreeze.optim.groups import parameter_groups
from unfreeze.optim.optimizers import OPTIMIZERS
from unfreeze.optim.schedules import SCHEDULES, rate_factor
from unfreeze.recipe import TrainingRecipe
from unfreeze.stack.frontier import frontier, set_modes
from unfreeze.stack.ledger import check_copy, check_frozen, group_digests
from unfreeze.tasks._task import Loss
from unfreeze.train.checkpoint import Checkpoint, cpu, flatten, load_checkpoint, save_checkpoint, unflatten
from unfreeze.train.compiling import training_forward
from unfreeze.train.feed import Feed
from unfreeze.train.files import finite, write_bytes
from unfreeze.train.hooks import LoopState, Proposal
from unfreeze.train.job import Job, reseed
from unfreeze.train.memory import TO_LEARN, forget_attempt, halved, moving, needed
from unfreeze.train.order import generator, training_batches
from unfreeze.train.replaying import Replayed, replay_phase
from unfreeze.train.scoring import score
from unfreeze.train.signals import StopRequest, stop_requests
from unfreeze.train.statistics import estimate_statistics
from unfreeze.train.touched_rows import TouchedRows, touched_rows


@dataclass
class Progressed:
    """How far training has come: everything that is not a tensor.

    `micro_batch` is what memory turned out to suffice for; 0: what the recipe says.
    """

    phase: int = 0
    phase_step: int = 0
    phase_epoch: int = 0
    phase_best: float = -math.inf
    phase_over: bool = False
    stalls: int = 0
    step: int = 0
    epoch: int = 0
    best: float = -math.inf
    best_epoch: int = 0
    lr: float = 0.0
    loss_sum: float = 0.0
    loss_rows: float = 0.0
    micro_batch: int = 0
    frozen: dict[str, str] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    ledger: list[dict[str, Any]] = field(default_factory=list)
    stopped: str = ""


class Training:
    """One run's training: `run()` goes from the last checkpoint, or the start, to the best weights."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.at = Progressed()
        self.best: dict[str, Tensor] = {}
        self.touched = touched_rows(job)
        self.optimizer = make_optimizer(job, self.touched)
        self._forward = training_forward(job)
        self.loop = LoopState(stack=job.stack, working=job.working.stack, laid_out=job.batch)
        self.checkpoints = job.folder / "checkpoints"
        self.replayed: dict[int, Replayed] = {}
        self._saved_at = time.monotonic()
        self._owed = False

    def run(self) -> Progressed:
        """Train every phase that is left, then put the best weights in place.

        Raises
        ------
        Interrupted, DivergedError, FrozenMovedError
        """
        self._restore()
        with self.touched, stop_requests() as stop:
            # A run that was stopped early may still owe its last phase's ledger entry.
            while self.at.phase < len(self.job.phases) and not (self.at.stopped and not self.at.phase_over):
                self._run_phase(self.job.phases[self.at.phase], stop)
                self.at.phase += 1
                self.at.phase_step, self.at.phase_epoch, self.at.stalls = 0, 0, 0
                self.at.phase_best, self.at.phase_over, self.at.frozen = -math.inf, False, {}
            self._weigh_proposals(stop)
        self.job.working.set_learning(())
        self.job.stack.module.eval()
        if self.best:
            put(self.job, self.best)
        # What follows needs the memory, and nothing is updated any more.
        self.best = {}
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer.state.clear()
        return self.at

    def kept_features(self, feed: Feed) -> Replayed | None:
        """Features of a feed's rows as they are, kept, from which the best weights can be scored, if there are any.

        Those of the last phase are, where nothing below its frontier has learned in any phase.
        """
        below = self.job.stack.names[: frontier(self.job.stack.names, self.job.phases[-1].learn)]
        if set(below) & set(self.job.learned) or self.at.phase < len(self.job.phases):
            return None
        return self.replayed.get(id(feed)) if feed.pipeline is None else None

    def _run_phase(self, phase: Phase, stop: StopRequest) -> None:
        job, at = self.job, self.at
        steps = job.steps(phase)
        job.working.set_learning(phase.learn)
        job.working.refresh(job.learned)
        frozen = [name for name in job.stack.names if name not in phase.learn]
        at.frozen = at.frozen or group_digests(job.stack, frozen)
        self.loop.phase, self.loop.phase_index, self.loop.stop_phase = phase, at.phase, False
        self.replayed = replayed = replay_phase(job, at.phase)
        for hook in job.hooks:
            hook.before_phase(self.loop)
        job.progress.phase(at.phase, phase, steps)
        while not at.phase_over:
            self._run_epoch(phase, steps, replayed, stop)
        check_frozen(job.stack, at.frozen, phase.name)
        check_copy(job.working, frozen, phase.name)
        at.ledger.append({"phase": phase.name, "frozen": dict(at.frozen), "unchanged": True})

    def _run_epoch(self, phase: Phase, steps: int, replayed: dict[int, Replayed], stop: StopRequest) -> None:
        """One pass over the training rows, or what is left of it; the last one of a phase may be cut short."""
        job, at = self.job, self.at
        key = (job.recipe.seed, 0, at.phase, at.phase_epoch)
        batches = training_batches(job.train.lengths, job.batch_size, key=key, weights=job.row_weights)
        first = at.phase_step - at.phase_epoch * len(batches)
        set_modes(job.working.stack, phase.learn)
        left, kept = batches[first : steps - at.phase_epoch * len(batches)], replayed.get(id(job.train))
        for rows in job.in_turn(job.train, left, at.epoch) if kept is None else left:
            self._update(phase, steps, rows, kept)
            self._stop_if_asked(stop)
            self._checkpoint_if_due()
        self._finish_epoch(phase, replayed)
        self._stop_if_asked(stop)

    def _stop_if_asked(self, stop: StopRequest) -> None:
        if stop.wanted:
            self._checkpoint()
            folder = shlex.quote(str(self.job.folder))
            raise Interrupted(f"Interrupted at update {self.at.step}. Continue with: unfreeze resume {folder}")

    def _update(self, phase: Phase, steps: int, rows: list[int], replayed: Replayed | None) -> None:
        """One step of the optimizer on the mean loss of a batch."""
        job, at, loop = self.job, self.at, self.loop
        factor = rate_factor(
            SCHEDULES.get(job.recipe.training.schedule), at.phase_step, steps, job.recipe.training.warmup, at.stalls
        )
        at.lr = loop.lr = set_rates(job, self.optimizer, phase, factor)
        for hook in job.hooks:
            hook.before_step(loop)
        self.optimizer.zero_grad(set_to_none=True)
        loop.loss = self._gradients(rows, replayed)
        for hook in job.hooks:
            hook.after_backward(loop)
        if job.recipe.training.grad_clip:
            torch.nn.utils.clip_grad_norm_(self._learning(), job.recipe.training.grad_clip)
        self.optimizer.step()
        at.step += 1
        at.phase_step += 1
        loop.step = at.step
        at.loss_sum += loop.loss * len(rows)
        at.loss_rows += len(rows)
        for hook in job.hooks:
            hook.after_step(loop)
        job.progress.step(at.phase_step, loop.loss, loop.lr)

    def _gradients(self, rows: list[int], replayed: Replayed | None) -> float:
        """Gradients of the batch's mean loss and of penalties; where memory runs out, by smaller micro-batches."""
        job, at, loop = self.job, self.at, self.loop
        while True:
            size = min(at.micro_batch or job.recipe.training.micro_batch or len(rows), len(rows))
            buffers = moving(job.stack, loop.phase.learn if loop.phase else ())
            try:
                mean = self._backward(rows, replayed, size)
                break
            except Exception as error:
                at.micro_batch, problem = halved(size, error, TO_LEARN), needed(error)
            # Only here, after the error and with it the frames that hold tensors are gone.
            for hook in job.hooks:
                hook.retry(loop)
            forget_attempt(job.working.modules, buffers)
            self._owed = True
            job.note(
                f"memory ran out at update {at.step + 1} with micro-batches of {size} rows ({problem}): from here on "
                f"they have {at.micro_batch}; batches, and the order of rows, stay as they are"
            )
        for hook in job.hooks:
            penalty = hook.penalty(loop)
            if penalty is not None:
                penalty.backward()  # type: ignore[no-untyped-call]
        if not math.isfinite(mean):
            raise DivergedError(
                f"The loss became {mean} at update {at.step + 1} with a rate of {loop.lr:.1e}. "
                "Try a lower training.lr, more training.warmup or a smaller training.grad_clip."
            )
        return mean

    def _backward(self, rows: list[int], replayed: Replayed | None, size: int) -> float:
        """Gradients of the batch's mean loss, in micro-batches; the loss is normalised over the whole batch."""
        job = self.job
        learn = self.loop.phase.learn if self.loop.phase else ()
        starts, total, weight = range(0, len(rows), size), 0.0, 0.0
        parts = [part for start in starts for part in job.passes(rows[start : start + size], learn)]
        job.working.refresh(learn)
        for number, part in enumerate(parts):
            reseed(job.device, int(generator(job.recipe.seed, 2, self.at.step, number).integers(2**62)))
            loss = self._loss(part, replayed)
            for hook in job.hooks:
                loss = hook.weigh(self.loop, part, loss)
            share = loss.total / loss.weight if len(parts) == 1 else loss.total
            for hook in job.hooks:
                term = hook.term(self.loop, part)
                if term is not None:
                    share = share + (term if len(parts) == 1 else term * loss.weight)
            share.backward()  # type: ignore[no-untyped-call]
            job.working.collect(learn)
            total += float(loss.total.detach())
            weight += float(loss.weight)
        if len(parts) > 1:
            for parameter in self._learning():
                parameter.grad.div_(weight)  # type: ignore[union-attr]
        return total / weight

    def _learning(self) -> list[Tensor]:
        """What the optimizer will move: whatever has a gradient."""
        return [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]

    def _loss(self, rows: list[int], replayed: Replayed | None) -> Loss:
        job = self.job
        targets = job.train.targets[torch.tensor(rows)]
        if replayed is not None:
            outputs = replayed.outputs(rows, self.at.epoch)
        else:
            batch = job.train.batch(rows, self.at.epoch)
            if job.train.pipeline is not None and job.train.pipeline.mixes:
                draw = generator(job.recipe.seed, 3, self.at.step, rows[0])
                soft = job.task.soften(targets, job.manifest)
                batch, targets = job.train.pipeline.batch(batch, soft, draw)
            for hook in job.hooks:
                batch, targets = hook.transform(self.loop, batch, targets)
            outputs = self._forward(**job.batch(batch))
        return job.task.loss(outputs.float(), targets.to(job.device), job.loss_options)

    def _finish_epoch(self, phase: Phase, replayed: dict[int, Replayed]) -> None:
        """Validate, keep the best, let hooks decide whether to go on."""
        job, at, loop = self.job, self.at, self.loop
        at.epoch += 1
        at.phase_epoch += 1
        loop.epoch, loop.phase_epoch = at.epoch, at.phase_epoch
        figures: dict[str, Any] = {"epoch": at.epoch, "phase": phase.name, "step": at.step, "lr": loop.lr}
        figures["loss"] = at.loss_sum / max(1.0, at.loss_rows)
        at.loss_sum, at.loss_rows = 0.0, 0.0
        self.touched.settle()
        for hook in job.hooks:
            hook.before_evaluation(loop)
        if job.validation is not None:
            self._validate(figures, replayed.get(id(job.validation)))
        else:
            self.best = taken(job)
        for hook in job.hooks:
            hook.after_evaluation(loop)
        for hook in job.hooks:
            hook.after_epoch(loop)
        stalled = phase.until == "plateau" and at.stalls > 0
        at.phase_over = at.phase_step >= job.steps(phase) or stalled or loop.stop_phase or loop.stop_run
        if loop.stop_run:
            at.stopped = f"stopped early after epoch {at.epoch}"
        at.history.append(figures)
        lines = (_json_line(entry) for entry in at.history)
        write_bytes(job.folder / "log.jsonl", "".join(lines).encode())
        job.progress.epoch(_flat(figures))
        self._checkpoint_if_due()

    def _validate(self, figures: dict[str, Any], replayed: Replayed | None) -> None:
        job, at, loop = self.job, self.at, self.loop
        assert job.validation is not None
        loop.validation = score(job, job.validation, replayed).compute()
        figures["validation"] = dict(loop.validation)
        value = loop.validation[job.metric]
        loop.score = value if job.task.higher_is_better(job.metric) else -value
        at.stalls = 0 if loop.score > at.phase_best else at.stalls + 1
        at.phase_best = max(at.phase_best, loop.score)
        # At equal score the later weights are kept: they have seen more.
        if loop.score >= at.best or not self.best:
            at.best, at.best_epoch, self.best = loop.score, at.epoch, taken(job)
        loop.best = at.best

    def _weigh_proposals(self, stop: StopRequest) -> None:
        """Let hooks propose other weights than the best epoch's, and keep the best of them on validation."""
        job, loop = self.job, self.loop
        for hook in job.hooks:
            weighed: list[tuple[float, Proposal]] = []
            for proposal in hook.proposals(loop):
                put(job, dict(proposal.tensors))
                if proposal.mixed:
                    estimate_statistics(job)
                figures = {} if job.validation is None else score(job, job.validation).compute()
                hook.judged(loop, proposal, figures)
                value = figures.get(job.metric, 0.0)
                value = value if job.task.higher_is_better(job.metric) else -value
                value = value if math.isfinite(value) else -math.inf
                if all(value > other for other, _ in weighed):
                    self.best = taken(job)
                weighed.append((value, proposal))
                self._stop_if_asked(stop)
            if weighed:
                self.at.best, proposal = max(weighed, key=lambda each: each[0])
                hook.chosen(loop, proposal)
                job.note(_said(proposal, len(weighed), self.at.best, job))

    def _checkpoint_if_due(self) -> None:
        training = self.job.recipe.training
        if training.checkpoint_steps:
            due = self.at.step % training.checkpoint_steps == 0
        else:
            due = time.monotonic() - self._saved_at >= training.checkpoint_every
        if due or self._owed:
            self._checkpoint()

    def _checkpoint(self) -> None:
        job = self.job
        self.touched.write_back()
        tensors, optimizer = flatten("optimizer", self.optimizer.state_dict())
        tensors |= {f"model.{name}": tensor for name, tensor in learned_tensors(job).items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        tensors |= {f"touched.{name}": tensor for name, tensor in self.touched.state().items()}
        for number, hook in enumerate(job.hooks):
            tensors |= {f"hook.{number}.{name}": tensor for name, tensor in hook.state().items()}
        values = {"at": _words(asdict(self.at)), "optimizer": optimizer}
        save_checkpoint(self.checkpoints, self.at.step, Checkpoint(tensors, values))
        self._saved_at = time.monotonic()
        self._owed = False

    def _restore(self) -> None:
        found = load_checkpoint(self.checkpoints)
        if found is None:
            return
        checkpoint, complaints = found
        for complaint in complaints:
            self.job.note(complaint)
        tensors, values = checkpoint.tensors, checkpoint.values
        self.at = Progressed(**_numbers(values["at"]))
        put(self.job, _under("model", tensors))
        self.best = _under("best", tensors)
        self.touched.restore(_under("touched", tensors))
        self.optimizer.load_state_dict(unflatten("optimizer", tensors, values["optimizer"]))
        if _under(f"hook.{len(self.job.hooks)}", tensors):
            raise CheckpointError(
                "This run was begun with hooks that no recipe names: it cannot be continued without them."
            )
        for number, hook in enumerate(self.job.hooks):
            hook.restore(_under(f"hook.{number}", tensors))
        loop, at = self.loop, self.at
        loop.step, loop.epoch, loop.phase_epoch = at.step, at.epoch, at.phase_epoch
        loop.best, loop.lr = at.best, at.lr
        self.job.note(f"continuing from update {at.step}")


def make_optimizer(job: Job, touched: TouchedRows) -> Optimizer:
    """One optimizer over all groups that ever learn; state is allocated when a group first has gradients."""
    groups = parameter_groups(job.stack, job.recipe.training.weight_decay)
    learned = [group for group in groups if group["group"] in job.learned]
    assert job.recipe.training.lr is not None, "the recipe is resolved"
    make = OPTIMIZERS.get(job.recipe.training.optimizer).make
    return touched.follow(make(touched.groups(learned), job.recipe.training.lr))


def phase_rate(phase: Phase, name: str, head: str, training: TrainingRecipe) -> float:
    """The highest rate of a layer group in a phase, 0 when it is frozen.

    The new head has a rate of its own unless the phase says otherwise.
    """
    if name not in phase.learn:
        return 0.0
    own = name == head and phase.lr is None and name not in phase.scales
    rate = training.head_lr if own else phase.lr or training.lr
    assert rate is not None, "the recipe is resolved"
    return rate * phase.scales.get(name, 1.0)


def set_rates(job: Job, optimizer: Optimizer, phase: Phase, factor: float) -> float:
    """Set every parameter group's rate for this update; returns that of the topmost learning group."""
    top = 0.0
    for group in optimizer.param_groups:
        group["lr"] = phase_rate(phase, group["group"], job.stack.names[-1], job.recipe.training) * factor
        top = group["lr"] or top
    return top


def learned_tensors(job: Job) -> dict[str, Tensor]:
    """Everything that learning changes: parameters and buffers of the groups that ever learn."""
    named: dict[str, Tensor] = {}
    for name in job.learned:
        group = job.stack.group(name)
        named.update(job.stack.parameters(group))
        named.update(job.stack.buffers(group))
    return named


def taken(job: Job) -> dict[str, Tensor]:
    """Copies of everything that learning changes."""
    return cpu(learned_tensors(job))


@torch.no_grad()
def put(job: Job, tensors: dict[str, Tensor]) -> None:
    """Put copies back."""
    here: dict[str, Tensor] = {**dict(job.stack.module.named_parameters()), **dict(job.stack.module.named_buffers())}
    for name, tensor in tensors.items():
        here[name].copy_(tensor)


def _said(proposal: Proposal, count: int, score: float, job: Job) -> str:
    """Which of the proposed weights are kept, and by what they were chosen."""
    if job.validation is None or count == 1:
        return f"the weights of the run are those of {proposal.name}"
    figure = score if job.task.higher_is_better(job.metric) else -score
    return (
        f"the weights of the run are those of {proposal.name}: of {count} that were weighed they had the best "
        f"{job.metric} on validation ({figure:.4f}), which flatters them there; the test split took no part"
    )


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


def _words(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity."""
    return {key: None if value == -math.inf else value for key, value in values.items()}


def _numbers(values: dict[str, Any]) -> dict[str, Any]:
    return {key: -math.inf if value is None else value for key, value in values.items()}


def _flat(figures: dict[str, Any]) -> dict[str, Any]:
    """Validation figures beside the others, for showing."""
    flat = {name: value for name, value in figures.items() if name != "validation"}
    flat.update(figures.get("validation", {}))
    return flat


def _json_line(entry: dict[str, Any]) -> str:
    return json.dumps(finite(entry), ensure_ascii=False) + "\n"

"""Event files for TensorBoard."""

from __future__ import annotations

from pathlib import Path

from unfreeze.errors import UserError
from unfreeze.train.hooks import Hook, LoopState


class EventFiles(Hook):
    """Writes loss and rate of each update, and validation figures of each epoch.

    Raises
    ------
    UserError
        If TensorBoard is not installed.
    """

    sees_weights = False

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UserError("output.tensorboard needs TensorBoard: pip install 'unfreeze[tensorboard]'.") from None
        self.writer = SummaryWriter(str(folder))

    def after_step(self, loop: LoopState) -> None:
        """Loss and rate."""
        self.writer.add_scalar("train/loss", loop.loss, loop.step)
        self.writer.add_scalar("train/lr", loop.lr, loop.step)

    def after_evaluation(self, loop: LoopState) -> None:
        """Validation."""
        for name, value in loop.validation.items():
            self.writer.add_scalar(f"validation/{name}", value, loop.step)
        self.writer.flush()

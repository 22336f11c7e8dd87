"""A signal to stop ends a run at the next step with a checkpoint, on all ranks together."""

import signal
import threading

import torch
from torch import distributed
from transformers import TrainerCallback

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopOnSignal(TrainerCallback):
    """Save a checkpoint and stop after the step in which SIGTERM or SIGINT comes; a second signal ends the process at once.

    ``received`` holds the signal that stopped the run.
    """

    def __init__(self):
        self.received: signal.Signals | None = None
        self._pending = 0
        self._before: dict = {}

    def _note(self, number: int, frame) -> None:
        self._pending = number
        self._restore()  # the second signal does what it always does

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def on_train_begin(self, args, state, control, **kwargs):
        """Listen, where Python allows it: in the main thread."""
        self.received, self._pending = None, 0
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}

    def on_step_end(self, args, state, control, **kwargs):
        """Stop if a signal has come to any rank."""
        number = self._pending
        if distributed.is_initialized() and distributed.get_world_size() > 1:
            most = torch.tensor(number, device=args.device)
            distributed.all_reduce(most, distributed.ReduceOp.MAX)
            number = int(most)
        if number:
            self.received = signal.Signals(number)
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args, state, control, **kwargs):
        """Listen no more."""
        self._restore()

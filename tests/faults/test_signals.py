"""Signals in the middle of a step: the first stops the run with a checkpoint, the second does what it always does."""

import os
import signal

import pytest
from training import make_trainer
from transformers import TrainerCallback

from latent_trainer.training.checkpoints import checkpoints, fault

SAVING = {"max_steps": 4, "save_strategy": "steps", "save_steps": 4, "number": 8}
BOTH = [signal.SIGTERM, signal.SIGINT]


class Send(TrainerCallback):
    """Send signals to this process within the second step."""

    def __init__(self, *numbers: signal.Signals):
        self.numbers = numbers

    def on_optimizer_step(self, args, state, control, **kwargs):
        """Send them, one after the other."""
        if state.global_step == 1:
            for number in self.numbers:
                os.kill(os.getpid(), number)


@pytest.fixture
def seen():
    """Return the signals that reach the handlers somebody had in place before the run."""
    numbers: list[int] = []
    before = {number: signal.signal(number, lambda one, frame: numbers.append(one)) for number in BOTH}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", BOTH)
def test_one_signal(tmp_path, seen, number):
    """The step is finished, its checkpoint is whole, and the handlers of before are back."""
    handler = signal.getsignal(number)
    trainer = make_trainer(tmp_path, callbacks=[Send(number)], **SAVING)
    trainer.train()
    assert seen == [] and trainer.interruption.received == number and trainer.state.global_step == 2
    assert [(folder.name, fault(folder)) for folder in checkpoints(tmp_path)] == [("checkpoint-2", None)]
    assert signal.getsignal(number) is handler


@pytest.mark.parametrize("numbers", [BOTH[:1] * 2, BOTH[1:] * 2, BOTH, BOTH[::-1]])
def test_a_second_signal(tmp_path, seen, numbers):
    trainer = make_trainer(tmp_path, callbacks=[Send(*numbers)], **SAVING)
    trainer.train()
    assert seen == [numbers[1]] and trainer.interruption.received == numbers[0]


def test_ctrl_c_twice_ends_at_once(tmp_path, seen):
    """With Python's own handler the second Ctrl-C leaves the training loop, before the step is over."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a program in the background does not begin with
    trainer = make_trainer(tmp_path, callbacks=[Send(signal.SIGINT, signal.SIGINT)], **SAVING)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert trainer.state.global_step == 1 and not checkpoints(tmp_path)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_no_signal(tmp_path, seen):
    """A run that nobody stops leaves the handlers as they were."""
    handlers = list(map(signal.getsignal, BOTH))
    trainer = make_trainer(tmp_path, **{**SAVING, "max_steps": 1})
    trainer.train()
    assert trainer.interruption.received is None and list(map(signal.getsignal, BOTH)) == handlers
    os.kill(os.getpid(), signal.SIGTERM)
    assert seen == [signal.SIGTERM]

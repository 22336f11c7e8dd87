"""Hidden states in the slots of a paged cache: what a thought continues from, wherever its columns come from.

vLLM keeps the keys and values of a column in a slot, shares slots between requests that begin alike, and computes a request
anew when it has lost its slots. The column's last hidden state lies under the same number here, so that a thought has its
state whenever its keys and values are there, and it never has another's.
"""

import torch

from latent_trainer.serving.steps import OPEN

UNKNOWN = -1  # no column was ever computed there
AT_LEAST = 4_096


class ThoughtSlots:
    """For every slot, the last hidden state of its column and where the thought stood after it.

    Args:
        hidden_size: H.
        dtype, device: of hidden states.
    """

    def __init__(self, hidden_size: int, dtype: torch.dtype, device: torch.device):
        self.hidden = torch.empty(0, hidden_size, dtype=dtype, device=device)  # (S, H)
        self.states = torch.empty(0, dtype=torch.long, device=device)  # (S,)

    def write(self, slots: torch.Tensor, hidden: torch.Tensor, states: torch.Tensor) -> None:
        """Keep the hidden states (N, H) and states (N,) of columns in ``slots`` (N,)."""
        most = int(slots.max()) + 1
        if most > len(self.hidden):  # slots are many and few are ever used: room is made as it is needed
            more = max(most, 2 * len(self.hidden), AT_LEAST) - len(self.hidden)
            self.hidden = torch.cat([self.hidden, self.hidden.new_zeros(more, self.hidden.shape[1])])
            self.states = torch.cat([self.states, self.states.new_full((more,), UNKNOWN)])
        self.hidden[slots] = hidden
        self.states[slots] = states

    def states_before(self, previous: torch.Tensor) -> torch.Tensor:
        """Return where thoughts stand (R,) after the columns in slots ``previous`` (R,); -1 is the start of a row.

        Raises:
            RuntimeError: a slot that no column was written to.
        """
        states = torch.full_like(previous, OPEN)
        within = previous >= 0
        if within.any():
            wanted = previous[within]
            if int(wanted.max()) >= len(self.states) or (self.states[wanted] == UNKNOWN).any():
                raise RuntimeError(
                    "the cache has keys and values of a column without its hidden state, so that the thought after it "
                    "cannot go on; switch off what loads keys and values from elsewhere"
                )
            states[within] = self.states[wanted]
        return states

"""What a policy is: how a latent is drawn, what is remembered of the draw, and how likely it was."""

from collections.abc import Callable, Sequence

import torch

Record = dict[str, torch.Tensor]
Head = Callable[[torch.Tensor], torch.Tensor]  # hidden states (.., H) to logits (.., V)
# hidden states (N, H) to the latents (N, H) that the feedback makes of them; with tokens (N,) as a second argument, to those
# it makes of both, where it mixes tokens
Grow = Callable[..., torch.Tensor]


class RowNoise:
    """Random numbers, every row's from a generator of its own: a row's thought does not depend on its company in a batch.

    Args:
        generators: one a row.
    """

    def __init__(self, generators: Sequence[torch.Generator]):
        self.generators = list(generators)

    @classmethod
    def seeded(cls, seeds: Sequence[int], device: torch.device | str) -> "RowNoise":
        """Return the noise of rows with these seeds."""
        return cls([torch.Generator(device).manual_seed(seed) for seed in seeds])

    def of(self, rows: Sequence[int]) -> "RowNoise":
        """Return the noise of some rows; what is drawn from it is drawn from these rows' generators."""
        return RowNoise([self.generators[row] for row in rows])

    def uniform(self, *shape: int, like: torch.Tensor) -> torch.Tensor:
        """Return numbers (N, *shape) in [0, 1), on the device of ``like`` and in float32 or its wider type."""
        return self._drawn(torch.rand, shape, like)

    def normal(self, *shape: int, like: torch.Tensor) -> torch.Tensor:
        """Return standard normal numbers (N, *shape), as `uniform`."""
        return self._drawn(torch.randn, shape, like)

    def gumbel(self, *shape: int, like: torch.Tensor) -> torch.Tensor:
        """Return standard Gumbel numbers (N, *shape), as `uniform`."""
        uniform = self.uniform(*shape, like=like)
        smallest = torch.finfo(uniform.dtype).tiny
        return -(-uniform.clamp(min=smallest).log()).clamp(min=smallest).log()

    def tokens(self, number: int, likely: torch.Tensor) -> torch.Tensor:
        """Return tokens (N, number), each drawn by itself from the distribution with log-probabilities ``likely`` (N, V)."""
        chances = likely.double().exp().cumsum(-1)  # (N, V)
        total = chances[:, -1:]
        drawn = self.uniform(number, like=chances) * total  # (N, number)
        drawn = torch.minimum(drawn, total.nextafter(torch.zeros_like(total)))  # rounding must not reach the end
        return torch.searchsorted(chances, drawn, right=True)  # a token without chance takes no room

    def seeds(self, device: torch.device) -> torch.Tensor:
        """Return whole numbers (N,) that seed generators."""
        drawn = [torch.randint(2**31, (1,), generator=one, device=one.device) for one in self.generators]
        return torch.cat(drawn).to(device)

    def _drawn(self, draw: Callable, shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        dtype = wide(like).dtype
        return torch.stack([draw(shape, generator=one, dtype=dtype, device=one.device) for one in self.generators]).to(
            like.device
        )


class LatentPolicy:
    """One way to draw a latent. N latents are drawn, replayed and scored at once, those of several rows and columns.

    A record is what tells a latent from all the others that could have been drawn: tensors (N, ..) by name, small. From it
    the same latent is made again under changed weights (`replay`), and its log-probability then is compared with the one it
    had. Whatever a record holds counts as drawn: no gradient flows into it.
    """

    stochastic: bool = True  # False: the latents follow from the prompt, and have no likelihood of their own
    grows: bool = False  # a replayed latent depends on the hidden state it grew from, so that replay goes latent by latent
    gives_tokens: bool = False  # draws the token that the feedback mixes, which fits a feedback with ``mix``
    of_tokens: bool = False  # latents are mixtures of token embeddings, which fit a feedback that says mixes_tokens = True

    def sample(
        self, hidden: torch.Tensor, head: Head, embed, generator: RowNoise, grow: Grow
    ) -> tuple[torch.Tensor, Record]:
        """Draw a latent for every hidden state.

        Args:
            hidden: (N, H), those that the latents grow from.
            head: maps hidden states to logits; tokens that are never written have the lowest there is.
            embed: maps token ids to input embeddings, with the table ``weight`` (V, H).
            generator: the noise of these N latents' rows.
            grow: what the feedback makes of hidden states.

        Returns:
            The latents (N, H) and their record.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method sample")

    def replay(self, record: Record, hidden: torch.Tensor | None, head: Head, embed, grow: Grow) -> torch.Tensor:
        """Return the latents (N, H) of a record under the present weights.

        Args:
            record: of N latents.
            hidden: (N, H) where the policy ``grows``, else None.
            head, embed, grow: as for `sample`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method replay")

    def log_prob(self, record: Record, hidden: torch.Tensor, head: Head, grow: Grow) -> torch.Tensor:
        """Return the log-probability, or log-density, (N,) of a record under the present weights.

        Args:
            record: of N latents.
            hidden: (N, H), present hidden states of the columns before them.
            head, grow: as for `sample`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method log_prob")


def wide(values: torch.Tensor) -> torch.Tensor:
    """Return values in float32, or in their own type where that is wider."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def log_probs(hidden: torch.Tensor, head: Head, temperature: float) -> torch.Tensor:
    """Return the log-probabilities (N, V) of the next token after hidden states (N, H), finite for tokens never written."""
    scores = wide(head(hidden)) / temperature
    if temperature < 1:  # takes the lowest logit there is beyond what a number can be
        scores = scores.clamp(min=torch.finfo(scores.dtype).min)
    return scores.log_softmax(-1)


def root_mean_square(embeddings: torch.Tensor) -> torch.Tensor:
    """Return the root mean square of the entries of embeddings (V, H)."""
    return wide(embeddings).pow(2).mean().sqrt()

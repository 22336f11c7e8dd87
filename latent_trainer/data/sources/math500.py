"""MATH-500: the 500 test problems of MATH that Lightman et al. 2023 hold out ("Let's Verify Step by Step").

On the Hub as ``HuggingFaceH4/MATH-500``: ``problem``, ``solution``, ``answer``, ``subject``, ``level``, ``unique_id``.
"""

from functools import partial

from latent_trainer.data.published import loader
from latent_trainer.data.sources import competition_math

problem = partial(competition_math.problem, name="math500")
load = loader("math500", problem)

"""GSM8K-Aug-NL: the problems of GSM8K-Aug with sentences as steps, ``question||He buys 4. He has 7. #### answer``.

Rows are read as those of `gsm8k_aug` are: what a text is made of decides how it is cut, not the name of the data set.
"""

from functools import partial

from latent_trainer.data.published import loader
from latent_trainer.data.sources import gsm8k_aug

problem = partial(gsm8k_aug.problem, name="gsm8k_aug_nl")
load = loader("gsm8k_aug_nl", problem)

"""GSM8K-Aug-NL: the problems of GSM8K-Aug with sentences as steps."""

from functools import partial

from latent_trainer.data.problem import Problem
from latent_trainer.data.sources import gsm8k_aug
from latent_trainer.data.splits import load_split

HUB_ID = "whynlp/gsm8k-aug-nl"


def load(
    split: str,
    path: str | None = None,
    seed: int = 0,
    validation_path: str | None = None,
    test_path: str | None = None,
    columns: dict[str, str] | None = None,
) -> list[Problem]:
    """Load GSM8K-Aug-NL from the Hub, or from files: lines ``question||He buys 4. He has 7. #### answer``, or rows as there.

    Args:
        split: the Hub has all three; from a file, validation is carved from the training rows.
        path: the training rows; None downloads ``whynlp/gsm8k-aug-nl``.
        seed: decides which questions of the file are held out for validation.
        validation_path: the published validation rows instead.
        test_path: the test rows.
        columns: field -> column, for files with other names.

    Raises:
        InputError: a malformed line (names file and line), or no file for the split.
        FileNotFoundError: the file does not exist.
    """
    if (path, validation_path, test_path) == (None, None, None):
        return gsm8k_aug.hub(HUB_ID, "gsm8k_aug_nl", split)
    read_row = partial(gsm8k_aug.problem, name="gsm8k_aug_nl")
    return load_split("gsm8k_aug_nl", read_row, split, seed, path, validation_path, test_path, columns)

"""Problems from files and the Hub, one file a data set; this table has those whose rows can be checked one by one."""

from latent_trainer.data.generated import prontoqa, prosqa
from latent_trainer.data.sources import (
    aime,
    aqua,
    competition_math,
    gsm8k,
    gsm8k_aug,
    gsm8k_aug_nl,
    gsm_hard,
    jsonl,
    math500,
    multiarith,
    svamp,
    textbook,
)

SOURCES = {
    "aime": aime,
    "aqua": aqua,
    "gsm8k": gsm8k,
    "gsm8k_aug": gsm8k_aug,
    "gsm8k_aug_nl": gsm8k_aug_nl,
    "gsm_hard": gsm_hard,
    "jsonl": jsonl,
    "math": competition_math,
    "math500": math500,
    "multiarith": multiarith,
    "prontoqa": prontoqa,
    "prosqa": prosqa,
    "svamp": svamp,
    "textbook": textbook,
}

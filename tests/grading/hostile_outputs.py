"""A thousand model outputs made to break a grader, and a program that prints what grading them took."""

import json
import random
import resource
import time
from concurrent.futures import ThreadPoolExecutor

from latent_trainer.evaluation import answers, workers
from latent_trainer.evaluation.answers import extract_answer, is_equivalent

REFERENCES = ["5", "7/3", "yes", "(1, -2, 3/2)", "[0, 5/2]", r"\binom{n}{k}", r"n!/(n-k)!", r"\max(x, |y|)", r"\exp(x)"]
COMMANDS = [
    r"\frac{",
    r"\binom{",
    r"\sqrt{",
    r"\boxed{",
    r"\left(",
    r"\log",
    r"\max(",
    "^{",
    "}{",
    "}",
    ")",
    "!",
    "n",
    "k",
    "9",
    "+",
    "|",
]


def _nested(chance: random.Random, left: str, right: str, core: str, most: int) -> str:
    levels = chance.randint(1, most)
    return left * levels + core + right * levels


def _unicode(chance: random.Random) -> str:
    ranges = [(0, 0x20), (0xD800, 0xE000), (0, 0x110000)]  # control characters, surrogates, anything
    return "".join(chr(chance.randrange(*chance.choice(ranges))) for _ in range(300))


KINDS = [
    lambda chance: (
        "9" + "".join(f"{chance.choice(['^', '**'])}{chance.randint(2, 10**6)}" for _ in range(chance.randint(1, 6)))
    ),
    lambda chance: _nested(chance, f"{chance.randint(2, 99)}^{{", "}", str(chance.randint(2, 10**9)), 9),
    lambda chance: _nested(chance, r"\frac{1}{1+", "}", "x", 400),
    lambda chance: _nested(chance, r"\frac{", "}{n}", "x", 9),
    lambda chance: _nested(chance, chance.choice("([{"), chance.choice(")]}"), "x", 14),
    lambda chance: chance.choice(["(", "[", "{", "([{", "()", "}{", r"\{", r"\boxed{", r"\[", r"\(", "$"]) * 50_000,
    lambda chance: "".join(chr(chance.randrange(32)) for _ in range(200)) + "5",
    lambda chance: "5" + "\x00" * chance.randint(1, 2000),
    lambda chance: str(chance.randint(1, 9)) * chance.randint(100, 100_000),
    lambda chance: "1," * chance.randint(1, 5_000) + "1111",
    lambda chance: f"{chance.randint(1, 10**9)}" + "!" * chance.randint(1, 9),
    lambda chance: rf"\binom{{{chance.randint(1, 10**7)}}}{{{chance.randint(1, 10**7)}}}",
    lambda chance: rf"\binom{{n}}{{{chance.randint(1, 9999)}}}^{{{chance.randint(1, 9999)}}}",
    lambda chance: "".join(chance.choice(COMMANDS) for _ in range(chance.randint(2, 80))),
    lambda chance: "".join(chance.choice(COMMANDS) for _ in range(chance.randint(2, 12))),
    lambda chance: "".join(chr(chance.randrange(32, 127)) for _ in range(chance.randint(1, 400))),
    _unicode,
    lambda chance: r"\def\a{\a\a}\newcommand{\b}{\b\b}\a\b" * chance.randint(1, 100),
    lambda chance: rf"\sum_{{k=0}}^{{10^{{{chance.randint(1, 99)}}}}} k^{{k}}",
    lambda chance: (
        "n" + "".join(f"{chance.choice('+-*/')}{chance.choice('nkxy')}^{chance.randint(1, 9999)}" for _ in range(14))
    ),
    lambda chance: r"\max(" + ",".join(f"x^{{{chance.randint(1, 99)}}}" for _ in range(chance.randint(1, 40))) + ")",
    lambda chance: "the answer is" + chance.choice([" ", "\n", "*", " answer is"]) * 20_000 + "=",
    lambda chance: "(1, -2, " + _nested(chance, "((", "))", "9^{9^{9^9}}", 40) + ")",
    lambda chance: f"__import__('os').system('sleep {chance.randint(10, 99)}')",
    lambda chance: "\ufdfa" * chance.randint(1, 999),
]


def hostile_outputs(number: int) -> list[str]:
    """Return generated texts of every kind in turn, half of them after an answer prefix, some in a box."""
    chance = random.Random(0)
    texts = [KINDS[index % len(KINDS)](chance) for index in range(number)]
    return [chance.choice(["### {}", "thus\n### {}", r"\boxed{{{}}}", "{}", "so $x = {}$"]).format(text) for text in texts]


def grade(texts: list[str]) -> None:
    """Look for an answer in each text both ways, and compare it with a reference of every kind in turn."""
    for index, text in enumerate(texts):
        for mode in ("strict", "flexible"):
            answer = extract_answer(text, mode)
            assert answer is None or isinstance(answer, str)
            assert is_equivalent(answer, REFERENCES[index % len(REFERENCES)]) in (True, False)


def memory() -> int:
    """Return peak bytes of this process and of each worker together, Linux's figures."""
    total = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for process in workers.running():
        with open(f"/proc/{process}/status", encoding="ascii") as lines:
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return total


def main() -> None:
    """Grade in the main thread, in another one and in four at once; print a JSON line for each."""
    texts = hostile_outputs(1000)
    for threads in (0, 1, 4):
        answers._verdict.cache_clear()
        began, used = time.perf_counter(), processor_seconds()
        if threads:
            grade_in_threads(texts, threads)
        else:
            grade(texts)
        figures = {"threads": threads, "seconds": time.perf_counter() - began, "bytes": memory()}
        print(json.dumps({**figures, "workers": len(workers.running()), "processor_seconds": processor_seconds() - used}))


def grade_in_threads(texts: list[str], threads: int) -> None:
    """Share texts between threads; raise what any of them raised."""
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(grade, texts[first::threads]) for first in range(threads)]:
            done.result()


def processor_seconds() -> float:
    """Return what this process and its workers have used; the workers end here, so that the system adds theirs up."""
    workers.close()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main()

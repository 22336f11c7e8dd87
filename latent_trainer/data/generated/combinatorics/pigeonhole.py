"""Pigeonhole: the smallest number that guarantees something."""

import random

from latent_trainer.data.generated.combinatorics.text import counted, listed, total
from latent_trainer.data.generated.families import Exercise

COLOURS = ("red", "blue", "green", "yellow", "white", "black")


def drawers(rng: random.Random, hard: bool) -> Exercise:
    """Find how many socks must be drawn in the dark to be certain of a colour pattern."""
    low, high = (11, 25) if hard else (3, 10)
    counts = [rng.randint(low, high) for _ in range(rng.randint(5, 6) if hard else rng.randint(3, 4))]
    goal = rng.choice(("same", "colour", "different", "every"))
    wanted = rng.randint(3, min(counts)) if goal != "different" else rng.randint(2, len(counts))
    aim, worst, why = {
        "same": (
            f"at least {wanted} socks of one and the same colour",
            [min(count, wanted - 1) for count in counts],
            f"at most {wanted - 1} of each colour",
        ),
        "colour": (
            f"at least {wanted} {COLOURS[0]} socks",
            [*counts[1:], wanted - 1],
            f"all other colours and {wanted - 1} {COLOURS[0]} socks",
        ),
        "different": (
            f"socks of at least {wanted} different colours",
            sorted(counts)[len(counts) - wanted + 1 :],
            f"all socks of the {wanted - 1} most frequent colours"
            if wanted > 2
            else "all socks of the most frequent colour",
        ),
        "every": (
            f"at least {wanted} socks of every colour",
            [*sorted(counts)[1:], wanted - 1],
            f"all socks of the other colours and {wanted - 1} of the rarest",
        ),
    }[goal]
    stock = listed(f"{count} {colour}" for count, colour in zip(counts, COLOURS, strict=False))
    question = rng.choice(
        (
            f"A drawer holds {stock} socks. Socks are taken out in the dark. How many must be taken to be certain to have "
            f"{aim}?",
            f"There are {stock} socks in a bag. What is the smallest number of socks that have to be drawn without looking "
            f"to guarantee {aim}?",
            f"Someone draws socks blindly from a box with {stock} socks. Find the least number of draws after which there "
            f"are surely {aim}.",
        )
    )
    steps = (
        f"Worst case without success: {why}",
        f"That is {total(worst)} socks",
        f"One more sock forces success: {sum(worst)} + 1 = {sum(worst) + 1}",
    )
    return Exercise(question, steps, str(sum(worst) + 1), 1 + hard, {"counts": counts, "goal": goal, "wanted": wanted})


def guaranteed_pair(rng: random.Random, hard: bool) -> Exercise:
    """Find how many integers of a range must be chosen to guarantee two with a given sum or difference."""
    first, size = rng.randint(1, 15), rng.randint(36, 60) if hard else rng.randint(8, 30)
    last = first + size - 1
    goal = rng.choice(("sum", "difference"))
    if goal == "sum":
        value = rng.randint(2 * first + 3, 2 * last - 3)
        low = max(first, value - last)
        pairs = (value - 1) // 2 - low + 1
        steps = [
            f"The numbers from {low} to {value - low} form {counted(pairs, 'pair')} with the sum {value}",
            f"The other {size - 2 * pairs} numbers have no partner, so a choice without such two numbers has at most {size} "
            f"- {pairs} = {size - pairs} elements",
        ]
        most = size - pairs
    else:
        value = rng.randint(2, size // 2)
        short, longer = divmod(size, value)
        chains = [short + (index < longer) for index in range(value)]
        most = sum((length + 1) // 2 for length in chains)
        kinds = [(longer, short + 1), (value - longer, short)]
        steps = [
            f"Numbers {value} apart form chains: "
            f"{listed(f'{number} of length {length}' for number, length in kinds if number)}",
            "A chain of length m gives at most the half of m, rounded up: "
            + total(number * ((length + 1) // 2) for number, length in kinds if number),
        ]
    steps.append(f"One number more guarantees success: {most} + 1 = {most + 1}")
    aim = f"whose {goal} is {value}"
    question = rng.choice(
        (
            f"What is the smallest k such that any k different integers from {first} to {last} include two {aim}?",
            f"How many different integers must be chosen from {first}, {first + 1}, ..., {last} to be certain that the "
            f"{goal} of some two of them is {value}?",
            f"Find the least number k such that every subset of {{{first}, ..., {last}}} with k elements contains two "
            f"elements {aim}.",
        )
    )
    parameters = {"first": first, "size": size, "goal": goal, "value": value}
    return Exercise(question, steps, str(most + 1), 3 + hard, parameters)

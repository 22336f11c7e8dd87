"""Partitions: teams without names, sums of parts, ways to pay."""

import random
from functools import cache
from math import comb

from latent_trainer.data.generated.combinatorics.text import counted, listed, total
from latent_trainer.data.generated.families import Exercise


def teams(rng: random.Random, hard: bool) -> Exercise:
    """Divide people into unnamed teams when some must be together and some pairs apart (Stirling and Bell numbers)."""
    people = rng.randint(11, 13) if hard else rng.randint(6, 10)
    joined = rng.choice((0, 2, 3) if people > 6 else (0, 2))
    order = list(range(1, people - joined + 1))
    rng.shuffle(order)
    apart = sorted(sorted(order[2 * i : 2 * i + 2]) for i in range(3 if hard else rng.randint(1, 2)))
    number = rng.choice((0, 3, 4, 5) if hard else (0, 2, 3, 4))
    units = people - joined + (joined > 0)
    pairs = len(apart)

    def ways(size):
        return stirling(size, number) if number else sum(stirling(size, blocks) for blocks in range(size + 1))

    terms = [(-1) ** merged * comb(pairs, merged) * ways(units - merged) for merged in range(pairs + 1)]
    answer = sum(terms)
    how_many = f"exactly {number} teams" if number else "teams, any number of them"
    rules = [f"persons {a} and {b} must not be in the same team" for a, b in apart]
    if joined:
        rules.append(f"persons {listed(range(people - joined + 1, people + 1))} must be in the same team")
    question = rng.choice(
        (
            f"{people} persons numbered 1 to {people} are divided into {how_many}. Teams have no names or order and none is "
            f"empty. In how many ways is this possible if {listed(rules)}?",
            f"In how many ways can the persons 1 to {people} be split into {how_many} (nonempty, unnamed), given that "
            f"{listed(rules)}?",
            f"Count the partitions of a group of {people} persons, numbered from 1, into {how_many}: teams are nonempty and "
            f"have no names, and {listed(rules)}.",
        )
    )
    name = f"the Stirling number of the second kind S(m, {number})" if number else "the Bell number B(m)"
    steps = [f"Those who stay together count as one: {units} units"] if joined else []
    steps += [
        f"Without separated pairs, the number of ways for m units is {name}",
        f"Merging j of the separated pairs leaves {units}-j units; inclusion-exclusion has the sign (-1)^j",
        ", ".join(f"j = {merged}: {comb(pairs, merged)} \\cdot {ways(units - merged)}" for merged in range(pairs + 1)),
        total(terms),
    ]
    parameters = {"people": people, "joined": joined, "apart": apart, "number": number}
    return Exercise(question, steps, str(answer), 3 + hard, parameters)


@cache
def stirling(size: int, blocks: int) -> int:
    """Return the Stirling number of the second kind."""
    if size == 0 or blocks == 0:
        return int(size == blocks)
    return stirling(size - 1, blocks - 1) + blocks * stirling(size - 1, blocks)


def integer_partitions(rng: random.Random, hard: bool) -> Exercise:
    """Count the partitions of an integer into k parts, equal parts allowed or not, with a largest part."""
    parts = rng.randint(6, 7) if hard else rng.randint(3, 5)
    distinct = rng.choice((False, True))
    number = rng.randint(50, 80) if hard else rng.randint(16, 44)
    number += 10 if hard and distinct else 0
    staircase = parts * (parts - 1) // 2 if distinct else 0
    largest = (number + staircase) // parts + 1 + rng.randint(0, 10)
    rest, cap = number - staircase, largest - (parts - 1 if distinct else 0)
    rows = {}
    for top in range(-(-rest // parts), min(cap, rest - parts + 1) + 1):
        rows[top] = restricted_partitions(rest - top, parts - 1, top)
    answer = sum(rows.values())
    kind = "different positive integers" if distinct else "positive integers (equal parts are allowed)"
    question = rng.choice(
        (
            f"In how many ways can {number} be written as a sum of exactly {parts} {kind}, none above {largest}, if the "
            "order of the summands does not matter?",
            f"How many sets of {parts} different positive integers, each at most {largest}, have the sum {number}?"
            if distinct
            else f"How many multisets of {parts} positive integers, each at most {largest}, have the sum {number}?",
            f"Count the partitions of {number} into exactly {parts} {kind} with no part larger than {largest}.",
        )
    )
    steps = []
    if distinct:
        steps.append(
            f"Subtract {', '.join(map(str, range(parts)))} from the parts in increasing order: partitions of {rest} into "
            f"{parts} parts, equal ones allowed, none above {cap}"
        )
    steps.append(
        f"The largest part is at least {-(-rest // parts)} and at most {max(rows)}; count the other {parts - 1} parts below "
        "it"
    )
    steps.append("; ".join(f"largest {top}: {ways}" for top, ways in rows.items()))
    steps.append(f"Add: {total(rows.values())}")
    parameters = {"number": number, "parts": parts, "largest": largest, "distinct": distinct}
    return Exercise(question, steps, str(answer), 3 + hard, parameters)


@cache
def restricted_partitions(number: int, parts: int, largest: int) -> int:
    """Return the number of partitions of ``number`` into exactly ``parts`` parts that are at most ``largest``."""
    if parts == 0 or number < parts or number > parts * largest:
        return int(number == parts == 0)
    return restricted_partitions(number, parts, largest - 1) + restricted_partitions(number - largest, parts - 1, largest)


def ways_to_pay(rng: random.Random, hard: bool) -> Exercise:
    """Count the ways to pay an amount with coins of given values."""
    coins = sorted(
        rng.sample((2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15) if hard else (1, 2, 3, 4, 5, 6, 8, 10, 12), 4 if hard else 3)
    )
    amount = sum(coin * rng.randint(2, 4) if hard else coin * rng.randint(1, 3) for coin in coins)
    table = [1] + [0] * amount
    for coin in coins[:-1]:
        for value in range(coin, amount + 1):
            table[value] += table[value - coin]
    biggest = coins[-1]
    rows = [table[amount - biggest * number] for number in range(amount // biggest + 1)]
    answer = sum(rows)
    question = rng.choice(
        (
            f"Coins are worth {listed(coins)} cents. In how many ways can {amount} cents be paid exactly, if only the "
            "number of coins of each kind matters and there are enough of each?",
            f"How many ways are there to make {amount} from any number of {listed(f'{coin}s' for coin in coins)}, order not "
            "mattering (a kind may be unused)?",
            f"Stamps of {listed(coins)} cents are available without limit. Count the selections of stamps that add up to "
            f"{amount} cents.",
        )
    )
    steps = (
        f"Split by the number of {biggest}s; the rest is made from {listed(coins[:-1])}",
        "; ".join(f"{counted(number, 'piece')}: {ways}" for number, ways in enumerate(rows)),
        f"Add: {total(rows)}",
    )
    return Exercise(question, steps, str(answer), 2 + hard, {"coins": coins, "amount": amount})

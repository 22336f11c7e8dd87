"""Expected values and probabilities by following the random process one ball, spin or die at a time."""

from fractions import Fraction

from combinatorics_counting import same, same_formula
from combinatorics_formulas import binomial


def neighbours(p, answer):
    """Fill the places with one colour or not, counting the ways and the equal neighbours in all of them."""
    circle, balls = p["shape"] == "circle", sum(p["counts"])

    def average(count):
        ways = pairs = 0
        for first in (0, 1):
            states = {(first, first): (1, 0)}  # balls of the colour so far, whether the last is one: ways, equal neighbours
            for _ in range(balls - 1):
                longer = {}
                for (used, last), (number, equal) in states.items():
                    for here in (0, 1):
                        before = longer.get((used + here, here), (0, 0))
                        more = equal + number * (last and here)
                        longer[used + here, here] = (before[0] + number, before[1] + more)
                states = longer
            for last in (0, 1):
                number, equal = states.get((count, last), (0, 0))
                ways, pairs = ways + number, pairs + equal + number * (circle and first and last)
        return Fraction(pairs, ways)

    found = average(p["counts"][0]) if p["kind"] == "red" else sum(map(average, p["counts"]))
    same(answer, balls - (not circle) - found if p["kind"] == "different" else found)


def draws_until(p, answer):
    cards, aces, wanted = p["cards"], p["aces"], p["wanted"]
    weighted = sum(t * binomial(t - 1, wanted - 1) * binomial(cards - t, aces - wanted) for t in range(1, cards + 1))
    same(answer, Fraction(weighted, binomial(cards, aces)) - (wanted if p["kind"] == "others" else 0))


def collecting(p, answer):
    """The chances of being unfinished after 0, 1, 2, ... spins add up to the expected number."""
    fields = p["prizes"] + p["blanks"]
    chances = {have: float(have == p["owned"]) for have in range(p["owned"], p["wanted"])}
    total = 0.0
    while (rest := sum(chances.values())) > 1e-12:
        total += rest
        chances = {
            have: chance * (1 - (p["prizes"] - have) / fields) + chances.get(have - 1, 0) * (p["prizes"] - have + 1) / fields
            for have, chance in chances.items()
        }
    assert abs(total - Fraction(answer)) < 1e-7, f"answer {answer}, summed {total}"


def occupancy_closed_form(p, answer):
    def count(n):
        chances = [Fraction(1)]
        for _ in range(n):
            stay = [chance * Fraction(p["boxes"] - 1, p["boxes"]) for chance in chances] + [Fraction(0)]
            move = [Fraction(0)] + [chance / p["boxes"] for chance in chances]
            chances = [a + b for a, b in zip(stay, move, strict=True)]
        return p["red"] * chances[p["held"]]

    first = max(1, p["held"])
    same_formula(answer, count, "n", range(first, first + 3))


def drawn_balls(p, answer):
    """Ball by ball: the chances of all colour counts."""
    chances = {(0,) * len(p["counts"]): Fraction(1)}
    balls = sum(p["counts"])
    for number in range(p["drawn"]):
        longer = {}
        for taken, chance in chances.items():
            for index, count in enumerate(p["counts"]):
                if taken[index] < count:
                    key = (*taken[:index], taken[index] + 1, *taken[index + 1 :])
                    longer[key] = longer.get(key, 0) + chance * Fraction(count - taken[index], balls - number)
        chances = longer
    good = {
        "same": lambda taken: max(taken) == p["drawn"],
        "different": lambda taken: max(taken) == 1,
        "exactly": lambda taken: taken[0] == p["reds"],
        "at least": lambda taken: taken[0] >= p["reds"],
    }[p["kind"]]
    same(answer, sum(chance for taken, chance in chances.items() if good(taken)))


def dice_sums(p, answer):
    sums = {0: 1}
    for faces in [p["faces"]] * p["dice"] + [p["special"]]:
        longer = {}
        for total, number in sums.items():
            for face in range(1, faces + 1):
                longer[total + face] = longer.get(total + face, 0) + number
        sums = longer
    good = sum(n for total, n in sums.items() if total == p["target"] or (p["kind"] == "at most" and total < p["target"]))
    same(answer, Fraction(good, sum(sums.values())))

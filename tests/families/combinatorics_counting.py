"""Arrangements, selections, distributions, paths and partitions counted again by enumeration or by stepwise counting."""

from functools import cache
from itertools import combinations, pairwise, permutations, product
from math import factorial, prod

from combinatorics_formulas import binomial, value


def same(answer, expected):
    assert answer == str(expected), f"answer {answer}, counted {expected}"


def same_formula(answer, expected, symbol, points):
    for point in points:
        found, counted = value(answer, **{symbol: point}), expected(point)
        assert found == counted, f"{answer} at {symbol} = {point} is {found}, counted {counted}"


def seats(groups, apart, others, circle):
    """Fill the seats one by one with kinds of people; the people of a kind are then told apart."""
    factor = prod(factorial(size) for size in groups) * factorial(apart) * factorial(others)
    if circle:  # one of the others is seated first and breaks the circle
        factor //= others
        others -= 1

    @cache
    def fill(groups_left, apart_left, others_left, judge_before):
        if not groups_left and not apart_left and not others_left:
            return 1
        ways = groups_left * fill(groups_left - 1, apart_left, others_left, False) if groups_left else 0
        ways += fill(groups_left, apart_left - 1, others_left, True) if apart_left and not judge_before else 0
        return ways + (fill(groups_left, apart_left, others_left - 1, False) if others_left else 0)

    return factor * fill(len(groups), apart, others, False)


def seating_groups(p, answer):
    same(answer, seats(tuple(p["groups"]), p["apart"], p["others"], p["shape"] == "circle"))


def blocks_closed_form(p, answer):
    sizes = [size for size, _ in p["blocks"]]
    orders = prod(factorial(size) for size, kind in p["blocks"] if kind == "ordered")
    first = max(2, sum(sizes) - p["extra"] + 1)

    def count(n):
        return seats(tuple(sizes), 0, n + p["extra"] - sum(sizes), p["shape"] == "circle") // orders

    same_formula(answer, count, "n", range(first, first + 4))


def word_arrangements(p, answer):
    word, letter, rule = p["word"], p["letter"], p["rule"]
    others, copies = [word.count(x) for x in sorted(set(word)) if x != letter], word.count(letter)
    size = len(word)
    found = 0
    for places in combinations(range(size), copies):
        near = [b - a == 1 for a, b in pairwise(places)]
        fine = {
            "together": all(near),
            "apart": not any(near),
            "begins": places[0] == 0,
            "both ends": places[0] == 0 and places[-1] == size - 1,
        }[rule]
        found += fine
    free = size - copies
    for count in others:
        found *= binomial(free, count)
        free -= count
    same(answer, found)


def committees(p, answer):
    ways = {(0, 0, 0): 1}
    for kind, size in enumerate(p["sizes"]):
        for _ in range(size):
            taken = {}
            for state, number in ways.items():
                if sum(state) < p["seats"]:
                    key = tuple(count + (index == kind) for index, count in enumerate(state))
                    taken[key] = taken.get(key, 0) + number
            for key, number in taken.items():
                ways[key] = ways.get(key, 0) + number
    good = (n for s, n in ways.items() if sum(s) == p["seats"] and s[0] >= p["least"] and s[1] <= p["most"])
    same(answer, sum(good))


def spaced_seats(p, answer):
    step = p["gap"] + 1

    @cache
    def row(size, chosen):
        if chosen == 0:
            return 1
        return row(size - 1, chosen) + row(size - step, chosen - 1) if size > 0 else 0

    found = row(p["seats"], p["chosen"])
    if p["shape"] == "circle":  # by the first chosen seat, which keeps some seats at the far end empty
        far = [min(p["seats"], first - step + p["seats"]) for first in range(1, p["seats"] + 1)]
        found = sum(row(last - first - step + 1, p["chosen"] - 1) for first, last in enumerate(far, 1))
    same(answer, found * (factorial(p["chosen"]) if p["named"] else 1))


def subset_sums(p, answer):
    ways = [[0] * p["modulus"] for _ in range(p["size"] + 1)]
    ways[0][0] = 1
    for number in range(1, p["top"] + 1):
        for size in range(p["size"], 0, -1):
            for rest in range(p["modulus"]):
                ways[size][(rest + number) % p["modulus"]] += ways[size - 1][rest]
    same(answer, ways[p["size"]][p["remainder"]])


def subset_tuples(p, answer):
    tests = {
        "chain": lambda bits: all(a <= b for a, b in pairwise(bits)),
        "disjoint": lambda bits: sum(bits) <= 1,
        "partition": lambda bits: sum(bits) == 1,
        "cover": any,
        "no common": lambda bits: not all(bits),
    }
    allowed = [bits for bits in product((0, 1), repeat=p["length"]) if tests[p["rule"]](bits)]
    bound = sum(bits[0] for bits in allowed)
    first = max(1, p["bound"] - p["extra"])

    def count(n):
        return prod(bound if element < p["bound"] else len(allowed) for element in range(n + p["extra"]))

    same_formula(answer, count, "n", range(first, first + 3))


def solutions(ranges, target):
    ways = {0: 1}
    for values in ranges:
        longer = {}
        for total, number in ways.items():
            for x in values:
                if total + x <= target:
                    longer[total + x] = longer.get(total + x, 0) + number
        ways = longer
    return ways


def bounded_sums(p, answer):
    ranges = [range(low, low + width + 1) for low, width in zip(p["lows"], p["widths"], strict=True)]
    same(answer, solutions(ranges, p["target"]).get(p["target"], 0))


def sums_closed_form(p, answer):
    least = sum(p["lows"])
    strict = p["relation"] == "<"
    first = max(1, least + strict - p["extra"])

    def count(n):
        target = n + p["extra"] - strict
        ways = solutions([range(low, target - least + low + 1) for low in p["lows"]], target)
        return ways.get(target, 0) if p["relation"] == "=" else sum(ways.values())

    same_formula(answer, count, "n", (first, first + 1, first + 4))


def gifts(p, answer):
    plain = p["children"] - 2 - p["needy"]
    ways = {(0, 0, 0): 1}  # gifts of child 1, of child 2, needy children reached
    for _ in range(p["objects"]):
        longer = {}
        for (one, two, met), number in ways.items():
            moves = [((one + 1, two, met), 1), ((one, two + 1, met), 1), ((one, two, met), plain + met)]
            for key, factor in [*moves, ((one, two, met + 1), p["needy"] - met)]:
                if key[0] <= p["fixed"][0] and key[1] <= p["fixed"][1]:
                    longer[key] = longer.get(key, 0) + number * factor
        ways = longer
    same(answer, ways.get((*p["fixed"], p["needy"]), 0))


def nonempty_boxes_closed_form(p, answer):
    def count(n):
        ways = {(0, 0): 1}  # balls in the blue box, red boxes reached
        for _ in range(n + p["extra"]):
            longer = {}
            for (blue, met), number in ways.items():
                white = p["boxes"] - p["needed"] - p["single"]
                moves = [((blue, met), white + met), ((blue, met + 1), p["needed"] - met)]
                if p["single"] and blue == 0:
                    moves.append(((1, met), 1))
                for key, factor in moves:
                    longer[key] = longer.get(key, 0) + number * factor
            ways = longer
        return ways.get((int(p["single"]), p["needed"]), 0)

    same_formula(answer, count, "n", range(p["needed"] + 1, p["needed"] + 4))


def divisibility(p, answer):
    found = 0
    for number in range(p["first"], p["last"] + 1):
        hits = sum(number % divisor == 0 for divisor in p["divisors"])
        found += {"none": hits == 0, "at least one": hits > 0, "exactly one": hits == 1}[p["kind"]]
    same(answer, found)


@cache
def missing(letters, marked):
    """Permutations of ``letters`` in which the marked ones all move: either the last marked is unmarked, or it stays."""
    return factorial(letters) if marked == 0 else missing(letters, marked - 1) - missing(letters - 1, marked - 1)


def fixed_points(p, answer):
    free, marked, hits = p["letters"] - p["known"], p["marked"], p["hits"]
    wanted = {"exactly": [hits], "at most": range(hits + 1), "at least": range(hits, marked + 1)}[p["kind"]]
    if free <= 6:
        found = sum(sum(a == b for a, b in enumerate(order[:marked])) in wanted for order in permutations(range(free)))
    else:
        found = sum(binomial(marked, k) * missing(free - k, marked - k) for k in wanted)
    same(answer, found)


def assignments(allowed):
    """Number of ways to give each row its own column, by sets of used columns."""
    ways = {0: 1}
    for columns in allowed:
        longer = {}
        for used, number in ways.items():
            for column in columns:
                if not used >> column & 1:
                    longer[used | 1 << column] = longer.get(used | 1 << column, 0) + number
        ways = longer
    return sum(ways.values())


def forbidden_seats(p, answer):
    people = range(1, p["people"] + 1)
    same(answer, assignments([[seat for seat in people if [person, seat] not in p["refused"]] for person in people]))


def matchings(p, answer):
    same(answer, assignments(p["able"]))


def steps_to(start, stop, allowed):
    ways = {start: 1}
    for x in range(start[0], stop[0] + 1):
        for y in range(start[1], stop[1] + 1):
            if (x, y) != start:
                ways[x, y] = ways.get((x - 1, y), 0) + ways.get((x, y - 1), 0) if allowed(x, y) else 0
    return ways[stop]


def paths_with_obstacles(p, answer):
    corners = [(0, 0), *([tuple(p["via"])] if p["via"] else []), tuple(p["end"])]
    legs = pairwise(corners)
    same(answer, prod(steps_to(a, b, lambda x, y: [x, y] not in p["closed"]) for a, b in legs))


def ballot_paths(p, answer):
    limit = p["offset"] + (p["rule"] == "never above")
    end = (p["across"], p["up"])
    below = steps_to((0, 0), end, lambda x, y: y < x + limit)
    same(answer, steps_to((0, 0), end, lambda x, y: True) - below if p["rule"] == "touch" else below)


def paths_closed_form(p, answer):
    via, closed = tuple(p["via"]), tuple(p["closed"])

    def count(n):
        return steps_to((0, 0), via, lambda x, y: True) * steps_to(via, (n, p["height"]), lambda x, y: (x, y) != closed)

    same_formula(answer, count, "n", range(closed[0] + 1, closed[0] + 4))


def bracket_sequences(p, answer):
    size = 2 * p["pairs"]
    heights = {0: 1}
    for place in range(size):
        longer = {}
        for height, number in heights.items():
            up, down = place < size - p["closing"], place >= p["opening"] and height > 0
            if up:
                longer[height + 1] = longer.get(height + 1, 0) + number * p["kinds"]
            if down:
                longer[height - 1] = longer.get(height - 1, 0) + number
        heights = longer
    same(answer, heights.get(0, 0))


def handshakes(p, answer):
    partner = {a: b for pair in p["given"] for a, b in (pair, pair[::-1])}

    @cache
    def ways(low, high):  # people low, ..., high - 1 shake hands among themselves
        if low == high:
            return 1
        choices = [partner[low]] if low in partner else range(low + 1, high)
        fine = [b for b in choices if low < b < high and (b - low) % 2 and partner.get(b, low) == low]
        return sum(ways(low + 1, b) * ways(b + 1, high) for b in fine)

    same(answer, ways(1, 2 * p["couples"] + 1))


def triangulations(p, answer):
    @cache
    def drawn(a, b):
        return not any(a < c < b < d or c < a < d < b for c, d in p["given"])

    @cache
    def ways(a, b):  # triangulations of the part on the far side of the line a-b
        if b - a == 1:
            return 1
        return sum(ways(a, c) * ways(c, b) for c in range(a + 1, b) if drawn(a, c) and drawn(c, b))

    same(answer, ways(1, p["corners"]))


def teams(p, answer):
    """Colour the separated people properly with q colours and the others freely; then take the names off the colours."""
    bound = sorted({person for pair in p["apart"] for person in pair})
    free = p["people"] - len(bound) - max(0, p["joined"] - 1)

    @cache
    def colourings(q):
        open_states = {(): 1}
        for person in bound:
            before = [bound.index(a) for a, b in p["apart"] if b == person]
            longer = {}
            for state, number in open_states.items():
                for colour in range(max(state, default=-1) + 2):  # up to the names of the colours
                    if all(state[other] != colour for other in before):
                        fresh = q - max(state, default=-1) - 1 if colour > max(state, default=-1) else 1
                        longer[(*state, colour)] = number * fresh
            open_states = longer
        return sum(open_states.values()) * q**free

    def exactly(size):
        return sum((-1) ** (size - q) * binomial(size, q) * colourings(q) for q in range(size + 1)) // factorial(size)

    same(answer, sum(map(exactly, [p["number"]] if p["number"] else range(1, p["people"] + 1))))


def integer_partitions(p, answer):
    ways = [[0] * (p["number"] + 1) for _ in range(p["parts"] + 1)]
    ways[0][0] = 1
    for part in range(1, p["largest"] + 1):
        counts = range(p["parts"], 0, -1) if p["distinct"] else range(1, p["parts"] + 1)
        for count in counts:
            for total in range(part, p["number"] + 1):
                ways[count][total] += ways[count - 1][total - part]
    same(answer, ways[p["parts"]][p["number"]])


def ways_to_pay(p, answer):
    small, second, *larger = p["coins"]

    def ways(amount, coins):
        if coins:
            return sum(ways(left, coins[:-1]) for left in range(amount, -1, -coins[-1]))
        return sum(left % small == 0 for left in range(amount, -1, -second))

    same(answer, ways(p["amount"], larger))


def drawers(p, answer):
    """The most socks without success, over everything a draw can consist of, one more."""
    counts, wanted, goal = p["counts"], p["wanted"], p["goal"]
    states = {(0, False, 0, False, True)}  # socks, some colour often, colours, red often, all colours often
    for index, count in enumerate(counts):
        longer = set()
        for socks, some, colours, red, every in states:
            for taken in {0, 1, wanted - 1, wanted, count} & set(range(count + 1)):
                often = taken >= wanted
                first = often if index == 0 else red
                longer.add((socks + taken, some or often, colours + (taken > 0), first, every and often))
        states = longer
    success = {
        "same": lambda state: state[1],
        "different": lambda state: state[2] >= wanted,
        "colour": lambda state: state[3],
        "every": lambda state: state[4],
    }[goal]
    same(answer, max(state[0] for state in states if not success(state)) + 1)


def guaranteed_pair(p, answer):
    numbers = set(range(p["first"], p["first"] + p["size"]))
    step = p["value"]

    def partners(x):
        return {step - x} - {x} if p["goal"] == "sum" else {x - step, x + step}

    kept = 0
    while numbers:  # taking a number with at most one partner left is never wrong
        x = min(numbers, key=lambda number: len(partners(number) & numbers))
        assert len(partners(x) & numbers) <= 1
        numbers -= {x} | partners(x)
        kept += 1
    same(answer, kept + 1)

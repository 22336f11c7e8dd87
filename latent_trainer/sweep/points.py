"""The points of a sweep: which settings are tried, with which seeds."""

import itertools
from dataclasses import dataclass, field

from latent_trainer.errors import InputError
from latent_trainer.options import Scale, check_options


@dataclass
class Range:
    """Numbers a search draws from: ``low`` to ``high``, on a ``log`` scale or in steps of ``step``."""

    low: int | float
    high: int | float
    log: bool = False
    step: Scale | None = None


@dataclass
class Choices:
    """Values a search chooses from."""

    choices: list


@dataclass(frozen=True)
class Point:
    """Settings that differ from the base recipe, and a seed."""

    settings: dict
    seed: int


@dataclass
class Run:
    """One attempt at a point.

    Args:
        number: of the attempt in the state.
        trial_id: what Optuna calls it.
        settings, seed: of the point.
        attempt: 1, or 2 after a failure.
        folder: where it writes, from the sweep's folder.
        job: what submitit calls it, once it is submitted.
        log: its log file, once it is submitted.
    """

    number: int
    trial_id: int
    settings: dict
    seed: int
    attempt: int
    folder: str
    job: str | None = None
    log: str | None = None


@dataclass
class Space:
    """What is tried: a grid, a list of points, or a search.

    Args:
        axes: option -> values; the grid is their product.
        points: name of a point -> its settings.
        search: option -> ``{"choices": [...]}`` or ``{"low": a, "high": b, "log": true, "step": s}``.
        trials: points of a search.
        seeds: every point is run with each.

    Raises:
        ValueError: not exactly one of the three, an empty one, a malformed range, or a search over several seeds.
    """

    axes: dict | None = None
    points: dict | None = None
    search: dict | None = None
    trials: int = 20
    seeds: list[int] = field(default_factory=lambda: [0])

    def __post_init__(self):
        given = [name for name in ("axes", "points", "search") if getattr(self, name)]
        if len(given) != 1:
            raise InputError(f"a sweep takes one of axes, points and search, got {' and '.join(given) or 'none'}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"seeds={self.seeds} must hold different numbers, at least one")
        for name, values in (self.axes or {}).items():
            if not isinstance(values, list) or not values:
                raise InputError(f"axes: {name}={values} must be a list of values")
        for name, settings in (self.points or {}).items():
            if not isinstance(settings, dict):
                raise InputError(f"points: {name}={settings} must be options with their values")
        if self.search:
            self._check_search()

    def _check_search(self):
        if len(self.seeds) > 1:
            raise InputError(f"a search takes one seed, got seeds={self.seeds}; run its best points again as points")
        if self.trials < 1:
            raise InputError(f"trials={self.trials} must be at least 1")
        for name, spread in self.search.items():
            if not isinstance(spread, dict) or not ({"choices"} == set(spread) or {"low", "high"} <= set(spread)):
                raise InputError(f"search: {name}={spread} needs choices, or low and high")
            kind = Choices if "choices" in spread else Range
            self.search[name] = check_options(f"the search over {name}", kind, spread, setting=f"search.{name}")

    @property
    def options(self) -> list[str]:
        """Return every option that a point may set."""
        if self.points:
            return list(dict.fromkeys(itertools.chain.from_iterable(self.points.values())))
        return list(self.axes or self.search)

    def listed(self) -> list[Point]:
        """Return the points known beforehand, none for a search."""
        if self.search:
            return []
        if self.axes:
            combinations = itertools.product(*self.axes.values())
            settings = [dict(zip(self.axes, values, strict=True)) for values in combinations]
        else:
            settings = list(self.points.values())
        return [Point(one, seed) for one in settings for seed in self.seeds]

    def suggest(self, trial) -> dict:
        """Return the settings that a search's `optuna.Trial` is to try."""
        settings = {}
        for name, spread in self.search.items():
            if "choices" in spread:
                settings[name] = trial.suggest_categorical(name, spread["choices"])
            elif isinstance(spread["low"], int) and isinstance(spread["high"], int):
                settings[name] = trial.suggest_int(name, **spread)
            else:
                settings[name] = trial.suggest_float(name, **spread)
        return settings

"""Which releases of TRL the trainer is made for: it overrides private methods, which another release may have changed."""

from importlib.metadata import PackageNotFoundError, version

from latent_trainer.errors import InputError

TESTED = ((1, 16), (1, 16))  # the oldest and the newest minor release of TRL; the extra rl in setup.cfg says the same
RANGE = f">={TESTED[0][0]}.{TESTED[0][1]},<{TESTED[1][0]}.{TESTED[1][1] + 1}"


def require_trl() -> None:
    """Raise a one-line `InputError` where TRL is not installed, or is a release the trainer is not made for."""
    try:
        release = version("trl")
    except PackageNotFoundError:
        raise InputError(
            f"reinforcement learning needs TRL (trl{RANGE}), which is not installed; pip install 'latent_trainer[rl]'"
        ) from None
    major, minor = release.split(".")[:2]
    if not TESTED[0] <= (int(major), int(minor)) <= TESTED[1]:
        raise InputError(f"reinforcement learning is made for trl{RANGE}, and this is {release}; pip install 'trl{RANGE}'")

"""How alike latents are: those of one problem among themselves, and those of different problems."""

import numpy as np


def measure(subject) -> dict:
    """Return the mean cosine of every pair of latents within a problem and between two problems, with standard errors.

    Args:
        subject: see `latent_trainer.analysis.Subject`.
    """
    latents = subject.traces.read("latents").astype(np.float64)  # (N, K, H)
    directions = latents / np.maximum(np.linalg.norm(latents, axis=-1, keepdims=True), 1e-12)
    number = len(directions)
    within = np.einsum("nkh,njh->nkj", directions, directions)  # (N, K, K)
    result = {"problems": number, "within": _table(within)}
    if number > 1:
        total = directions.sum(0)  # (K, H)
        toward_others = np.einsum("nkh,jh->nkj", directions, total) - within
        result["between"] = _table(toward_others / (number - 1))  # a problem's mean cosine with all others
    return result


def _table(cosines: np.ndarray) -> dict:
    return {"mean": cosines.mean(0).tolist(), "stderr": (cosines.std(0) / len(cosines) ** 0.5).tolist()}


def draw(result: dict, figure) -> None:
    """Draw the cosine of every pair of latents, within problems beside between problems."""
    names = [name for name in ("within", "between") if name in result]
    figure.set_size_inches(5 * len(names), 4.2)
    for name, axes in zip(names, figure.subplots(1, len(names), squeeze=False)[0], strict=True):
        mean, error = (np.array(result[name][part]) for part in ("mean", "stderr"))
        image = axes.imshow(mean, vmin=-1, vmax=1, cmap="cividis")
        size = len(mean)
        if size <= 10:
            for row in range(size):
                for column in range(size):
                    ink = "black" if mean[row, column] > 0.2 else "white"
                    text = f"{mean[row, column]:.2f}\n±{error[row, column]:.2f}"
                    axes.text(column, row, text, ha="center", va="center", fontsize=6, color=ink)
        chosen = ~np.eye(size, dtype=bool) if name == "within" and size > 1 else np.eye(size, dtype=bool)
        what = "different latents of one problem" if name == "within" else "the same latent of two problems"
        axes.set_title(f"Mean cosine of {what}: {mean[chosen].mean():.2f}")
        axes.set(xlabel="latent", ylabel="latent", xticks=range(size), yticks=range(size))
        axes.set_xticklabels(range(1, size + 1))
        axes.set_yticklabels(range(1, size + 1))
        figure.colorbar(image, ax=axes, label="cosine")

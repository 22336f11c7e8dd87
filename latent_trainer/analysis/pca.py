"""A map of latents: their two principal components."""

import numpy as np

POINTS = 1_500  # more hide each other


def measure(subject) -> dict:
    """Return the plane of most variance: explained shares, and the coordinates of at most ``POINTS`` latents.

    Args:
        subject: see `latent_trainer.analysis.Subject`.
    """
    from sklearn.decomposition import PCA  # of the extra "analysis"

    latents = subject.traces.read("latents").astype(np.float64)  # (N, K, H)
    number, size = latents.shape[:2]
    plane = PCA(2, random_state=subject.seed).fit(latents.reshape(number * size, -1))
    shown = max(1, POINTS // size)
    points = plane.transform(latents[:shown].reshape(-1, latents.shape[-1])).reshape(-1, size, 2)  # (n, K, 2)
    families = [problem.family for problem in subject.traces.problems[:shown]]
    return {
        "problems": number,
        "explained": plane.explained_variance_ratio_.tolist(),
        "points": np.round(points, 3).tolist(),
        "values": [row[:size] for row in subject.values[:shown]],
        "families": families if any(families) else None,
    }


def draw(result: dict, figure) -> None:
    """Draw the map coloured by latent, and beside it by family, or by step value where there are no families."""
    points = np.array(result["points"])  # (n, K, 2)
    size = points.shape[1]
    by_latent = np.broadcast_to(np.arange(1, size + 1), points.shape[:2])
    kinds = result["families"] and np.array([[family] * size for family in result["families"]])
    kinds = np.array([[value or "-" for value in row] for row in result["values"]]) if kinds is None else kinds
    panels = [("latent", by_latent), ("family" if result["families"] else "value of the step", kinds)]
    figure.set_size_inches(11, 4.6)
    first, second = (100 * share for share in result["explained"])
    for (name, groups), axes in zip(panels, figure.subplots(1, 2), strict=True):
        names, counts = np.unique(groups, return_counts=True)
        shown = names[counts.argsort()[::-1][:10]]
        for number, group in enumerate(sorted(shown)):
            own = points[groups == group]
            style = {"marker": "os^DvPX<>*"[number], "color": f"C{number % 7}", "label": str(group)}
            axes.scatter(own[:, 0], own[:, 1], s=7, alpha=0.6, linewidths=0, rasterized=True, **style)
        axes.set_title(f"Two directions hold {first + second:.0f} % of the variance; colour: {name}")
        axes.set(xlabel=f"first component ({first:.0f} % of variance)", ylabel=f"second component ({second:.0f} %)")
        axes.legend(title=name, fontsize=7, markerscale=2)

"""Linear probes: can the value of step j be read off latent k by a linear classifier?"""

from collections import Counter

import numpy as np

from latent_trainer.evaluation.statistics import mean_and_error

FOLDS = 5
LEAST = 2 * FOLDS  # problems a value needs to be a class
CLASSES = 50  # the most frequent values


def measure(subject) -> dict:
    """Return the cross-validated accuracy of step values read from latents and from every layer, and with shuffled labels.

    ``steps`` holds every step from every latent; ``own`` the step a latent stands for, with the control: the same classifier
    on labels in random order. Problems whose value is rarer than ``LEAST`` are left out and counted.

    Args:
        subject: see `latent_trainer.analysis.Subject`.

    Source: Alain & Bengio 2016; control after Hewitt & Liang 2019.
    """
    traces, rng = subject.traces, np.random.default_rng(subject.seed)
    latents = traces.read("latents")  # (N, K, H)
    table = np.array(subject.values, dtype=object)  # (N, K)
    places = list(range(0, traces.num_latents, subject.latents_per_step))  # the first latent of every step
    own, chosen = [], {}
    for number in range(traces.num_latents):
        rows, labels = _labelled(table[:, number])
        if len(set(labels)) < 2:
            continue
        chosen[number] = rows, labels
        accuracy, error = mean_and_error(_right(latents[rows, number], labels, subject.seed))
        control, control_error = mean_and_error(_right(latents[rows, number], rng.permutation(labels), subject.seed))
        own.append(
            {
                "latent": number + 1,
                "accuracy": accuracy,
                "accuracy_stderr": error,
                "shuffled": control,
                "shuffled_stderr": control_error,
                "majority": Counter(labels.tolist()).most_common(1)[0][1] / len(labels),
                "values": len(set(labels)),
                "problems": len(labels),
            }
        )
    steps = [
        {
            "step": place // subject.latents_per_step + 1,
            "latents": [
                float(_right(latents[chosen[place][0], number], chosen[place][1], subject.seed).mean())
                for number in range(traces.num_latents)
            ],
        }
        for place in places
        if place in chosen
    ]
    layers = []
    for layer in range(traces.layers + 1):
        hidden = traces.read("hidden", layer)  # (N, K + 1, H)
        rows = []
        for number, (kept, labels) in chosen.items():
            accuracy, error = mean_and_error(_right(hidden[kept, number], labels, subject.seed))
            rows.append({"latent": number + 1, "accuracy": accuracy, "accuracy_stderr": error})
        layers.append({"layer": layer, "latents": rows})
    return {"problems": len(latents), "folds": FOLDS, "own": own, "steps": steps, "layers": layers}


def _labelled(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows whose value is frequent enough to be a class, and their values."""
    frequent = Counter(value for value in values if value is not None).most_common(CLASSES)
    classes = {value for value, number in frequent if number >= LEAST}
    rows = np.array([row for row, value in enumerate(values) if value in classes], dtype=int)
    return rows, values[rows].astype(str)


def classifier_and_folds(seed: int):
    """Return the linear classifier of every probe, and the folds it is cross-validated over.

    Args:
        seed: decides the folds.
    """
    from sklearn.linear_model import LogisticRegression  # of the extra "analysis"
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    return classifier, StratifiedKFold(FOLDS, shuffle=True, random_state=seed)


def _right(vectors: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Return, per row, whether a classifier that has not seen it gets its label."""
    from sklearn.model_selection import cross_val_predict  # of the extra "analysis"

    classifier, folds = classifier_and_folds(seed)
    return cross_val_predict(classifier, vectors, labels, cv=folds) == labels


def draw(result: dict, figure) -> None:
    """Draw the accuracy of the step a latent stands for, beside shuffled labels."""
    axes = figure.subplots()
    rows = result["own"]
    for name, mark, label in (("accuracy", "o", "right labels"), ("shuffled", "s", "shuffled labels")):
        means, errors = ([100 * row[key] for row in rows] for key in (name, f"{name}_stderr"))
        axes.errorbar([row["latent"] for row in rows], means, yerr=errors, marker=mark, label=label)
    axes.plot(
        [row["latent"] for row in rows], [100 * row["majority"] for row in rows], "--", color="0.4", label="most frequent"
    )
    mean, control = (100 * np.mean([row[key] for row in rows] or [np.nan]) for key in ("accuracy", "shuffled"))
    axes.set_title(f"A linear probe reads {mean:.1f} % of step values, {control:.1f} % with shuffled labels")
    axes.set(xlabel="latent", ylabel=f"accuracy, {result['folds']} folds (% of problems)", ylim=(-3, 103))
    axes.legend()


def draw_steps(result: dict, figure) -> None:
    """Draw the accuracy of every step from every latent."""
    axes = figure.subplots()
    shares = np.array([row["latents"] for row in result["steps"]]) * 100  # (J, K)
    if not shares.size:
        axes.set_title("No step has values frequent enough to probe")
        return
    image = axes.imshow(shares, vmin=0, vmax=100, cmap="cividis")
    for row, column in np.ndindex(shares.shape) if shares.size <= 100 else ():
        ink = "black" if shares[row, column] > 60 else "white"
        axes.text(column, row, f"{shares[row, column]:.0f}", ha="center", va="center", fontsize=7, color=ink)
    best = shares.argmax(1)
    axes.set_title(f"Steps are read best from latents {', '.join(str(one + 1) for one in best)}")
    axes.set(xlabel="latent", ylabel="step", xticks=range(shares.shape[1]), yticks=range(len(shares)))
    axes.set_xticklabels(range(1, shares.shape[1] + 1))
    axes.set_yticklabels([row["step"] for row in result["steps"]])
    figure.colorbar(image, ax=axes, label="accuracy (% of problems)")

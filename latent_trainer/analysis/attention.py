"""Where latents and answers look: attention to the question, to the latents and to everything else, by layer and head."""

import numpy as np

from latent_trainer.errors import InputError


def measure(subject) -> dict:
    """Return mean attention with standard errors: of the answer to every latent, of every latent to every question token.

    ``answer`` and ``latents`` give the shares of the question, of the K latents and of everything else; a row adds up to 1.
    ``question`` is given by the place of a token in the question, over the problems that are as long.

    Args:
        subject: see `latent_trainer.analysis.Subject`; its traces must have been collected with attention.

    Raises:
        ValueError: traces without attention.
    """
    if not subject.traces.header["attention"]:
        raise InputError("the traces hold no attention; collect them with attention=True")
    layers, problems = [], len(subject.traces.problems)
    for layer in range(subject.traces.layers):
        reads = subject.traces.read("reads", layer)  # (N, A, K + 1, K + 2)
        question = subject.traces.read("question", layer)  # (N, A, K, Q)
        mean, error = reads.mean(0), reads.std(0) / problems**0.5
        spread = np.nanstd(question, 0) / np.isfinite(question).sum(0) ** 0.5
        layers.append(
            {
                "layer": layer + 1,
                "answer": {"mean": mean[:, -1].tolist(), "stderr": error[:, -1].tolist()},  # (A, K + 2)
                "latents": {"mean": mean[:, :-1].tolist(), "stderr": error[:, :-1].tolist()},  # (A, K, K + 2)
                "question": {"mean": np.nanmean(question, 0).tolist(), "stderr": spread.tolist()},  # (A, K, Q)
            }
        )
    return {"problems": problems, "sources": ["question", "each latent", "everything else"], "layers": layers}


def draw(result: dict, figure) -> None:
    """Draw the answer's attention to question, latents and the rest: a panel a layer, a line a head."""
    layers = result["layers"]
    figure.set_size_inches(min(4.5 * len(layers), 40), 4)
    for row, axes in zip(layers, figure.subplots(1, len(layers), sharey=True, squeeze=False)[0], strict=True):
        mean, error = (100 * np.array(row["answer"][part]) for part in ("mean", "stderr"))  # (A, K + 2)
        number = mean.shape[1] - 2
        for head, (own, errors) in enumerate(zip(mean, error, strict=True), 1):
            mark = "os^DvPX"[(head - 1) % 7]
            axes.errorbar(range(number + 2), own, yerr=errors, marker=mark, label=f"head {head}" if len(mean) <= 8 else None)
        axes.set_xticks(range(number + 2), ["question", *map(str, range(1, number + 1)), "rest"], rotation=60)
        latents = mean[:, 1:-1]
        axes.set_title(
            f"Layer {row['layer']}: {latents.sum(1).mean():.0f} % to latents, most to latent {latents.mean(0).argmax() + 1}"
        )
        axes.set(xlabel="what the answer attends to", ylim=(-3, 103))
    figure.axes[0].set_ylabel("attention of the answer (%)")
    if len(mean) <= 8:
        figure.axes[0].legend(fontsize=7)


def draw_question(result: dict, figure) -> None:
    """Draw every latent's attention to the question's tokens, heads averaged: a panel a layer."""
    layers = result["layers"]
    figure.set_size_inches(min(4.5 * len(layers), 40), 3.6)
    for row, axes in zip(layers, figure.subplots(1, len(layers), squeeze=False)[0], strict=True):
        mean = 100 * np.array(row["question"]["mean"]).mean(0)  # (K, Q)
        image = axes.imshow(mean, aspect="auto", cmap="cividis", vmin=0)
        axes.set_title(
            f"Layer {row['layer']}: latents look most at tokens {', '.join(str(one + 1) for one in mean.argmax(1)[:8])}"
        )
        axes.set(xlabel="question token", ylabel="latent", yticks=range(len(mean)))
        axes.set_xticks(range(0, mean.shape[1], max(1, mean.shape[1] // 10)))
        axes.set_xticklabels([str(tick + 1) for tick in range(0, mean.shape[1], max(1, mean.shape[1] // 10))])
        axes.set_yticklabels(range(1, len(mean) + 1))
        figure.colorbar(image, ax=axes, label="attention (%), heads averaged")

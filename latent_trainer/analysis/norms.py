"""How long latents are, beside the embeddings, and how far each lies from the one before."""

import numpy as np

from latent_trainer.evaluation.statistics import mean_and_error


def measure(subject) -> dict:
    """Return norm and drift by latent: the distance and the cosine to the latent before.

    Args:
        subject: see `latent_trainer.analysis.Subject`.
    """
    latents = subject.traces.read("latents").astype(np.float64)  # (N, K, H)
    norms = np.linalg.norm(latents, axis=-1)  # (N, K)
    table = subject.model.get_input_embeddings().weight.detach().float().cpu().numpy()
    rows = []
    for number in range(latents.shape[1]):
        norm, error = mean_and_error(norms[:, number])
        row = {"latent": number + 1, "norm": norm, "norm_stderr": error}
        if number:
            now, before = latents[:, number], latents[:, number - 1]
            row["drift"], row["drift_stderr"] = mean_and_error(np.linalg.norm(now - before, axis=1))
            cosines = (now * before).sum(1) / np.maximum(norms[:, number] * norms[:, number - 1], 1e-12)
            row["cosine"], row["cosine_stderr"] = mean_and_error(cosines)
        rows.append(row)
    return {"problems": len(latents), "latents": rows, "embedding_norm": float(np.linalg.norm(table, axis=1).mean())}


def draw(result: dict, figure) -> None:
    """Draw norm and drift over latents, with the embeddings' mean norm."""
    axes = figure.subplots()
    for name, mark, label in (("norm", "o", "length"), ("drift", "s", "distance to the latent before")):
        rows = [row for row in result["latents"] if name in row]
        if rows:
            means, errors = ([row[key] for row in rows] for key in (name, f"{name}_stderr"))
            axes.errorbar([row["latent"] for row in rows], means, yerr=errors, marker=mark, label=label)
    axes.axhline(result["embedding_norm"], color="0.4", linestyle="--", label="mean length of an embedding")
    ratio = np.mean([row["norm"] for row in result["latents"]]) / result["embedding_norm"]
    axes.set_title(f"Latents are {ratio:.2f} times as long as embeddings")
    axes.set(xlabel="latent", ylabel="Euclidean length (units of the embedding space)", ylim=(0, None))
    axes.legend()

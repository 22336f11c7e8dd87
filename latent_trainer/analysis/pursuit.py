"""A latent as a sum of few vocabulary vectors: orthogonal matching pursuit over the embedding and the output matrix."""

import numpy as np

from latent_trainer.evaluation.statistics import mean_and_error

ATOMS = 5
EXAMPLES = 3


def pursue(vectors: np.ndarray, table: np.ndarray, atoms: int) -> np.ndarray:
    """Return the coefficients (n, V) of vectors (n, H) over the unit rows of a table (V, H), ``atoms`` of them not zero.

    Source: Pati, Rezaiifar & Krishnaprasad 1993; scikit-learn's ``orthogonal_mp``.
    """
    from sklearn.linear_model import orthogonal_mp  # of the extra "analysis"

    found = orthogonal_mp(unit(table).T, vectors.T.astype(np.float64), n_nonzero_coefs=atoms, precompute=False)
    return found.reshape(len(table), len(vectors)).T


def unit(table: np.ndarray) -> np.ndarray:
    """Return the rows of a table (V, H) at length one, in float64; a row of zeros stays as it is."""
    table = table.astype(np.float64)
    return table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)


def measure(subject) -> dict:
    """Return, by latent and number of atoms, the share of a latent's squared length that few vocabulary vectors make up.

    The first atom is also compared with the value of the step. At most ``subject.most`` problems are looked at.

    Args:
        subject: see `latent_trainer.analysis.Subject`.
    """
    latents = subject.traces.read("latents", most=subject.most)  # (n, K, H)
    tables = {
        "embedding": subject.model.get_input_embeddings().weight,
        "output": subject.model.get_output_embeddings().weight,
    }
    if tables["output"] is tables["embedding"]:
        del tables["output"]
    values = subject.values[: len(latents)]
    return {"problems": len(latents)} | {
        name: _over(latents, table.detach().float().cpu().numpy(), values, subject.tokenizer)
        for name, table in tables.items()
    }


def _over(latents: np.ndarray, table: np.ndarray, values: list, tokenizer) -> dict:
    rows, examples = [], []
    table64 = unit(table)
    for number in range(latents.shape[1]):
        own = latents[:, number].astype(np.float64)  # (n, H)
        explained = []
        for atoms in range(1, ATOMS + 1):
            coefficients = pursue(own, table, atoms)  # (n, V)
            left = ((own - coefficients @ table64) ** 2).sum(1) / (own**2).sum(1)
            share, error = mean_and_error(1 - left)
            explained.append({"atoms": atoms, "explained": share, "explained_stderr": error})
            if atoms == 1:
                first = np.abs(coefficients).argmax(1)
        texts = [tokenizer.decode([token]).strip() for token in first.tolist()]
        pairs = [(text, row[number]) for text, row in zip(texts, values, strict=True) if row[number]]
        row = {"latent": number + 1, "explained": explained}
        if pairs:
            row["first_is_value"], row["first_is_value_stderr"] = mean_and_error([text == value for text, value in pairs])
        rows.append(row)
        for one in coefficients[:EXAMPLES]:
            chosen = np.abs(one).argsort()[::-1][:ATOMS]
            atoms = [(tokenizer.convert_ids_to_tokens(int(token)), float(one[token])) for token in chosen if one[token]]
            examples.append({"latent": number + 1, "atoms": atoms})
    return {"latents": rows, "examples": examples}


def draw(result: dict, figure) -> None:
    """Draw the explained share over the number of atoms, a line a latent, a panel a table."""
    names = [name for name in ("embedding", "output") if name in result]
    figure.set_size_inches(5.5 * len(names), 4)
    for name, axes in zip(names, figure.subplots(1, len(names), squeeze=False)[0], strict=True):
        for row in result[name]["latents"]:
            atoms, share, error = zip(*(one.values() for one in row["explained"]), strict=True)
            shares, errors = ([100 * one for one in own] for own in (share, error))
            axes.errorbar(atoms, shares, yerr=errors, marker="o", label=f"latent {row['latent']}")
        one = np.mean([row["explained"][0]["explained"] for row in result[name]["latents"]])
        axes.set_title(f"One {name} row makes up {100 * one:.0f} % of a latent's squared length")
        axes.set(xlabel="vocabulary vectors (atoms)", ylabel="squared length made up (%)", ylim=(-3, 103))
        axes.set_xticks(range(1, ATOMS + 1))
        axes.legend()

"""What the library computes, written as plainly as possible: one row, no cache, no padding, everything computed anew."""

import torch


def same(hidden):
    """Feed the hidden state back as it is."""
    return hidden


def latent_columns(ids, latent=97, bot=98, eot=99) -> list[int]:
    """Return where a row thinks: at the latent tokens outside every closed thought."""
    columns, is_open = [], True
    for column, token in enumerate(ids):
        is_open = token == bot or (is_open and token != eot)
        if token == latent and is_open:
            columns.append(column)
    return columns


def naive_embeds(base, ids, columns, feedback=same, window="full"):
    """Return input embeddings (1, T, H) with every latent filled in; gradient flows through the last ``window`` of them."""
    kept = {"full": len(columns), "last": 1, "none": 0}.get(window, window)
    embeds = base.get_input_embeddings()(torch.tensor([ids]))
    for left, column in zip(range(len(columns), 0, -1), columns, strict=True):
        latent = feedback(base.base_model(inputs_embeds=embeds[:, :column], use_cache=False).last_hidden_state[:, -1])
        latent = latent if left <= kept else latent.detach()
        embeds = torch.cat([embeds[:, :column], latent[:, None], embeds[:, column + 1 :]], 1)
    return embeds


def naive_logits(base, ids, feedback=same, window="full", columns=None):
    """Return the logits (T, V) of a row."""
    columns = latent_columns(ids) if columns is None else columns
    return base(inputs_embeds=naive_embeds(base, ids, columns, feedback, window), use_cache=False).logits[0]


def naive_loss(base, rows, labels, feedback=same, window="full", columns=None):
    """Return the sum of the cross-entropies of all labelled tokens of all rows."""
    total = 0.0
    for ids, label in zip(rows, labels, strict=True):
        label = torch.tensor(label)[1:]
        logits = naive_logits(base, ids, feedback, window, columns)[:-1]
        total += torch.nn.functional.cross_entropy(logits, label, ignore_index=-100, reduction="sum")
    return total


@torch.no_grad()
def naive_greedy(base, ids, new_tokens, feedback=same, never=(97, 98), eos=0, columns=None) -> list[int]:
    """Return the greedy continuation of a row, its end-of-text token included."""
    written = []
    while len(written) < new_tokens and eos not in written:
        logits = naive_logits(base, ids + written, feedback, columns=columns)[-1]
        logits[list(never)] = -torch.inf
        written.append(logits.argmax().item())
    return written


def gradients(model, loss) -> dict[str, torch.Tensor]:
    """Return the gradient of ``loss`` by parameter name, zeros where there is none."""
    model.zero_grad()
    loss.backward()
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        for name, parameter in model.named_parameters()
    }


def taught_by_labels(name: str) -> bool:
    """Return whether the loss of labels reaches a weight: how sure the gaussian feedback is, its objective alone teaches."""
    return ".log_std." not in name


def assert_close(found, expected, atol=1e-10):
    """Assert that two tensors, or two dictionaries of them, agree to ``atol``."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            torch.testing.assert_close(
                found[name], expected[name], rtol=0, atol=atol, msg=lambda text, n=name: f"{n}: {text}"
            )
    else:
        torch.testing.assert_close(found, expected, rtol=0, atol=atol)

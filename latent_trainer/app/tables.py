"""The page's tables: the lens as a heat map, and the tokens each latent is nearest to."""

from html import escape

from latent_trainer.app.thinker import Reading, Token

STYLE = """
.latents {margin: 0}
.latents div {overflow-x: auto; max-width: 100%}
.latents table {border-collapse: collapse; font-size: 14px}
.latents th, .latents td {padding: 4px 8px; text-align: left; white-space: nowrap; border: 1px solid #8885}
.latents figcaption {padding: 4px 0}
"""
HEAT = "30, 110, 220"  # the red, green and blue of a cell that is sure of its token


def heat_map(reading: Reading) -> str:
    """Return the lens as an HTML table: a row a layer, the last on top, a column a latent, darker where surer."""
    rows = [
        (f"layer {layer}" if layer else "embeddings", [_heated(token) for token in tokens])
        for layer, tokens in reversed(list(enumerate(reading.lens)))
    ]
    caption = "The token that each layer would write at the column a latent is thought from; darker where it is surer"
    return _table(caption, "layer", _columns(reading), rows)


def nearest(reading: Reading) -> str:
    """Return the tokens whose embeddings are nearest to every latent, with their cosines, as an HTML table."""
    places = range(max(map(len, reading.nearest), default=0))
    rows = [
        (str(place + 1), [f"<td>{_shown(row[place][0])} {row[place][1]:.2f}</td>" for row in reading.nearest])
        for place in places
    ]
    return _table("The tokens whose embeddings are nearest to each latent, with their cosines", "", _columns(reading), rows)


def _columns(reading: Reading) -> list[str]:
    return [f"latent {number + 1}" for number in range(len(reading.nearest))]


def _heated(token: Token) -> str:
    word, chance = token
    ink = "#fff" if chance > 0.6 else "inherit"
    style = f"background: rgba({HEAT}, {chance:.2f}); color: {ink}"
    return f'<td style="{style}" title="probability {chance:.3f}">{_shown(word)}</td>'


def _shown(word: str) -> str:
    return escape(word.strip() or repr(word))


def _table(caption: str, corner: str, columns: list[str], rows: list[tuple[str, list[str]]]) -> str:
    if not columns:
        return "<p>No latents: there is nothing to see.</p>"
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    body = "".join(f'<tr><th scope="row">{name}</th>{"".join(cells)}</tr>' for name, cells in rows)
    return (
        f'<figure class="latents"><figcaption>{caption}</figcaption><div tabindex="0" role="region" aria-label="{caption}">'
        f'<table><thead><tr><th scope="col">{corner}</th>{head}</tr></thead><tbody>{body}</tbody></table></div></figure>'
    )

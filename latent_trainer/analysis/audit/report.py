"""The page of an audit: one HTML file that needs nothing but itself, and can be read on a phone."""

from html import escape

from latent_trainer.analysis.audit.charts import Chart
from latent_trainer.analysis.audit.drawings import draw
from latent_trainer.analysis.audit.verdicts import QUESTIONS

POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # a browser that reads it loads nothing, whatever a text holds
GENERATOR = "latent-trainer audit"  # by which an earlier page is known
STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --soft: #eef0f2;
  --yes: #00674d; --no: #a33f00; --open: #5a5a5a }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececec; --paper: #16181a; --soft: #24282c; --yes: #4fd1ab; --no: #ff9d5c; --open: #b5b5b5 }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.5rem; line-height: 1.2 } h2 { font-size: 1.2rem; margin-top: 2rem } h3 { font-size: 1rem; margin: 0 }
.cards, .charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)) }
.card { background: var(--soft); border-radius: .5rem; padding: .8rem }
.card p { margin: .3rem 0 0 } .verdict { font-weight: 700; font-size: 1.2rem }
.yes { color: var(--yes) } .no { color: var(--no) } .undecided { color: var(--open) }
figure { margin: 0; min-width: 0 } figure svg { display: block; width: 100%; height: auto; max-width: 28rem }
figcaption { font-weight: 600; margin-bottom: .4rem }
details { margin-top: .4rem } summary { cursor: pointer; padding: .4rem 0 }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: .85rem }
th, td { text-align: left; padding: .2rem .6rem .2rem 0; white-space: nowrap; overflow-wrap: normal }
tr + tr td { border-top: 1px solid var(--soft) }
"""


def figures(record: dict) -> dict[str, Chart]:
    """Return the charts of a record by name.

    Args:
        record: of ``latent-trainer audit``.
    """
    return {chart.name: chart for chart in draw(record)}


def page(record: dict) -> str:
    """Return the page of a record as HTML, without scripts and without references to anything outside it.

    Args:
        record: of ``latent-trainer audit``.
    """
    config = record["config"]
    title = f"Audit of {config['model']} on {config['dataset']}"
    cards = "".join(_card(name, record["verdicts"][name]) for name in QUESTIONS)
    drawn = "".join(_figure(chart) for chart in figures(record).values())
    missing = "".join(f"<li><b>{escape(part)}</b>: {escape(why)}</li>" for part, why in sorted(record["missing"].items()))
    left_out = f"<h2>Not measured</h2><ul>{missing}</ul>" if missing else ""
    facts = {
        "problems": record["problems"],
        "split": config["split"],
        "latents per prompt": record["num_latents"],
        "seconds": record["seconds"],
        "device": record["device"],
        "date": record["date"],
        **{f"version of {name}": version for name, version in sorted(record["versions"].items())},
        "data hash": record["data_hash"][:16],
        **{f"setting {name}": value for name, value in sorted(config.items()) if value not in (None, [], "")},
    }
    rows = [[str(name), str(value)] for name, value in facts.items()]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="generator" content="{GENERATOR}"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{escape(title)}</h1><p>{record['problems']} problems, {record['num_latents']} latents per prompt. "
        "Do the latents do anything? Each verdict says what it was decided by; the numbers of every figure are below it.</p>"
        f'<h2>Verdicts</h2><div class="cards">{cards}</div>{left_out}'
        f'<h2>Figures</h2><p>Whiskers and ranges are 95 % intervals.</p><div class="charts">{drawn}</div>'
        f"<h2>How it was measured</h2><details><summary>Settings and versions</summary>{_table(['', ''], rows)}</details>"
        "</main></body></html>\n"
    )


def _card(name: str, one: dict) -> str:
    verdict = one["verdict"]
    return (
        f'<section class="card"><h3>{escape(QUESTIONS[name])}</h3>'
        f'<p><span class="verdict {verdict}">{verdict}</span> ({escape(name)})</p><p>{escape(one["why"])}</p></section>'
    )


def _figure(chart: Chart) -> str:
    return (
        f'<figure id="{chart.name}"><figcaption>{escape(chart.title)}</figcaption>{chart.svg}'
        f"<details><summary>Numbers</summary>{_table(chart.headings, chart.rows)}</details></figure>"
    )


def _table(headings: list[str], rows: list[list[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(one)}</th>' for one in headings)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'

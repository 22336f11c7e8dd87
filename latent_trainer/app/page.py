"""The page itself: Gradio draws it, a `Thinker` answers."""

from collections.abc import Callable

import gradio as gr

from latent_trainer.app.tables import STYLE, heat_map, nearest
from latent_trainer.app.thinker import Reading, Thinker
from latent_trainer.errors import InputError

LOOK = {  # for ``launch``; no font is loaded from elsewhere
    "theme": gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
    "css": STYLE,
    "ssr_mode": False,
}
ALL = "all"


def page(thinker: Thinker, name: str) -> gr.Blocks:
    """Return the page: answer, heat map, nearest tokens, decoded steps, and latents swapped with another problem's.

    Args:
        thinker: who answers.
        name: what the model is called.
    """
    longest = max(16, 2 * thinker.most)
    with gr.Blocks(title=f"Thoughts of {name}", analytics_enabled=False) as blocks:
        gr.Markdown(f"# Thoughts of {name}")
        question = gr.Textbox(label="Question", lines=2)
        number = gr.Slider(0, longest, value=thinker.most, step=1, label="Latents")
        asked = gr.Button("Answer", variant="primary")
        shown = _outputs("Answer")
        gr.on([asked.click, question.submit], _answer(thinker), [question, number], shown)
        if not thinker.opens:  # a thought that ends itself has no length that another one could be put into
            with gr.Accordion("Swap this latent with that problem's", open=False):
                donor = gr.Textbox(label="The other question", lines=2)
                which = gr.Dropdown([ALL, *map(str, range(1, longest + 1))], value=ALL, label="Latent")
                swap = gr.Button("Answer with its latent")
                swapped = [gr.Textbox(label="The other question's answer"), *_outputs("Answer with the other latents")]
            swap.click(_swap(thinker), [question, number, donor, which], swapped)
    return blocks


def _outputs(label: str) -> list:
    return [gr.Textbox(label=label), gr.Textbox(label="Decoded steps"), gr.HTML(), gr.HTML()]


def _shown(reading: Reading) -> tuple[str, str, str, str]:
    steps = "\n".join(reading.steps) or "The model has no step decoder."
    return reading.answer, steps, heat_map(reading), nearest(reading)


def _ask(thinker: Thinker, question: str, number: int, **options) -> Reading:
    """Return the reading of a question; what cannot be answered is said on the page."""
    if not question.strip():
        raise gr.Error("The question is empty; write one.", print_exception=False)
    try:
        return thinker.answer([{"role": "user", "content": question.strip()}], int(number), **options)
    except InputError as error:
        raise gr.Error(str(error), print_exception=False) from None


def _answer(thinker: Thinker) -> Callable:
    def answer(question: str, number: int):
        return _shown(_ask(thinker, question, number))

    return answer


def _swap(thinker: Thinker) -> Callable:
    def swap(question: str, number: int, donor: str, which: str):
        other = _ask(thinker, donor, number)
        latents = _ask(thinker, question, number).latents.clone()  # (K, H)
        if which != ALL and int(which) > len(latents):
            raise gr.Error(f"There is no latent {which} among {len(latents)}; choose another.", print_exception=False)
        chosen = slice(None) if which == ALL else slice(int(which) - 1, int(which))
        latents[chosen] = other.latents[chosen]
        return other.answer, *_shown(_ask(thinker, question, number, latents=latents if len(latents) else None))

    return swap

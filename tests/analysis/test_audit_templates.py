"""The audit under other templates: markers, a factor that is told, thoughts a model ends itself; it leaves no trace."""

import logging

import pytest
import torch
import transformers
from conftest import make_base, sharpen
from training import make_tokenizer, uneven_problems

from latent_trainer import LatentForCausalLM, encode_prompts
from latent_trainer.analysis.audit import arms, counterfactual, parts
from latent_trainer.analysis.audit.battery import FORCED, FREE, Battery
from latent_trainer.data import resolve_template
from latent_trainer.evaluation.evaluator import Evaluator
from latent_trainer.evaluation.generation import generate_answers

K = 3
TEMPLATES = {
    "markers": resolve_template("coconut"),
    "no markers": resolve_template("coconut", markers=False),
    "steps inside": resolve_template("coconut", remaining_steps="inside"),
    "a factor": resolve_template("coconut", speed="<speed {compression}> ", compression=2),
    "ends itself": resolve_template("coconut", remaining_steps="inside"),
}


def audited(name: str) -> Battery:
    """Return the battery of a small model with a template."""
    tokenizer = make_tokenizer()
    base = make_base("llama", vocab_size=len(tokenizer), dtype=torch.float64)
    model = sharpen(LatentForCausalLM.from_base(base, tokenizer=tokenizer)).eval()
    model.config.template, model.config.num_latents = TEMPLATES[name].to_dict(), K
    model.config.open_thought = name == "ends itself"
    return Battery(Evaluator(model, tokenizer, uneven_problems(7), K, K, batch_size=4, max_new_tokens=5))


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_is_read_is_what_generation_reads(name):
    """Latents are those of the prompts that answers are written after, and every arm answers as it does alone."""
    own = audited(name)
    batch = encode_prompts([one.question for one in own.problems], own.tokenizer, K, own.model.config.template)
    with torch.no_grad():
        filled = own.model.run(batch["input_ids"], batch["attention_mask"]).latents
    expected = filled[batch["input_ids"] == own.model.config.latent_token_id].view(7, K, -1)
    torch.testing.assert_close(own.thoughts.latents, expected)
    arms.measure(own)
    for arm in arms.arms(own):
        for mode in (FREE, FORCED):
            given = None if arm.make is None else arm.make()
            size = {"batch_size": 3, "max_new_tokens": own.new_tokens(mode), "latents": given}
            size["numbers"] = [arm.num_latents] * 7
            alone = generate_answers(own.model, own.tokenizer, own.problems, arm.num_latents, own.templates[mode], **size)
            answers = own.answers(f"{mode}/{arm.name}")
            assert [one.text for one in answers] == [one.text for one in alone], (mode, arm.name)
            assert {one.latents for one in answers} == {arm.num_latents}


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_part_runs(name):
    said: list[str] = []
    own = audited(name)
    record = parts.audit(own, list(parts.PARTS), None, most=5, say=said.append)
    assert record["steps"]["problems"] == record["geometry"]["problems"] == 5
    assert [line.split(":")[0] for line in said] == ["counterfactual", "correctness"]
    apart = TEMPLATES[name].markers  # something stands between the thought and the answer, so that values can be swapped
    assert (counterfactual.values_fault(own) is None) == apart or name == "no markers"


def test_a_model_is_left_as_it_was(caplog, monkeypatch):
    """An audit asks for shorter thoughts on purpose and says nothing; whoever asks for them afterwards is told."""
    monkeypatch.setattr(transformers.utils.logging.get_logger("latent_trainer"), "propagate", True)
    transformers.utils.logging.warning_once.cache_clear()
    caplog.set_level(logging.WARNING)
    own = audited("markers")
    arms.measure(own)
    assert "latents are asked" not in caplog.text
    own.model.generate(**encode_prompts(["1 2"], own.tokenizer, 1, own.model.config.template), max_new_tokens=1)
    assert "1 latents are asked of a model that was trained with 3" in caplog.text

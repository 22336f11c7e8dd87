"""Every feedback through one contract, then each against its formula."""

import pytest
import torch
from accelerate import cpu_offload, disk_offload
from conftest import make_base, make_latent, sharpen
from peft import LoraConfig
from reference import assert_close, gradients, latent_columns, naive_logits, naive_loss

from latent_trainer import LatentForCausalLM
from latent_trainer.data.encoding import pad_rows
from latent_trainer.errors import InputError
from latent_trainer.methods.feedback import FEEDBACKS
from latent_trainer.model.adapters import add_adapters, latent_model

CASES = {
    "gaussian": {},
    "gaussian small": {"size": 8, "embeds_std": 0.1},
    "hidden": {},
    "hidden norm": {"norm": 2.5},
    "hidden embedding": {"norm": "embedding"},
    "learned": {},
    "projection": {},
    "projection small": {"size": 8, "layer_norm": False},
    "fused": {},
    "gated": {},
    "gated wide": {"least": 0.2, "temperature": 0.7},
    "fused learned": {"learned": True, "weight": 0.3, "norm": "embedding", "top_k": 7},
    "soft": {},
    "soft sharp": {"temperature": 0.3, "top_k": 5},
}
SEQUENTIAL = [case for case in CASES if case != "learned"]
ROWS = [[5, 6, 98, 97, 97, 99, 7, 8], [9, 10, 11, 12, 98, 97, 99, 13]]
LABELS = [[-100] * 6 + row[6:] if row[5] == 99 else [-100] * 7 + row[7:] for row in ROWS]


def make(case, architecture="gpt2", **options) -> LatentForCausalLM:
    options = {"feedback": case.split()[0], "feedback_options": CASES[case], **options}
    return sharpen(make_latent(architecture, **options))


def test_every_feedback_has_a_case():
    assert {case.split()[0] for case in CASES} == set(FEEDBACKS)


@pytest.mark.parametrize("case", CASES)
def test_contract(case):
    """Built from a size and its options; says whether it is sequential; is described with its source."""
    name = case.split()[0]
    feedback = FEEDBACKS[name](32, **CASES[case])
    assert isinstance(feedback, torch.nn.Module) and isinstance(feedback.sequential, bool)
    assert "Source:" in type(feedback).__doc__ and "hidden_size: H" in type(feedback).__doc__


@pytest.mark.parametrize("case", SEQUENTIAL)
def test_shape_precision_and_gradient(case):
    """(B, H) to (B, H) in the model's precision, row by row, with a gradient into the hidden state."""
    model = make(case)
    hidden = torch.randn(3, 32, dtype=torch.float64, requires_grad=True)
    latent = model._next_embedding(hidden)
    assert latent.shape == (3, 32) and latent.dtype == torch.float64
    for row in range(3):
        assert_close(latent[row], model._next_embedding(hidden[row : row + 1])[0])
    (gradient,) = torch.autograd.grad(latent[1].pow(3).sum(), hidden)
    assert gradient[1].any() and not gradient[[0, 2]].any()
    assert make(case, dtype=torch.bfloat16)._next_embedding(hidden.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_equal_full_recomputation(case):
    """Padding and company are covered by `test_padding`; here every feedback and its options against the naive loop."""
    model = make(case).train()
    columns = [] if case == "learned" else None
    loss = model(**pad_rows(ROWS, 0, left=False), labels=pad_rows(LABELS, -100, left=False)["input_ids"]).loss
    naive = naive_loss(model.base, ROWS, LABELS, model._next_embedding, columns=columns) / 3
    assert_close(loss, naive)
    assert_close(gradients(model, loss), gradients(model, naive))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("case", CASES)
def test_autocast(case, dtype):
    """Under autocast the head's logits are of another type than the hidden states; the loss is that of whole precision."""
    model = make(case, dtype=torch.float32).train()
    rows = {**pad_rows(ROWS, 0, left=False), "labels": pad_rows(LABELS, -100, left=False)["input_ids"]}
    expected = model(**rows).loss
    with torch.autocast("cpu", dtype):
        loss = model(**rows).loss
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=0.05)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("case", CASES)
def test_save_and_load_inside_a_model(case, tmp_path):
    model = make(case, "llama").eval()
    model.save_pretrained(tmp_path)
    loaded = LatentForCausalLM.from_pretrained(tmp_path)
    assert loaded.config.feedback_options == CASES[case] and type(loaded.feedback) is type(model.feedback)
    for found, expected in zip(loaded.feedback.parameters(), model.feedback.parameters(), strict=True):
        assert torch.equal(found, expected)
    batch = pad_rows(ROWS, 0, left=False)
    assert torch.equal(loaded(**batch).logits, model(**batch).logits)


@pytest.mark.parametrize("case", CASES)
def test_logits_of_a_padded_row(case):
    model = make(case, "llama").eval()
    columns = [] if case == "learned" else None
    for left in (False, True):
        batch = pad_rows([[*ROWS[1], 14, 15, 16], ROWS[0]], 33, left)
        logits = model(**batch).logits[1][batch["attention_mask"][1].bool()]
        assert_close(logits, naive_logits(model.base, ROWS[0], model._next_embedding, columns=columns))


def test_feedbacks_differ():
    """No two cases compute the same thing."""
    rows = pad_rows(ROWS, 0, left=False)
    logits = [make(case).eval()(**rows).logits[0, -1] for case in CASES]
    for index, one in enumerate(logits):
        assert not any(torch.allclose(one, other) for other in logits[index + 1 :])


def test_hidden_is_the_hidden_state_itself():
    model = make("hidden")
    hidden = torch.randn(2, 32, dtype=torch.float64)
    assert model._next_embedding(hidden) is hidden


def test_hidden_at_a_given_norm():
    hidden = torch.randn(4, 32, dtype=torch.float64)
    latent = make("hidden norm")._next_embedding(hidden)
    assert_close(latent.norm(dim=-1), torch.full((4,), 2.5, dtype=torch.float64))
    assert_close(torch.nn.functional.cosine_similarity(latent, hidden), torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma"])
@pytest.mark.parametrize("adapted", [False, True])
def test_hidden_at_the_norm_of_an_embedding(architecture, adapted):
    """The length of what the embedding returns, Gemma's scale included, as it is now."""
    model = make("hidden embedding", architecture)
    if adapted:
        model = latent_model(add_adapters(model, LoraConfig(r=2)))
    hidden = torch.randn(4, 32, dtype=torch.float64)
    for _ in range(2):
        expected = model.get_input_embeddings()(torch.arange(100)).norm(dim=-1).mean()
        assert_close(model._next_embedding(hidden).norm(dim=-1), expected.expand(4))
        with torch.no_grad():
            model.get_input_embeddings().weight.mul_(1.5)


def test_hidden_refuses_a_norm_that_is_none():
    for norm in (0, -1.0, "token"):
        with pytest.raises(ValueError, match="norm"):
            FEEDBACKS["hidden"](32, norm=norm)


def test_learned_leaves_the_placeholder_in_place():
    """The whole row is an ordinary row of tokens, and the placeholder's embedding is what learns."""
    model = make("learned", "llama").train()
    row = torch.tensor(ROWS[:1])
    assert_close(model(input_ids=row).logits, model.base(input_ids=row).logits)
    model(input_ids=row, labels=torch.tensor(LABELS[:1])).loss.backward()
    assert model.get_input_embeddings().weight.grad[97].any()
    with pytest.raises(RuntimeError, match="no latents"):
        model.feedback(torch.zeros(1, 32), None, None)


@pytest.mark.parametrize("case", SEQUENTIAL)
def test_the_placeholder_of_a_latent_is_never_read(case):
    model = make(case, "llama").train()
    model(**pad_rows(ROWS, 0, left=False), labels=pad_rows(LABELS, -100, left=False)["input_ids"]).loss.backward()
    gradient = model.get_input_embeddings().weight.grad
    assert gradient[98].any() and not gradient[97].any()


@pytest.mark.parametrize("layer_norm", [True, False])
def test_projection_formula(layer_norm):
    torch.manual_seed(0)
    feedback = FEEDBACKS["projection"](8, size=5, dropout=0.5, layer_norm=layer_norm).double().eval()
    hidden = torch.randn(3, 8, dtype=torch.float64)
    first, second = (layer for layer in feedback.projection if isinstance(layer, torch.nn.Linear))
    inner = hidden @ first.weight.T + first.bias
    outer = torch.nn.functional.gelu(inner) @ second.weight.T + second.bias
    if layer_norm:
        norm = feedback.projection[-1]
        centred = outer - outer.mean(-1, keepdim=True)
        outer = centred / (centred.pow(2).mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias
    assert first.weight.shape == (5, 8)
    assert_close(feedback(hidden, None, None), outer)
    assert not torch.allclose(feedback.train()(hidden, None, None), outer)  # dropout


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("top_k", [None, 1, 7])
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma"])
def test_soft_formula(architecture, top_k, temperature):
    """The expected embedding of the next token over the tokens a model may write, one sum written out a row."""
    options = {"temperature": temperature} | ({} if top_k is None else {"top_k": top_k})
    model = sharpen(make_latent(architecture, feedback="soft", feedback_options=options))
    hidden = torch.randn(3, 32, dtype=torch.float64)
    for row, latent in zip(hidden, model._next_embedding(hidden), strict=True):
        scores = model.get_output_embeddings()(row)
        tokens = sorted((token for token in range(100) if token not in (97, 98)), key=lambda token: -scores[token].item())
        tokens = torch.tensor(tokens[:top_k])
        weights = (scores[tokens] / temperature).exp()
        embeddings = model.get_input_embeddings()(tokens)
        assert_close(latent, (weights[:, None] * embeddings).sum(0) / weights.sum())


@pytest.mark.parametrize("top_k", [None, 3])
def test_soft_never_mixes_in_thought_tokens(top_k):
    """Even where the head prefers them, the latent is the same; <|eot|> is written by a model and so it is mixed in."""
    model = sharpen(make_latent("llama", feedback="soft", feedback_options={"top_k": top_k}))
    hidden = torch.randn(1, 32, dtype=torch.float64)
    before = model._next_embedding(hidden)
    with torch.no_grad():
        model.get_output_embeddings().weight[97:99] = 50 * hidden
        model.get_input_embeddings().weight[97:99] = 1e6
    assert_close(model._next_embedding(hidden), before)
    with torch.no_grad():
        model.get_output_embeddings().weight[99] = 50 * hidden
    assert_close(model._next_embedding(hidden)[0], model.get_input_embeddings().weight[99])


@pytest.mark.parametrize(
    "options", [{}, {"weight": 0.2, "norm": "embedding"}, {"learned": True, "temperature": 2.0, "norm": 1.5}]
)
def test_fused_formula(options):
    """A share of the hidden state and a share of the expected embedding, written out; a learned share has a gradient."""
    model = sharpen(make_latent("llama", feedback="fused", feedback_options=options))
    hidden = torch.randn(3, 32, dtype=torch.float64)
    table = model.get_input_embeddings().weight
    length = {None: None, "embedding": table.norm(dim=-1).mean()}.get(options.get("norm"), options.get("norm"))
    share = options.get("weight", 0.5)
    scores = model.get_output_embeddings()(hidden) / options.get("temperature", 1.0)
    scores[:, 97:99] = -torch.inf
    carried = hidden if length is None else length * hidden / hidden.norm(dim=-1, keepdim=True)
    latents = model._next_embedding(hidden)
    assert_close(latents, share * carried + (1 - share) * scores.softmax(-1) @ table)
    if "learned" in options:
        (gradient,) = torch.autograd.grad(latents.sum(), model.feedback.bias)
        assert_close(gradient, 0.25 * (carried - scores.softmax(-1) @ table).sum())  # of the sigmoid at 0


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_fused_at_its_ends(weight):
    """All of one is that one; a share that is to be learned cannot start there."""
    hidden = torch.randn(2, 32, dtype=torch.float64)
    fused = sharpen(make_latent("llama", feedback="fused", feedback_options={"weight": weight}))
    other = sharpen(make_latent("llama", feedback="hidden" if weight else "soft"))
    assert_close(fused._next_embedding(hidden), other._next_embedding(hidden))
    with pytest.raises(InputError, match="never moves"):
        FEEDBACKS["fused"](32, weight=weight, learned=True)


def test_soft_reaches_the_likeliest_token_as_it_cools():
    model = sharpen(make_latent("llama", feedback="soft", feedback_options={"temperature": 1e-4}))
    hidden = torch.randn(2, 32, dtype=torch.float64)
    scores = model.get_output_embeddings()(hidden)
    scores[:, 97:99] = -torch.inf
    assert_close(model._next_embedding(hidden), model.get_input_embeddings()(scores.argmax(-1)))


def test_soft_refuses_a_temperature_of_zero():
    with pytest.raises(ValueError, match="temperature=0"):
        FEEDBACKS["soft"](32, temperature=0)


def test_configure_keeps_a_feedback_that_is_in_place():
    """A method's settings replace a feedback only where they differ from it."""
    model = make("projection small")
    feedback = model.feedback
    model.configure("projection", None, "sequential", "last")
    assert model.feedback is feedback and model.config.backprop == "last"
    model.configure("projection", CASES["projection small"], "sequential", "full")
    assert model.feedback is feedback
    model.configure("projection", {"size": 4}, "sequential", "full")
    assert model.feedback is not feedback and model.config.feedback_options == {"size": 4}
    assert {parameter.dtype for parameter in model.feedback.parameters()} == {torch.float64}
    model.configure("soft", None, "sequential", "full")
    assert type(model.feedback) is FEEDBACKS["soft"] and model.config.feedback_options == {}
    assert latent_columns(ROWS[0]) == [3, 4] and model(input_ids=torch.tensor(ROWS[:1])).logits.isfinite().all()


def test_feedback_takes_the_precision_of_its_base():
    base = make_base("llama", dtype=torch.bfloat16)
    ids = {"latent_token_id": 97, "bot_token_id": 98, "eot_token_id": 99}
    model = LatentForCausalLM.from_base(base, **ids, feedback="projection")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model(input_ids=torch.tensor(ROWS[:1])).logits.dtype == torch.bfloat16


@pytest.mark.parametrize("place", ["cpu_offload", "disk_offload", "device_map"])
@pytest.mark.parametrize("feedback", ["hidden", "embedding norm", "soft"])
@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")  # how accelerate reads what it keeps on the disk
def test_weights_that_accelerate_keeps_elsewhere(tmp_path, feedback, place):
    """A feedback reads an embedding whose table has no data until it is used."""
    options = {"feedback_options": {"norm": "embedding"}} if feedback == "embedding norm" else {}
    kind = "soft" if feedback == "soft" else "hidden"

    def made():
        return sharpen(make_latent("llama", dtype=torch.float32, feedback=kind, **options)).eval()

    batch = {"input_ids": torch.tensor([[3, 98, 97, 97, 99, 5], [4, 98, 97, 97, 99, 6]])}
    model = made()
    with torch.no_grad():
        expected = model(**batch).logits
    written = model.generate(**batch, max_new_tokens=3)
    if place == "cpu_offload":
        away = cpu_offload(made(), execution_device="cpu")
    elif place == "disk_offload":
        away = disk_offload(made(), tmp_path / "offload", execution_device="cpu")
    else:
        model.save_pretrained(tmp_path / "saved")
        parts = {
            "base.model.embed_tokens": "disk",
            "base.model.layers": "cpu",
            "base.model.norm": "cpu",
            "base.lm_head": "disk",
        }
        where = {**parts, "base.model.rotary_emb": "cpu", "feedback": "cpu"}
        away = LatentForCausalLM.from_pretrained(tmp_path / "saved", device_map=where, offload_folder=tmp_path / "offload")
    assert away.get_input_embeddings().weight.is_meta
    with torch.no_grad():
        torch.testing.assert_close(away.eval()(**batch).logits, expected)
    assert torch.equal(away.generate(**batch, max_new_tokens=3), written)


def test_other_options_keep_trained_weights():
    """A feedback goes on with its weights where they fit; a trained one that would lose them is refused."""
    model = make_latent(feedback="projection")
    before = {name: value.clone() for name, value in model.feedback.state_dict().items()}
    model.configure("projection", {"dropout": 0.1})
    assert all(torch.equal(value, before[name]) for name, value in model.feedback.state_dict().items())
    assert model.config.feedback_options == {"dropout": 0.1}
    model.configure("projection", {"size": 5})  # nobody has trained it yet
    model.config.stage = 1
    with pytest.raises(InputError, match=r"feedback=projection has other weights with options .*'size': 7"):
        model.configure("projection", {"size": 7})
    assert model.config.feedback_options == {"size": 5}


@torch.no_grad()
def test_gated_by_hand():
    """z = a e + sqrt(1 - a^2) i s, entry by entry; it starts near the token, whose embedding it is where a is 1."""
    model = make("gated wide").double()
    gate, embed = model.feedback, model.get_input_embeddings()
    hidden, tokens = torch.randn(3, 32, dtype=torch.float64), torch.tensor([4, 5, 6])
    likely = model.runner._thought_logits(hidden)
    expected = (likely / 0.7).softmax(-1) @ embed.weight
    token = embed(tokens)
    r, i = gate.reset(token).sigmoid(), gate.keep(token).sigmoid()
    a = torch.exp(-8 * torch.log1p(torch.exp(-gate.decay)) * r)
    assert_close(model.runner.next_embedding(hidden, tokens), a * token + (1 - a**2).sqrt() * i * expected, 1e-12)
    assert_close(model._next_embedding(hidden), gate.mix(hidden, likely.argmax(-1), embed, lambda _: likely), 1e-12)
    shares = torch.exp(-8 * torch.log1p(torch.exp(-FEEDBACKS["gated"](32).double().decay)))
    assert_close(shares, torch.linspace(0.9, 0.999, 32, dtype=torch.float64), 1e-6)
    gate.decay.fill_(60.0)
    assert_close(gate.mix(hidden, tokens, embed, lambda _: likely), token, 1e-12)

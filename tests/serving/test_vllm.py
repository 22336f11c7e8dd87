"""vLLM against our own ``generate()``, token by token; ``make test-serving`` runs it in an environment of its own."""

import importlib.util
import re

import pytest

from latent_trainer.errors import InputError

HERE = importlib.util.find_spec("vllm") is not None
pytestmark = [
    pytest.mark.serving,
    pytest.mark.skipif(not HERE, reason="vLLM has an environment of its own: make test-serving"),
]

if HERE:
    from vllm_served import FEEDBACKS, SHAPES, counted, engine, make_model, ours, prompts_of, theirs


# Tokens at a time: less than a prompt, so that prompts come in pieces. Blocks: hardly more than the longest request has.
IN_PIECES = {"max_num_batched_tokens": 24, "max_num_seqs": 8, "enable_prefix_caching": False}
LITTLE_ROOM = {"num_gpu_blocks_override": 9, "max_num_seqs": 8}
CASES = (
    [pytest.param(shape, feedback, id=f"{shape}-{feedback}") for shape in SHAPES for feedback in FEEDBACKS] if HERE else []
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return a saved model, its prompts and what our own ``generate()`` writes after each."""
    known = {}

    def case(shape, feedback):
        if (shape, feedback) not in known:
            folder = tmp_path_factory.mktemp(f"{shape}-{feedback}")
            model, tokenizer = make_model(folder, shape, feedback)
            prompts = prompts_of(tokenizer)
            known[shape, feedback] = folder, prompts, ours(model, prompts)
        return known[shape, feedback]

    return case


@pytest.mark.parametrize(("shape", "feedback"), CASES)
def test_greedy_tokens_equal_ours_also_from_cached_prefixes(saved, shape, feedback):
    folder, prompts, expected = saved(shape, feedback)
    assert len({len(prompt) for prompt in prompts}) > 30 and len(set(map(tuple, expected))) > 40
    with engine(folder) as llm:
        assert theirs(llm, prompts) == expected
        before = counted(llm, "prefix_cache_hits")
        assert theirs(llm, prompts) == expected
        assert counted(llm, "prefix_cache_hits") - before >= 32 * 32  # blocks of 32 tokens of half of the prompts


@pytest.mark.parametrize(("shape", "feedback"), CASES)
def test_greedy_tokens_equal_ours_when_prompts_come_in_pieces(saved, shape, feedback):
    folder, prompts, expected = saved(shape, feedback)
    with engine(folder, **IN_PIECES) as llm:
        assert theirs(llm, prompts) == expected


@pytest.mark.parametrize(("shape", "feedback"), CASES)
def test_greedy_tokens_equal_ours_when_requests_lose_their_cache(saved, shape, feedback):
    folder, prompts, expected = saved(shape, feedback)
    with engine(folder, **LITTLE_ROOM) as llm:
        assert theirs(llm, prompts) == expected
        assert counted(llm, "num_preemptions") > 0


@pytest.mark.parametrize("settings", [{}, LITTLE_ROOM], ids=["room", "little room"])
@pytest.mark.parametrize("shape", ["gpt2", "llama"])
def test_a_thought_that_the_model_ends_itself(tmp_path, shape, settings):
    model, tokenizer = make_model(tmp_path, shape, "hidden", open_thought=True, num_latents=7)
    tokens = model.config
    prompts = [
        [*(token for token in prompt if token not in (tokens.latent_token_id, tokens.eot_token_id))]
        for prompt in prompts_of(tokenizer)
    ]
    assert all(prompt[-1] == tokens.bot_token_id for prompt in prompts)
    expected = ours(model, prompts)
    lengths = {row.index(tokens.eot_token_id) for row in expected}
    assert len(lengths) > 1 and max(lengths) == 7
    with engine(tmp_path, **settings) as llm:
        assert theirs(llm, prompts) == expected
        if settings:
            assert counted(llm, "num_preemptions") > 0


@pytest.mark.parametrize(
    ("feedback", "options"),
    [("hidden", {"norm": "embedding"}), ("soft", {"top_k": 3}), ("fused", {}), ("gaussian", {})],
    ids=["norm", "top-k", "fused", "gaussian"],
)
def test_feedbacks_that_read_the_token_table(tmp_path, feedback, options):
    model, tokenizer = make_model(tmp_path, "gpt2", feedback, options)
    prompts = prompts_of(tokenizer, 26)
    with engine(tmp_path) as llm:
        assert theirs(llm, prompts) == ours(model, prompts)


def test_a_prefix_that_ends_before_a_latent_gives_it_the_same_thought(tmp_path):
    """The blocks of one prompt end where the other's thought begins, or within it."""
    model, tokenizer = make_model(tmp_path, "llama", "hidden")
    bot, latent, eot = (getattr(model.config, f"{name}_token_id") for name in ("bot", "latent", "eot"))
    words = [token for token in prompts_of(tokenizer, 1)[0] if token not in (bot, latent, eot)]
    words = (words * 40)[:80]
    prompts = [[*words[: 31 - shift], bot, *[latent] * 12, eot, *words[:tail]] for shift in range(13) for tail in (0, 5)]
    expected = ours(model, prompts)
    with engine(tmp_path) as llm:
        for prompt, row in zip(prompts, expected, strict=True):  # one after the other, each over what the last one left
            assert theirs(llm, [prompt]) == [row]
        assert theirs(llm, prompts) == expected
        assert counted(llm, "prefix_cache_hits") > 0


def test_what_cannot_be_served_is_one_line(tmp_path):
    model, _ = make_model(tmp_path, "gpt2", "hidden")
    latent = model.config.latent_token_id
    with engine(tmp_path) as llm:
        for prompt, says in (
            ([latent, 5], "the prompt begins with <|latent|>, which has no column before it"),
            ([5, *[latent] * 300], "maximum context length is 192 tokens"),
        ):
            with pytest.raises(Exception, match=re.escape(says)) as error:  # vLLM's own, of several kinds
                theirs(llm, [prompt])
            assert len(str(error.value).splitlines()) == 1
    model.config.rollout, model.config.rollout_options = "jacobi", {}
    model.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="rollout=jacobi") as error, engine(tmp_path):
        pass
    assert len(str(error.value).splitlines()) == 1

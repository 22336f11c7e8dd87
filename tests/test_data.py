"""From files to tensors: loaders, the encoder's layouts, prompts, the order of rows and the collator."""

import doctest
import json
import zlib

import pytest
import torch
from conftest import shared_file
from tokenizers import processors
from training import make_tokenizer
from transformers import AutoTokenizer

from latent_trainer import encode_prompts, load_problems
from latent_trainer.data import DATASETS, SPLITS, TEMPLATES, Encoder, Template, as_problems, collator, resolve_template
from latent_trainer.data.problem import Problem
from latent_trainer.data.thought_tokens import add_thought_tokens
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.errors import InputError
from latent_trainer.methods.curriculum import EVERYTHING, Plan
from latent_trainer.training.samplers import EpochSampler

# ---- data sets ----


def jsonl(path, number: int, name: str = "question") -> str:
    """Write problems of a user's own."""
    rows = [{"question": f"{name} {row}", "steps": [f"step {row}"], "answer": str(row)} for row in range(number)]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return str(path)


def gsm8k(path, number: int, name: str = "question") -> str:
    """Write rows in the form of GSM8K."""
    answer = "He has 2*{0} = $<<2*{0}=4>>4.\nWith 1 more: <<4+1=5>>5 in all.\n#### 1,00{0}"
    rows = [{"question": f"{name} {row}", "answer": answer.format(row)} for row in range(number)]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return str(path)


def gsm8k_aug(path, number: int, name: str = "question") -> str:
    """Write rows in the form of GSM8K-Aug."""
    path.write_text("".join(f"{name} {row}||<<2*{row}=4>> <<4+1=5>> #### {row}\n" for row in range(number)))
    return str(path)


PUBLISHED = {  # a row of each form that has nothing but fields
    "aime": {"ID": "2024-I-{}", "Problem": "{}", "Solution": "One. Two.", "Answer": "025"},
    "aqua": {"question": "{}", "options": ["A)1", "B)2"], "rationale": "One. Two.", "correct": "B"},
    "gsm8k_aug_nl": {"question": "{}", "steps": ["He has 2."], "answer": "2"},
    "gsm_hard": {"input": "{}", "code": "def solution(): return 3", "target": -3.0},
    "math": {"problem": "{}", "level": "Level 2", "type": "Algebra", "solution": "It is $\\boxed{2}$."},
    "math500": {"problem": "{}", "solution": "It is.", "answer": "2", "subject": "Algebra", "level": 3, "unique_id": "{}"},
    "multiarith": {"question": " {}", "final_ans": "3"},
    "svamp": {"Body": "b.", "Question": "{}", "Equation": "( 1.0 + 1.0 )", "Answer": 2.0, "Type": "Addition"},
}


def published(folder, row: dict) -> dict[str, str]:
    """Write rows of a published form, and return the files of their splits."""
    folder.mkdir()
    for part, number in (("train", 50), ("test", 9)):
        rows = [
            {name: text.replace("{}", f"{part} {n}?") if isinstance(text, str) else text for name, text in row.items()}
            for n in range(number)
        ]
        (folder / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {"path": str(folder / "train.jsonl"), "test_path": str(folder / "test.jsonl")}


def textbook(path, number: int) -> str:
    """Write exercises."""
    rows = [
        {
            "exercise": f"1.{row}",
            "text": f"exercise {row}",
            "type": "answer-based",
            "answer": str(row),
            "steps": [f"step {row}"],
        }
        for row in range(number)
    ]
    path.write_text(json.dumps(rows))
    return str(path)


@pytest.fixture
def sources(tmp_path):
    """Return the options under which a data set is loaded here; one that is not listed generates its problems."""
    return {
        "jsonl": {"path": jsonl(tmp_path / "a.jsonl", 50), "test_path": jsonl(tmp_path / "b.jsonl", 9, "other")},
        "gsm8k_aug": {"path": gsm8k_aug(tmp_path / "a.txt", 50), "test_path": gsm8k_aug(tmp_path / "b.txt", 9, "other")},
        "textbook": {"path": textbook(tmp_path / "book.json", 50)},
        "auto": {"path": jsonl(tmp_path / "a.jsonl", 50), "test_path": jsonl(tmp_path / "b.jsonl", 9, "other")},
        **{name: published(tmp_path / name, row) for name, row in PUBLISHED.items()},
        "gsm8k": {"path": gsm8k(tmp_path / "train.jsonl", 50), "test_path": gsm8k(tmp_path / "test.jsonl", 9, "other")},
    }


@pytest.mark.parametrize("name", DATASETS)
def test_data_set(sources, name):
    """What every entry of ``DATASETS`` keeps to, a new one included."""
    options = sources.get(name, {"size": 30})
    splits = {split: load_problems(name, split, **options) for split in SPLITS}
    questions = {}
    for split, problems in splits.items():
        columns = ["question", "steps", "answer", "id", "family", "difficulty", "place"]
        assert problems.column_names == columns + ["check"] * (name in ("aqua", "countdown", "game24"))
        assert as_problems(problems)  # every row is a valid problem
        assert all(isinstance(step, str) and step for row in problems for step in row["steps"])
        assert len(set(problems["id"])) == len(problems)
        assert problems.to_list() == load_problems(name, split, **options).to_list()
        questions[split] = set(problems["question"])
    assert not questions["train"] & questions["validation"]
    assert not questions["test"] & (questions["train"] | questions["validation"])
    with pytest.raises(InputError, match="has no option 'flavour'"):
        load_problems(name, flavour="sweet", **options)
    with pytest.raises(InputError, match="did you mean 'validation'"):
        load_problems(name, "valid", **options)


@pytest.mark.parametrize("operations", [1, 4])
def test_arithmetic_is_exact(operations):
    """Every step is the running value modulo ten, worked from left to right."""
    for row in load_problems("arithmetic", size=60, operations=operations):
        first, *rest = row["question"].split()
        value, values = int(first), []
        for word in rest:
            operand = int(word[1:])
            value = {"+": value + operand, "-": value - operand, "x": value * operand}[word[0]] % 10
            values.append(str(value))
        assert row["steps"] == values
        assert row["answer"] == values[-1]
        assert len(rest) == operations


def test_arithmetic_splits_are_disjoint_for_different_seeds():
    """A problem belongs to one split, whatever seed drew it."""

    def draw(split: str, seed: int) -> set[str]:
        return set(load_problems("arithmetic", split, seed=seed, size=100, operations=2)["question"])

    train, validation, test = (draw(split, 0) | draw(split, 1) for split in SPLITS)
    assert not train & validation
    assert not train & test
    assert not validation & test
    assert draw("train", 0) != draw("train", 1)
    shares = {zlib.crc32(question.encode()) % 100 for question in validation}
    assert shares == set(range(90, 95))


def test_arithmetic_does_not_give_the_answer_away():
    """Each digit is the answer about as often, so that guessing scores a tenth."""
    answers = load_problems("arithmetic", size=2000)["answer"]
    assert max(answers.count(str(digit)) for digit in range(10)) < 0.15 * len(answers)


def test_more_arithmetic_than_there_is():
    with pytest.raises(InputError, match="size=5000 is too many for operations=1"):
        load_problems("arithmetic", size=5000, operations=1)


def test_jsonl(tmp_path):
    rows = [
        {"question": "a", "answer": 7},
        {"question": "b", "steps": None, "answer": "2.5", "id": "mine"},
        {"question": "ç", "steps": ["x", "y"], "answer": "z", "other": 1},
    ]
    path = tmp_path / "data.jsonl"
    path.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    assert as_problems(load_problems("jsonl", "test", test_path=str(path))) == [
        Problem("a", (), "7", "data.jsonl:1"),
        Problem("b", (), "2.5", "mine"),
        Problem("ç", ("x", "y"), "z", "data.jsonl:5"),
    ]


@pytest.mark.parametrize("name", ["jsonl", "gsm8k", "gsm8k_aug"])
def test_carved_validation(sources, name):
    """A fixed twentieth of the train rows, the same in every run; another seed takes another one."""
    options = sources[name]
    parts = [list(load_problems(name, split, **options)["question"]) for split in ("train", "validation")]
    assert [len(part) for part in parts] == [48, 2]
    assert sorted(parts[0] + parts[1]) == sorted(f"question {row}" for row in range(50))
    others = [list(load_problems(name, "validation", seed=seed, **options)["question"]) for seed in range(1, 6)]
    assert any(other != parts[1] for other in others)


def test_gsm8k_rows(tmp_path):
    path = gsm8k(tmp_path / "train.jsonl", 3)
    first = as_problems(load_problems("gsm8k", path=path))[0]
    row = first.question[-1]
    assert first == Problem(f"question {row}", (f"<<2*{row}=4>>", "<<4+1=5>>"), f"100{row}", f"train.jsonl:{int(row) + 1}")
    text = as_problems(load_problems("gsm8k", path=path, steps="text"))[0]
    assert text.steps == (f"He has 2*{row} = $4.", "With 1 more: 5 in all.")
    assert text.id == first.id


def test_gsm8k_aug_rows(tmp_path):
    path = gsm8k_aug(tmp_path / "train.txt", 3)
    first = as_problems(load_problems("gsm8k_aug", path=path))[0]
    row = first.question[-1]
    assert first == Problem(f"question {row}", (f"<<2*{row}=4>>", "<<4+1=5>>"), row, f"train.txt:{int(row) + 1}")


def test_published_gsm8k():
    """The published train rows, split for good; the first one as it is known."""
    path = str(shared_file("data/gsm8k/train.jsonl"))
    train, validation = (load_problems("gsm8k", split, path=path) for split in ("train", "validation"))
    assert (len(train), len(validation)) == (7100, 373)
    assert not set(train["question"]) & set(validation["question"])
    everything = {row["id"]: row for part in (train, validation) for row in part}
    natalia = everything["train.jsonl:1"]
    assert natalia["question"].startswith("Natalia sold clips to 48 of her friends")
    assert natalia["steps"] == ["<<48/2=24>>", "<<48+24=72>>"]
    assert natalia["answer"] == "72"
    test = load_problems("gsm8k", "test", path=path)
    assert len(test) == 1319
    assert not set(test["question"]) & {row["question"] for row in everything.values()}


def test_load_problems_takes_no_shortcut_on_rows(tmp_path):
    """Rows of a data set, dictionaries and problems are the same to the trainer."""
    problem = Problem("a", ("b",), "c", "0")
    assert as_problems([problem]) == as_problems([{"question": "a", "steps": ["b"], "answer": "c"}]) == [problem]


# ---- layouts ----

PROBLEM = Problem("1 2", ("+ 1", "2 3 4"), "7")


@pytest.fixture(scope="module")
def word_tokenizer():
    """Return a tokenizer of one token a word, with the thought tokens."""
    tokenizer = make_tokenizer()
    add_thought_tokens(tokenizer, "<|bot|>", "<|eot|>")
    return tokenizer


def layout(tokenizer, template, plan: Plan) -> tuple[str, str, str]:
    """Return a row in words: the prompt, the continuation, and what of it is scored."""
    encoder = Encoder(tokenizer, template)
    row = encoder.problem(PROBLEM)
    view = encoder.latent_view(row, plan)
    scored = ["_" if label == -100 else tokenizer.convert_ids_to_tokens(label) for label in view.labels]
    words = [" ".join(tokenizer.convert_ids_to_tokens(ids)) for ids in (row.prompt, view.input_ids)]
    assert len(view.input_ids) == len(view.labels)
    assert tokenizer.convert_ids_to_tokens(view.input_ids[view.answer_start]) == PROBLEM.answer
    short = {"<|bot|>": "(", "<|eot|>": ")", "<|latent|>": "*", "<|endoftext|>": "."}
    return tuple("".join(short.get(word, word) for word in text.split()) for text in (*words, " ".join(scored)))


LAYOUTS = {
    "after, all steps": ({}, Plan(0, 0), "()+1234=7.", "__+1234=7."),
    "after, one step replaced": ({}, Plan(2, 1), "(**)234=7.", "____234=7."),
    "after, no steps": ({}, Plan(2, EVERYTHING), "(**)=7.", "____=7."),
    "inside, one step replaced": ({"remaining_steps": "inside"}, Plan(2, 1), "(**234)=7.", "___234)=7."),
    "inside, no steps": ({"remaining_steps": "inside"}, Plan(2, EVERYTHING), "(**)=7.", "___)=7."),
    "no markers": ({"markers": False}, Plan(2, 1), "**234=7.", "__234=7."),
    "no markers, inside": ({"markers": False, "remaining_steps": "inside"}, Plan(2, 1), "**234=7.", "__234=7."),
    "prefix not scored": ({"score_answer_prefix": False}, Plan(1, EVERYTHING), "(*)=7.", "____7."),
    "prefix not scored, steps": ({"score_answer_prefix": False}, Plan(1, 1), "(*)234=7.", "___234_7."),
    "tokens dropped": ({"markers": False}, Plan(0, 0, 3), "34=7.", "34=7."),
    "tokens dropped, none left": ({"markers": False}, Plan(0, 0, 9), "=7.", "=7."),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout(word_tokenizer, name):
    changes, plan, continuation, scored = LAYOUTS[name]
    assert layout(word_tokenizer, resolve_template("plain", **changes), plan) == ("12", continuation, scored)


@pytest.mark.parametrize("part", ["question", "steps", "answer"])
def test_a_latent_in_a_text(byte_tokenizer, part):
    """It would be a place to think at, in the middle of what is read."""
    parts = {"question": "2+3", "steps": ("2+3=5",), "answer": "5"}
    parts[part] = ("<|latent|>",) if part == "steps" else "<|latent|>"
    with pytest.raises(InputError, match=r"^<\|latent\|> stands for a latent, not for text; remove it from '"):
        Encoder(byte_tokenizer, "plain").problem(Problem(id="1", **parts))


def test_explicit_view(word_tokenizer):
    encoder = Encoder(word_tokenizer, "plain")
    row = encoder.problem(PROBLEM)
    words = [word_tokenizer.convert_ids_to_tokens(encoder.explicit_view(row, skip).input_ids) for skip in (False, True)]
    assert words == [["+", "1", "2", "3", "4", "=", "7", "<|endoftext|>"], ["+", "1", "=", "7", "<|endoftext|>"]]


@pytest.fixture(scope="module")
def byte_tokenizer():
    """Return a byte-level tokenizer that writes any text, with both pairs of thought tokens."""
    tokenizer = train_tokenizer(["What is 2+3? The answer is 5."] * 3, vocab_size=300)
    for pair in (("<|bot|>", "<|eot|>"), ("<think>", "</think>")):
        add_thought_tokens(tokenizer, *pair)
    return tokenizer


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("coconut", "What is 2+3?\n<|bot|><|latent|><|latent|><|eot|>2+3=5\n### 5<|endoftext|>"),
        ("plain", "What is 2+3? <|bot|><|latent|><|latent|><|eot|>2+3=5 = 5<|endoftext|>"),
        (
            "r1",
            "<\uff5cUser\uff5c>What is 2+3?<\uff5cAssistant\uff5c><think>\n<|latent|><|latent|>2+3=5\n\n</think>\n\n"
            "The answer is \\boxed{5}<|endoftext|>",
        ),
    ],
)
def test_template(byte_tokenizer, name, text):
    """The whole text of a row, to the letter."""
    encoder = Encoder(byte_tokenizer, name)
    row = encoder.problem(Problem("What is 2+3?", ("1+1=2", "2+3=5"), "5"))
    view = encoder.latent_view(row, Plan(2, 1))
    assert byte_tokenizer.decode(row.prompt + view.input_ids) == text
    assert byte_tokenizer.decode(view.input_ids[view.answer_start :]).startswith("5")


@pytest.mark.parametrize("markers", [True, False])
@pytest.mark.parametrize("remaining_steps", ["after", "inside"])
@pytest.mark.parametrize("score_answer_prefix", [True, False])
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_prompt_is_the_beginning_of_the_training_row(byte_tokenizer, name, markers, remaining_steps, score_answer_prefix):
    """Generation starts from the very tokens of training: up to the first scored one, or to the answer."""
    changes = {"markers": markers, "remaining_steps": remaining_steps, "score_answer_prefix": score_answer_prefix}
    template = resolve_template(name, **changes)
    encoder = Encoder(byte_tokenizer, template)
    problem = Problem("What is 2+3?", ("1+1=2",), "5")
    row = encoder.problem(problem)
    for latents in (0, 3):
        view = encoder.latent_view(row, Plan(latents, EVERYTHING))
        whole = row.prompt + view.input_ids
        prompt = encode_prompts([problem.question], byte_tokenizer, latents, template.to_dict())["input_ids"][0].tolist()
        first_written = [label != -100 for label in view.labels].index(True) if score_answer_prefix else view.answer_start
        assert prompt == whole[: len(row.prompt) + first_written]


def test_prompts_are_padded_on_the_left(word_tokenizer):
    batch = encode_prompts(["1", "1 2 3"], word_tokenizer, num_latents=[2, 0], template="plain")
    words = [word_tokenizer.convert_ids_to_tokens(row) for row in batch["input_ids"]]
    assert words == [["1", "<|bot|>", "<|latent|>", "<|latent|>", "<|eot|>"], ["1", "2", "3", "<|bot|>", "<|eot|>"]]
    batch = encode_prompts(["1", "1 2 3"], word_tokenizer, num_latents=1, template="plain")
    assert word_tokenizer.convert_ids_to_tokens(batch["input_ids"][0])[:2] == ["<|endoftext|>"] * 2
    assert batch["attention_mask"].tolist() == [[0, 0, 1, 1, 1, 1], [1] * 6]


def test_braces_in_a_question(byte_tokenizer):
    """What a user writes is never taken for a template."""
    encoder = Encoder(byte_tokenizer, "r1")
    row = encoder.problem(Problem("{question} {0} {{", ("{step}",), "{answer}"))
    assert "{question} {0} {{" in byte_tokenizer.decode(row.prompt)
    assert byte_tokenizer.decode(row.answer) == "{answer}}<|endoftext|>"


def test_templates_are_checked():
    with pytest.raises(InputError, match=r"'question' is 'Q'; it must hold \{question\}"):
        Template(question="Q")
    with pytest.raises(InputError, match="did you mean 'plain'"):
        resolve_template("plan")
    changed = resolve_template("plain", markers=False)
    assert resolve_template(changed.to_dict()) == changed
    assert resolve_template("plain") == TEMPLATES["plain"]  # a change leaves the shipped template alone


@pytest.fixture
def bos_tokenizer(word_tokenizer, tmp_path):
    """Return a tokenizer that begins every text with a token, as Llama's does."""
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    start = ("<s>", tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[start])
    add_thought_tokens(tokenizer, "<|bot|>", "<|eot|>")
    tokenizer.save_pretrained(tmp_path)
    return AutoTokenizer.from_pretrained(tmp_path)


def test_begin_of_text(bos_tokenizer):
    """Once, at the start of the prompt, and in none of the pieces a row is put together from."""
    encoder = Encoder(bos_tokenizer, "plain")
    row = encoder.problem(PROBLEM)
    assert bos_tokenizer.convert_ids_to_tokens(row.prompt) == ["<s>", "1", "2"]
    view = encoder.latent_view(row, Plan(1, 0))
    assert bos_tokenizer.bos_token_id not in view.input_ids
    prompt = encode_prompts(["1 2"], bos_tokenizer, num_latents=1, template="plain")["input_ids"][0].tolist()
    assert prompt == row.prompt + view.input_ids[:3]


def test_begin_of_text_that_a_tokenizer_has_but_does_not_write(word_tokenizer):
    """GPT-2 has such a token and writes none."""
    tokenizer = make_tokenizer()
    tokenizer.bos_token = "<|endoftext|>"
    add_thought_tokens(tokenizer, "<|bot|>", "<|eot|>")
    assert Encoder(tokenizer, "plain").question("1") == tokenizer("1").input_ids


# ---- order and batches ----


def test_epoch_sampler():
    epoch = 0
    sampler = EpochSampler(10, 4, seed=3, epoch=lambda: epoch)
    first = list(sampler)
    assert len(sampler) == len(first) == 12
    assert sorted(first[:10]) == list(range(10))
    assert first[10:] == [10, 11]  # fillers: rows 0 and 1 without labels
    assert list(sampler) == first
    epoch = 1
    second = list(sampler)
    assert sorted(second[:10]) == list(range(10))
    assert second[:10] != first[:10]
    assert list(EpochSampler(10, 4, seed=4, epoch=lambda: 0)) != first
    # the order does not depend on the batch, so that other batches see the same rows
    assert list(EpochSampler(10, 1, seed=3, epoch=lambda: 0)) == first[:10]


def test_epoch_sampler_without_shuffling():
    assert list(EpochSampler(3, 8, seed=0, epoch=lambda: 5, shuffle=False)) == [0, 1, 2, 3, 4, 5, 3, 4]


def test_batches_of_similar_length():
    """Every row once, fillers last, and a third of the padding of random batches at most."""
    lengths = torch.randint(5, 100, (1_000,), generator=torch.Generator().manual_seed(0)).tolist()

    def padding(lengths_known):
        order = [row for row in EpochSampler(1_000, 8, 3, lambda: 2, lengths=lengths_known) if row < 1_000]
        assert sorted(order) == list(range(1_000))
        batches = [[lengths[row] for row in order[at : at + 8]] for at in range(0, len(order), 8)]
        return sum(max(batch) * len(batch) - sum(batch) for batch in batches)

    assert padding(lengths) < padding(None) / 3
    assert list(EpochSampler(3, 8, 0, lambda: 1, lengths=[1, 2, 3]))[3:] == [3, 4, 5, 3, 4]


def test_collator_doctest():
    result = doctest.testmod(collator)
    assert result.attempted >= 4
    assert result.failed == 0


def test_collator_of_two_views():
    rows = [
        ([1], {"latent": collator.View([2, 3], [-100, 3], 1), "explicit": collator.View([4, 5, 6], [4, 5, 6], 2)}),
        ([1, 2], {"latent": collator.View([7], [7], 0), "explicit": collator.View([8], [8], 0)}),
    ]
    batch = collator.LatentCollator(0)(rows)
    assert list(batch["views"]) == ["latent", "explicit"]
    assert batch["input_ids"].tolist() == [[0, 1], [1, 2]]
    assert batch["views"]["explicit"]["input_ids"].tolist() == [[4, 5, 6], [8, 0, 0]]
    assert batch["views"]["explicit"]["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["views"]["explicit"]["labels"].tolist() == [[4, 5, 6], [8, -100, -100]]
    assert torch.equal(batch["views"]["explicit"]["answer_start"], torch.tensor([2, 0]))
    assert torch.equal(batch["views"]["explicit"]["steps_end"], torch.tensor([2, 0]))  # an answer without a prefix


def test_trained_tokenizer_is_deterministic():
    """Every process trains its own and must get the same."""
    texts = ["b a", "c a b", "Ω 12"]
    for size in (None, 280):
        first, second = (train_tokenizer(order, size).get_vocab() for order in (texts, texts[::-1]))
        assert first == second

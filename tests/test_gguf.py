"""Base models in GGUF files: a tiny one is written with the package ``gguf``, then trained, saved, loaded and asked."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from latent_trainer.cli import main
from latent_trainer.errors import InputError
from latent_trainer.model.gguf import load_base, located, named
from latent_trainer.model.modeling import LatentForCausalLM

gguf = pytest.importorskip("gguf")

SIZE, LAYERS, HEADS, INNER = 32, 2, 4, 64
# A byte-level BPE of one merge: one token a character.
TOKENS = ["<s>", "</s>", *map(chr, range(33, 127)), "Ġ", "Ċ", "!!"]


def write(path, seed=0, architecture="llama", head=True):
    """Write a tiny Llama with its tokenizer into a GGUF file; weights in half precision, norms in float32."""
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("a tiny model")
    writer.add_context_length(128)
    writer.add_embedding_length(SIZE)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(SIZE // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, *[1] * (len(TOKENS) - 2)])
    writer.add_token_merges(["! !"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}:{% endfor %}")
    shapes = {"token_embd": (len(TOKENS), SIZE), **({"output": (len(TOKENS), SIZE)} if head else {})}
    for layer in range(LAYERS):
        shapes |= {f"blk.{layer}.{name}": (SIZE, SIZE) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
        shapes |= {f"blk.{layer}.{name}": (INNER, SIZE) for name in ("ffn_gate", "ffn_up")}
        shapes |= {f"blk.{layer}.ffn_down": (SIZE, INNER)}
        shapes |= {f"blk.{layer}.{name}": (SIZE,) for name in ("attn_norm", "ffn_norm")}
    shapes["output_norm"] = (SIZE,)
    for name, shape in shapes.items():
        weights = rng.normal(size=shape) * 0.2 + (len(shape) == 1)
        writer.add_tensor(f"{name}.weight", weights.astype(np.float16 if len(shape) == 2 else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "model"
    path.mkdir()
    write(path / "tiny.gguf")
    return path


@pytest.fixture(scope="module")
def stock(folder):
    """The model as transformers alone reads it."""
    return AutoModelForCausalLM.from_pretrained(folder, gguf_file="tiny.gguf").eval()


def ids():
    return torch.tensor([[5, 9, 17, 30, 2]])


def test_the_three_ways_to_name_a_file(folder, tmp_path):
    file = str(folder / "tiny.gguf")
    assert located(file) == located(str(folder), "tiny.gguf") == located(str(folder)) == (str(folder), "tiny.gguf")
    assert located("org/repo:tiny.gguf") == located("org/repo", "tiny.gguf") == ("org/repo", "tiny.gguf")
    assert named("org/repo", "tiny.gguf") == "org/repo:tiny.gguf" and named(str(folder)) == file
    assert located("gpt2") == ("gpt2", None) and named(str(tmp_path)) == str(tmp_path)
    place = str(tmp_path / "a:b")
    (tmp_path / "a:b").mkdir()
    (tmp_path / "a:b" / "tiny.gguf").symlink_to(file)
    assert located(place) == located(f"{place}/tiny.gguf") == (place, "tiny.gguf")
    with pytest.raises(InputError, match=r"names tiny\.gguf and gguf_file=other\.gguf another"):
        located(file, "other.gguf")
    for name in ("one.gguf", "two.gguf"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"several GGUF files; name one: .*one\.gguf"):
        located(str(tmp_path))


def test_another_ending_is_no_pickle(folder, tmp_path):
    (tmp_path / "TINY.GGUF").symlink_to(folder / "tiny.gguf")
    for name, file in ((tmp_path, None), (tmp_path / "TINY.GGUF", None), ("org/repo", "model.bin")):
        with pytest.raises(InputError, match=r"told by its ending \.gguf, and '(TINY\.GGUF|model\.bin)' has"):
            located(name, file)


def test_a_base_is_what_transformers_reads_and_can_be_saved(folder, stock, tmp_path):
    for name, options in ((str(folder / "tiny.gguf"), {}), (str(folder), {"gguf_file": "tiny.gguf"}), (str(folder), {})):
        base = load_base(name, **options).eval()
        assert torch.equal(base(ids()).logits, stock(ids()).logits)
    assert base.config.name_or_path == str(folder / "tiny.gguf")
    base.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(again(ids()).logits, stock(ids()).logits)
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())


def test_a_latent_model_from_a_file(folder, stock, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file="tiny.gguf")
    model = LatentForCausalLM.from_base(folder / "tiny.gguf", tokenizer=tokenizer).eval()  # a path as good as a text
    torch.testing.assert_close(model(ids()).logits[..., : len(TOKENS)], stock(ids()).logits)
    model.save_pretrained(tmp_path)
    again = LatentForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(again(ids()).logits, model(ids()).logits)


def test_one_line_where_it_cannot_be_read(folder, tmp_path, monkeypatch):
    whole = (folder / "tiny.gguf").read_bytes()
    for size in (0, 10, 100, 2000, len(whole) // 2, len(whole) - 50):  # a download that was cut off
        (tmp_path / "broken.gguf").write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"cannot read broken\.gguf"):
            load_base(str(tmp_path / "broken.gguf"))
    write(tmp_path / "other.gguf", architecture="no_such_architecture")
    with pytest.raises(InputError, match=r"cannot read other\.gguf.*no_such_architecture"):
        load_base(str(tmp_path / "other.gguf"))
    with pytest.raises(OSError, match=r"nowhere\.gguf"):
        load_base(str(folder / "nowhere.gguf"))
    monkeypatch.setattr("latent_trainer.model.gguf.is_gguf_available", lambda: False)
    with pytest.raises(InputError, match=r"needs the package gguf; pip install 'latent_trainer\[gguf\]'"):
        load_base(str(folder / "tiny.gguf"))


def run(command, *words):
    main(command, [*map(str, words)])


@pytest.mark.parametrize("adapters", [False, True])
def test_train_evaluate_generate(folder, tmp_path, capsys, adapters):
    output = tmp_path / "run"
    data = ("--dataset", "arithmetic", "--dataset_options", '{"operations": 2}')
    named_by = ("--model_name_or_path", folder, "--gguf_file", "tiny.gguf")
    options = (
        "--output_dir",
        output,
        "--max_steps",
        2,
        "--num_latents",
        2,
        "--method",
        "answer_only",
        "--report_to",
        "none",
    )
    run("train", *named_by, *data, *options, "--max_train_problems", 8, "--use_cpu", "true", "--use_peft", adapters)
    run("evaluate", "--model", output, *data, "--max_eval_problems", 4, "--max_new_tokens", 4)
    run("evaluate", "--model", folder / "tiny.gguf", *data, "--max_eval_problems", 4, "--max_new_tokens", 4)
    capsys.readouterr()
    for model in (output, folder, folder / "tiny.gguf"):
        run("generate", "--model", model, "--question", "7 +3", "--max_new_tokens", 4)
        assert capsys.readouterr().out.startswith("7 +3\n")

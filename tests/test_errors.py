"""Every mistake a user can make ends in one line that names what clashes and what to change, and nothing is written."""

import io
import json

import pytest
import yaml
from conftest import make_base, make_latent
from peft import LoraConfig

from latent_trainer import LatentForCausalLM, LatentTrainer, LatentTrainingArguments, encode_prompts, load_problems
from latent_trainer.cli import main
from latent_trainer.data import as_problems
from latent_trainer.errors import InputError

RECIPE = {
    "model_config": {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64},
    "dataset": "arithmetic",
    "dataset_options": {"size": 20, "operations": 2},
    "template": "plain",
    "max_steps": 1,
    "last_stage": 0,
    "per_device_train_batch_size": 2,
    "report_to": "none",
    "disable_tqdm": True,
    "save_strategy": "no",
    "use_cpu": True,
}


@pytest.fixture
def output(tmp_path):
    """Return an output folder that does not exist."""
    return tmp_path / "out"


@pytest.fixture
def refused(capsys):
    """Return a function that runs a command which must fail, and returns the line it says."""

    def run(command: str | None, *words) -> str:
        with pytest.raises(SystemExit) as stop:
            main(command, [str(word) for word in words])
        captured = capsys.readouterr()
        lines = captured.err.splitlines()
        assert stop.value.code == 2
        assert captured.out == ""
        assert len(lines) == 1, captured.err
        assert lines[0].startswith("latent-trainer: ")
        return lines[0]

    return run


@pytest.fixture
def recipe_refused(refused, tmp_path, output):
    """Return a function that trains a recipe with changes, which must fail and write nothing."""

    def run(words=(), **changes) -> str:
        settings = {**RECIPE, "output_dir": str(output), **changes}
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(yaml.safe_dump({key: value for key, value in settings.items() if value is not None}))
        line = refused("train", "--config", recipe, *words)
        assert not output.exists()
        return line

    return run


def test_the_unchanged_recipe_trains(tmp_path, output, capsys):
    """All of the mistakes below are made in this recipe; the model it trains refuses what does not fit its context."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**RECIPE, "output_dir": str(output)}))
    main("train", ["--config", str(recipe)])
    assert f"saved to {output}" in capsys.readouterr().out
    assert (output / "model.safetensors").is_file()
    with pytest.raises(SystemExit):
        main("evaluate", ["--model", str(output), "--dataset", "arithmetic", "--max_new_tokens", "60"])
    assert "context of 64 tokens with max_new_tokens=60" in capsys.readouterr().err


# ---- words of the command line and keys of the recipe ----


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"latent_per_step": 2}, ["'latent_per_step'", "recipe.yaml", "did you mean 'latents_per_step'?"]),
        ({"method": "coconot"}, ["method='coconot'", "cot, no_cot", "did you mean 'coconut'?"]),
        ({"feedback": "hiden"}, ["feedback='hiden'", "did you mean 'hidden'?"]),
        ({"curriculum": "stagged"}, ["curriculum='stagged'", "did you mean 'staged'?"]),
        ({"objective": "anser"}, ["objective='anser'", "did you mean 'answer'?"]),
        ({"rollout": "sequentail"}, ["rollout='sequentail'", "did you mean 'sequential'?"]),
        ({"template": "coconutt"}, ["template='coconutt'", "did you mean 'coconut'?"]),
        ({"remaining_steps": "insid"}, ["remaining_steps='insid'", "did you mean 'inside'?"]),
        ({"reset_optimizer": "stages"}, ["reset_optimizer='stages'", "did you mean 'stage'?"]),
        ({"train_sampling_strategy": "batch_rebalance"}, ["train_sampling_strategy='batch_rebalance'", "group_by_length"]),
        ({"dataset": "gsm9k"}, ["dataset='gsm9k'", "did you mean 'gsm8k'?"]),
        ({"dataset_options": {"operation": 3}}, ["'arithmetic'", "'operation'", "did you mean 'operations'?"]),
        ({"dataset_options": {"path": "x"}}, ["dataset_options may not have 'path'", "set dataset_path"]),
        ({"dtype": "float23"}, ["dtype='float23'", "did you mean 'float32'?"]),
        ({"eval_strategy": "stepz"}, ["--eval_strategy", "stepz", "steps"]),
        ({"max_steps": "many"}, ["--max_steps", "int", "'many'"]),
        ({"max_steps": 2.5}, ["--max_steps", "int", "'2.5'"]),
        ({"max_steps": [1, 2]}, ["'2'", "one value"]),
        ({"learning_rate": "fast"}, ["--learning_rate", "float", "'fast'"]),
        ({"use_peft": "perhaps"}, ["--use_peft", "perhaps"]),
        ({"feedback_options": "{norm: 1"}, ["feedback_options", "JSON"]),
        ({"feedback_options": {"norms": 1}}, ["feedback 'hidden'", "'norms'", "did you mean 'norm'?"]),
        ({"num_latents": -1}, ["num_latents=-1", "at least 0"]),
        ({"latents_per_step": 0}, ["latents_per_step=0", "at least 1"]),
        ({"uniform_prob": 1.5}, ["uniform_prob=1.5", "between 0 and 1"]),
        ({"steps_per_stage": [5, 0]}, ["steps_per_stage=[5, 0]", "at least 1"]),
        ({"steps_per_stage": 5, "epochs_per_stage": 1}, ["epochs_per_stage and steps_per_stage", "keep one"]),
        ({"advance_at": 0.5}, ["advance_at=0.5", "eval_strategy=no"]),
        ({"advance_at": 0.5, "generate_in_eval": False}, ["advance_at=0.5", "generate_in_eval"]),
        ({"backprop": -1}, ["backprop=-1", "negative"]),
        ({"backprop": "lots"}, ["backprop='lots'", "full, last, none"]),
        ({"load_best_model_at_end": True, "eval_strategy": "steps"}, ["--load_best_model_at_end", "match"]),
        ({"method": "cot", "score_answer_prefix": False}, ["score_answer_prefix=False", "set score_answer_prefix=True"]),
        ({"model_name_or_path": "gpt2"}, ["model_name_or_path and model_config", "leave one out"]),
        ({"model_config": None}, ["model_name_or_path and model_config", "give one"]),
        ({"model_config": {"n_embd": 16}}, ["model_config", "model_type"]),
        ({"model_config": {"model_type": "gpt-2"}}, ["model_type='gpt-2'", "did you mean 'gpt2'?"]),
        ({"model_config": {"model_type": "gpt2", "n_layers": 2}}, ["'gpt2'", "'n_layers'", "did you mean 'n_layer'?"]),
        ({"model_config": "{"}, ["model_config", "JSON"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_recipe(recipe_refused, changes, says):
    line = recipe_refused(**changes)
    for part in says:
        assert part in line


def test_unknown_command(refused):
    line = refused("trian")
    assert "command='trian'" in line
    assert "did you mean 'train'?" in line


def test_unknown_option(recipe_refused):
    line = recipe_refused(["--max_step", "3"])
    assert "'--max_step'" in line
    assert "did you mean 'max_steps'?" in line


def test_stray_word(recipe_refused):
    assert "'quickly'" in recipe_refused(["quickly"])


def test_env_takes_no_words(refused):
    assert "'extra'" in refused("env", "extra")
    assert "'--verbose' of env" in refused("env", "--verbose")


def test_wrong_type_on_the_command_line(recipe_refused):
    assert "'many'" in recipe_refused(["--max_steps", "many"])


def test_config_without_a_file_name(refused):
    assert "--config" in refused("train", "--config")


def test_required_option(refused):
    assert "--model" in refused("evaluate", "--dataset", "arithmetic")


@pytest.mark.parametrize(
    ("option", "says"), [("--num_latents=-2", "num_latents=-2"), ("--split=tset", "did you mean 'test'?")]
)
def test_evaluate_options(refused, option, says):
    assert says in refused("evaluate", "--model", "nowhere", option)


def test_generate_options(refused, monkeypatch):
    assert "num_latents=-2" in refused("generate", "--model", "nowhere", "--num_latents=-2", "--question", "1 +1")
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert "no question; give --question" in refused("generate", "--model", "nowhere")


def test_a_model_that_is_not_there(refused, tmp_path):
    line = refused("evaluate", "--model", tmp_path / "nowhere", "--dataset", "arithmetic", "--max_eval_problems", 2)
    assert "nowhere" in line


# ---- files ----


def test_missing_config_file(refused, tmp_path):
    assert f"no configuration file {tmp_path / 'absent.yaml'}" in refused("train", "--config", tmp_path / "absent.yaml")
    assert "absent.yaml" in refused("train", f"--config={tmp_path / 'absent.yaml'}")


@pytest.mark.parametrize(
    ("text", "says"),
    [("method: cot\n  num_latents: 1\n", ":2: malformed YAML"), ("- cot\n", "option: value"), ("a: [", "malformed YAML")],
)
def test_malformed_yaml(refused, tmp_path, text, says):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    line = refused("train", "--config", recipe)
    assert str(recipe) in line
    assert says in line


def test_missing_data_file(recipe_refused, tmp_path):
    for dataset in ("jsonl", "gsm8k"):
        line = recipe_refused(dataset=dataset, dataset_options=None, dataset_path=str(tmp_path / "absent.jsonl"))
        assert "absent.jsonl" in line
        assert "dataset_path" in line


def test_data_set_without_a_path(recipe_refused):
    assert "dataset_path" in recipe_refused(dataset="jsonl", dataset_options=None)


def test_a_path_nobody_reads(recipe_refused):
    assert "dataset_path" in recipe_refused(dataset_path="somewhere.jsonl")


GOOD = json.dumps({"question": "1 +1", "steps": ["2"], "answer": "2"})


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([GOOD, GOOD, "{'question': 1}"], [":3", "malformed JSON"]),
        ([GOOD, "[1]"], [":2", "JSON object", "list"]),
        ([GOOD, json.dumps({"question": "1 +1"})], [":2", "'answer'"]),
        ([GOOD, json.dumps({"question": "1 +1", "answer": " "})], [":2", "'answer'"]),
        ([GOOD, json.dumps({"answer": "2"})], [":2", "'question'"]),
        ([GOOD, json.dumps({"question": "1 +1", "answer": "2", "steps": "2"})], [":2", "'steps'", "list"]),
        ([], ["is empty", "at least one problem"]),
        (["", " "], ["is empty", "at least one problem"]),
    ],
    ids=["json", "list", "no answer", "blank answer", "no question", "steps", "empty", "blank"],
)
def test_data_file(recipe_refused, tmp_path, lines, says):
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(lines))
    line = recipe_refused(dataset="jsonl", dataset_options=None, dataset_path=str(data))
    assert str(data) in line
    for part in says:
        assert part in line


def test_gsm8k_answer_without_a_value(recipe_refused, tmp_path):
    data = tmp_path / "train.jsonl"
    data.write_text(json.dumps({"question": "How many?", "answer": "Three."}))
    line = recipe_refused(dataset="gsm8k", dataset_options=None, dataset_path=str(data))
    assert f"{data}:1" in line
    assert "####" in line


def test_output_folder_of_another_run(refused, tmp_path, output):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**RECIPE, "output_dir": str(output)}))
    for name in ("checkpoint-5", "model.safetensors"):
        output.mkdir()
        (output / name).mkdir()
        line = refused("train", "--config", recipe)
        assert f"output_dir={output}" in line
        assert name in line
        assert "resume_from_checkpoint" in line
        assert [path.name for path in output.iterdir()] == [name]
        (output / name).rmdir()
        output.rmdir()


# ---- problems that do not fit the context ----


def long_data(path, lengths) -> str:
    """Write problems whose questions have so many words, each question another one."""
    rows = [
        {"question": " ".join([*["1"] * (length - 1), str(number)]), "steps": ["1"], "answer": "1"}
        for number, length in enumerate(lengths)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_long_questions_are_dropped_and_counted(tmp_path, output, capsys):
    data = long_data(tmp_path / "data.jsonl", [5] * 10 + [100] * 30)
    recipe = tmp_path / "recipe.yaml"
    settings = {**RECIPE, "output_dir": str(output), "dataset": "jsonl", "dataset_path": data}
    recipe.write_text(yaml.safe_dump({key: value for key, value in settings.items() if key != "dataset_options"}))
    main("train", ["--config", str(recipe)])
    held_out = 2  # a twentieth is the validation split
    short = sum(len(row["question"]) < 50 for row in load_problems("jsonl", "train", path=data))
    assert f"dropped {40 - held_out - short} of {40 - held_out} problems: longer than" in capsys.readouterr().out


def test_only_long_questions(recipe_refused, tmp_path):
    data = long_data(tmp_path / "data.jsonl", [100] * 10)
    line = recipe_refused(dataset="jsonl", dataset_options=None, dataset_path=data)
    assert "context of 64 tokens" in line


# ---- the API ----


@pytest.fixture
def arguments(output):
    """Return a function that makes training arguments which write to a folder that does not exist."""

    def make(**changes):
        settings = {
            "template": "plain",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
            "max_steps": 1,
            "last_stage": 0,
        }
        return LatentTrainingArguments(str(output), **{**settings, **changes})

    return make


@pytest.fixture
def model(tokenizer):
    """Return a tiny latent model over the tokenizer, which has the thought tokens afterwards."""
    return LatentForCausalLM.from_base(make_base(vocab_size=len(tokenizer)), tokenizer=tokenizer)


@pytest.fixture
def api_refused(output):
    """Return a function that makes a call which must fail with one line and write nothing."""

    def run(call) -> str:
        with pytest.raises(InputError) as caught:
            call()
        assert not output.exists()
        assert len(str(caught.value).splitlines()) == 1
        return str(caught.value)

    return run


def test_tokenizer_without_the_tokens(api_refused, arguments, tokenizer, problems):
    line = api_refused(lambda: encode_prompts(["1 +1"], tokenizer, num_latents=2))
    assert "<|latent|>, <|bot|>, <|eot|>" in line
    assert "from_base" in line
    trained = make_latent()
    line = api_refused(lambda: LatentTrainer(trained, arguments(), train_dataset=problems, processing_class=tokenizer))
    assert "<|latent|>" in line


def test_trainer_without_a_tokenizer(api_refused, arguments, model, problems):
    assert "processing_class" in api_refused(lambda: LatentTrainer(model, arguments(), train_dataset=problems))


def test_prompts(api_refused, model, tokenizer):
    assert "num_latents=-1" in api_refused(lambda: encode_prompts(["1 +1"], tokenizer, num_latents=-1))
    assert "num_latents=[1, 2]" in api_refused(lambda: encode_prompts(["1 +1"], tokenizer, num_latents=[1, 2]))
    assert "list of questions" in api_refused(lambda: encode_prompts([], tokenizer))
    assert "list of questions" in api_refused(lambda: encode_prompts("1 +1", tokenizer))


def test_empty_data_set(api_refused, arguments, model, tokenizer):
    line = api_refused(lambda: LatentTrainer(model, arguments(), train_dataset=[], processing_class=tokenizer))
    assert "train dataset is empty" in line
    assert "size=0 must be at least 1" in api_refused(lambda: load_problems("arithmetic", size=0))


def test_row_without_an_answer(api_refused):
    assert "row 1 has no answer" in api_refused(lambda: as_problems([{"question": "a", "answer": "b"}, {"question": "a"}]))
    assert "row 0 has no question and no answer" in api_refused(lambda: as_problems([{}]))
    assert "'answer' is empty or not a text" in api_refused(lambda: as_problems([{"question": "a", "answer": 5}]))


def test_no_problem_fits(api_refused, arguments, model, tokenizer):
    rows = [{"question": " ".join(["1"] * 200), "answer": "1"}]
    line = api_refused(lambda: LatentTrainer(model, arguments(), train_dataset=rows, processing_class=tokenizer))
    assert "context of 128 tokens; 1 are longer" in line


def test_output_folder_of_another_run_in_the_api(arguments, model, tokenizer, problems, output):
    (output / "checkpoint-7").mkdir(parents=True)
    trainer = LatentTrainer(model, arguments(), train_dataset=problems, processing_class=tokenizer)
    with pytest.raises(InputError, match=r"already holds another run \(checkpoint-7\).*resume_from_checkpoint=True"):
        trainer.train()
    assert [path.name for path in output.iterdir()] == ["checkpoint-7"]


def test_checkpointing_in_the_base_model(api_refused, arguments, model, tokenizer, problems):
    model.base.activation_checkpointing_enable()
    api_refused(lambda: LatentTrainer(model, arguments(), train_dataset=problems, processing_class=tokenizer))
    batch = encode_prompts(["1 +1"], tokenizer, num_latents=2)
    assert "turn it off there" in api_refused(lambda: model.train()(**batch))


def test_evaluate_and_train_without_data(arguments, model, tokenizer):
    trainer = LatentTrainer(model, arguments(), processing_class=tokenizer)
    with pytest.raises(InputError, match="eval_dataset"):
        trainer.evaluate()
    with pytest.raises(InputError, match="train_dataset"):
        trainer.train()


def test_stage_that_does_not_exist(arguments, model, tokenizer, validation_problems):
    trainer = LatentTrainer(model, arguments(max_stage=2), eval_dataset=validation_problems, processing_class=tokenizer)
    for stage in (-1, 4):
        with pytest.raises(InputError, match=rf"stage={stage}\): the curriculum has stages 0 to 3"):
            trainer.evaluate(stage=stage)


def test_advance_at_without_one_eval_dataset(api_refused, arguments, model, tokenizer, problems):
    args = arguments(advance_at=0.5, eval_strategy="steps", eval_steps=1)
    for data in (None, {"a": problems, "b": problems}):
        line = api_refused(
            lambda data=data: LatentTrainer(
                model, args, train_dataset=problems, eval_dataset=data, processing_class=tokenizer
            )
        )
        assert "advance_at=0.5 needs one eval_dataset" in line


def test_backprop(api_refused, arguments):
    assert "backprop=-1" in api_refused(lambda: arguments(backprop=-1))
    assert "backprop='lots'" in api_refused(lambda: arguments(backprop="lots"))
    assert "backprop=-1" in api_refused(lambda: make_latent(backprop=-1))
    assert "backprop='lots'" in api_refused(lambda: make_latent(backprop="lots"))


def test_adapter_without_a_named_base(tmp_path, arguments, model, tokenizer, problems):
    args = arguments(save_strategy="no")
    trainer = LatentTrainer(model, args, train_dataset=problems, processing_class=tokenizer, peft_config=LoraConfig(r=2))
    trainer.save_model(str(tmp_path / "adapter"))
    with pytest.raises(InputError, match=r"adapter in .* does not name the model.*PeftModel\.from_pretrained"):
        LatentForCausalLM.from_pretrained(str(tmp_path / "adapter"))

"""How a trainer evaluates and predicts: loss and written answers at a stage, without a trace in what is trained."""

import contextlib
from collections.abc import Iterator

import numpy
import torch
from accelerate.utils import gather_object
from tqdm.auto import tqdm
from transformers import EvalPrediction
from transformers.trainer_utils import PredictionOutput, denumpify_detensorize
from transformers.utils import logging

from latent_trainer.compat import memory_tracker, prepared
from latent_trainer.data import EncodedProblem
from latent_trainer.errors import InputError
from latent_trainer.evaluation.generation import Answer, generate_answers
from latent_trainer.evaluation.mode import evaluating, in_precision, own_random_numbers
from latent_trainer.evaluation.summary import summarise
from latent_trainer.training.launching import refuse_evaluation

logger = logging.get_logger(__name__)


class Evaluation:
    """``evaluate`` and ``predict`` of a trainer; comes before `Trainer`, whose loops want batches of labelled tokens."""

    def evaluate(
        self, eval_dataset=None, ignore_keys=None, metric_key_prefix: str = "eval", stage: int | None = None
    ) -> dict[str, float]:
        """Return loss and generated accuracy at a stage, the current one by default.

        Rows are as the stage schedules them, whatever a curriculum draws at random in training.

        Args:
            eval_dataset: problems, a dictionary of them, or the name of one in the trainer's; ``eval_dataset`` of the
                trainer by default.
            ignore_keys: refused: there are no outputs to leave out.
            metric_key_prefix: first part of every metric's name.
            stage: evaluate as at this stage.

        Raises:
            InputError: no problems, or a stage the curriculum does not have.
        """
        problems = self._given(eval_dataset)
        if isinstance(problems, dict):
            metrics = {}
            for name, one in problems.items():
                metrics |= self.evaluate(one, ignore_keys, f"{metric_key_prefix}_{name}", stage)
            return metrics
        memory_tracker(self).start()
        with self._at_stage(stage):
            metrics, _ = self._measure(problems, ignore_keys, metric_key_prefix)
            self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        memory_tracker(self).stop_and_update_metrics(metrics)
        return metrics

    def predict(
        self, test_dataset, ignore_keys=None, metric_key_prefix: str = "test", stage: int | None = None
    ) -> PredictionOutput:
        """Return what is written for every problem, and the metrics `evaluate` gives.

        Args:
            test_dataset, ignore_keys, metric_key_prefix, stage: as in `evaluate`.

        Returns:
            ``predictions`` and ``label_ids`` as ``compute_metrics`` gets them: tokens written, and tokens to be written,
            both (N, longest), -100 behind the end; None with ``prediction_loss_only``. ``metrics``.

        Raises:
            InputError: as in `evaluate`, or answers are not generated.
        """
        if not (self.args.generate_in_eval or self.args.prediction_loss_only):
            raise InputError("predict() returns generated tokens, and generate_in_eval is off; turn it on")
        memory_tracker(self).start()
        with self._at_stage(stage):
            metrics, written = self._measure(test_dataset, ignore_keys, metric_key_prefix)
        self.control = self.callback_handler.on_predict(self.args, self.state, self.control, metrics)
        memory_tracker(self).stop_and_update_metrics(metrics)
        return PredictionOutput(
            predictions=None if written is None else written.predictions,
            label_ids=None if written is None else written.label_ids,
            metrics=metrics,
        )

    def _given(self, problems):
        """Return the problems to evaluate on, by default the trainer's."""
        if isinstance(problems, str):
            if not isinstance(self.eval_dataset, dict) or problems not in self.eval_dataset:
                known = list(self.eval_dataset) if isinstance(self.eval_dataset, dict) else "no names"
                raise InputError(f"evaluate('{problems}'): the trainer's eval_dataset has {known}")
            return {problems: self.eval_dataset[problems]}
        problems = self.eval_dataset if problems is None else problems
        if problems is None:
            raise InputError("evaluate() needs eval_dataset; give it to the trainer or to this call")
        return problems

    @contextlib.contextmanager
    def _at_stage(self, stage: int | None):
        """Within the block, be at another stage; None for the current one."""
        if stage is not None and not 0 <= stage < self.curriculum.num_stages:
            raise InputError(f"evaluate(stage={stage}): the curriculum has stages 0 to {self.curriculum.num_stages - 1}")
        current, self.stages.stage = self.stages.stage, self.stages.stage if stage is None else stage
        try:
            yield
        finally:
            self.stages.stage = current

    def _measure(self, problems, ignore_keys, prefix: str) -> tuple[dict[str, float], EvalPrediction | None]:
        """Return metrics at the stage that is, and tokens written where answers are generated."""
        if ignore_keys:
            raise InputError(f"ignore_keys={ignore_keys}: only generated tokens are gathered; leave it out")
        model = self.accelerator.unwrap_model(self.model)
        refuse_evaluation(model, self.deepspeed)
        read, answered, metrics = self._that_can_be_evaluated(problems)
        if hasattr(self.optimizer, "eval"):
            self.optimizer.eval()  # a schedule-free one holds other weights while it trains; a training step goes back
        written = None
        with (
            evaluating(model),
            own_random_numbers(self.args.seed),
            in_precision(model, None if self.is_in_train else self.args.full_eval_dtype),
            self.accelerator.autocast(),
        ):
            metrics["loss"] = self._evaluate_loss(model, read)
            if self.args.generate_in_eval:
                answers, tokens = self._generate(model, answered)
                metrics |= summarise(answers)
                written = self._written(answered, tokens)
                metrics |= self._own_metrics(written, metrics, prefix)
        return {
            name if name.startswith(f"{prefix}_") else f"{prefix}_{name}": value for name, value in metrics.items()
        }, written

    def _that_can_be_evaluated(self, problems) -> tuple[list[EncodedProblem], list[EncodedProblem], dict[str, int]]:
        """Return the problems of the loss, those that are answered, and the numbers of those left out and out of reach."""
        rows = self.batches.encoded(problems, "evaluation")
        read, unread = self.batches.that_can_be_read(rows)
        if not self.args.generate_in_eval:
            return read, [], {"dropped": unread}
        answered, dropped = self.batches.room.answered(rows)
        unreachable, line = self.batches.room.beyond_reach(answered)
        if unreachable:
            logger.warning_once(line)
        return read, answered, {"dropped": dropped, "dropped_from_loss": unread, "unreachable": unreachable}

    @torch.no_grad()
    def _evaluate_loss(self, model, rows: list[EncodedProblem]) -> float:
        """Return the objective over all rows, shared out over the processes."""
        mine = self._mine(rows)
        size = self.args.per_device_eval_batch_size
        starts = range(0, len(mine), size)
        stage = self.stages.stage
        batches = [self.batches.batch(list(mine[start : start + size]), rows, stage, epoch=None) for start in starts]
        totals = self._totals(model, batches)
        total = torch.zeros((), device=self.args.device)
        for batch in tqdm(batches, desc="loss", unit="batch", leave=False, disable=not self._shows_progress):
            inputs = prepared(self, batch)
            total += sum(self._scored(model, inputs, totals)[1].values())
        return self.accelerator.reduce(total, "sum").item()

    def _generate(self, model, rows: list[EncodedProblem]) -> tuple[list[Answer], list[list[int]]]:
        """Return the answers to all rows and the tokens written for them, on every process."""
        mine, tokens = self._mine(rows), {}
        answers = generate_answers(
            model,
            self.processing_class,
            [rows[index % len(rows)].problem for index in mine],
            self.curriculum.latents(self.stages.stage),
            self.batches.encoder.template,
            batch_size=self.args.per_device_eval_batch_size,
            max_new_tokens=self.args.max_new_tokens,
            show_progress=self._shows_progress,
            on_tokens=tokens.__setitem__,
        )
        own = [(index, answer, tokens[place]) for place, (index, answer) in enumerate(zip(mine, answers, strict=True))]
        every = sorted((one for one in gather_object(own) if one[0] < len(rows)), key=lambda one: one[0])
        return [answer for _, answer, _ in every], [written for *_, written in every]

    def _written(self, rows: list[EncodedProblem], tokens: list[list[int]]) -> EvalPrediction:
        """Return the tokens written for rows, those they are trained on at this stage, and the prompts if asked for."""
        labels = [[label for label in self._labels(row) if label != -100] for row in rows]
        latents, inputs = self.curriculum.latents(self.stages.stage), None
        if "inputs" in self.args.include_for_metrics:
            inputs = _padded([self.batches.encoder.prompt(row.problem.question, latents) for row in rows])
        return EvalPrediction(predictions=_padded(tokens), label_ids=_padded(labels), inputs=inputs)

    def _labels(self, row: EncodedProblem) -> list[int]:
        """Return the labels of a row with its latents at the current stage."""
        return self.batches.encoder.latent_view(row, self.batches.plan(row, self.stages.stage)).labels

    def _own_metrics(self, written: EvalPrediction, metrics: dict, prefix: str) -> dict:
        """Return what ``compute_metrics`` makes of what was written.

        Raises:
            InputError: a name that evaluation has for something else.
        """
        if self.compute_metrics is None:
            return {}
        own = denumpify_detensorize(self.compute_metrics(written))
        for name in own:
            if name.removeprefix(f"{prefix}_") in metrics:
                raise InputError(f"compute_metrics returns '{name}', which evaluation measures itself; give it another name")
        return own

    def _mine(self, rows: list) -> range:
        """Return the rows this process evaluates, as many on each; numbers past the end are fillers, as in training."""
        processes = self.args.world_size
        return range(self.args.process_index, -(-len(rows) // processes) * processes, processes)

    @property
    def _shows_progress(self) -> bool:
        return self.is_world_process_zero() and not self.args.disable_tqdm


def _padded(rows: list[list[int]]) -> numpy.ndarray:
    """Return rows of tokens (N, longest) with -100 behind the end of each."""
    padded = numpy.full((len(rows), max(map(len, rows), default=0)), -100)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return padded


def read_again(problems):
    """Return problems, or a dictionary of them, so that every evaluation finds them: an iterator is over after the first."""
    if isinstance(problems, dict):
        return {name: read_again(one) for name, one in problems.items()}
    return list(problems) if isinstance(problems, Iterator) else problems

"""Seconds of a training step of each method against plain fine-tuning of the same rows, side by side in one process.

Run: python benchmarks/training.py [--shape gpt2] [--batch 8] [--rounds 5]
"""

import torch
from accelerate.utils import send_to_device
from common import DEVICE, argument_parser, compare, make_model, report

from latent_trainer.data.collator import LatentCollator
from latent_trainer.data.encoding import View
from latent_trainer.objectives import OBJECTIVES

QUESTION, STEPS, ANSWER = 64, 30, 10


def rows(batch: int, vocabulary: int, latents: int, latent_id: int, views: tuple[str, ...], prompt: int = QUESTION):
    """Return ``batch`` rows of random tokens with the views an objective needs."""
    generator = torch.Generator().manual_seed(0)

    def draw(number: int) -> list[int]:
        return torch.randint(1, vocabulary - 3, (number,), generator=generator).tolist()

    made = []
    for _ in range(batch):
        question, steps, answer = draw(prompt), draw(STEPS), draw(ANSWER)
        given = [latent_id + 1, *[latent_id] * latents, latent_id + 2]
        own = {
            "latent": View(given + answer, [-100] * len(given) + answer, len(given) + 1),
            "explicit": View(steps + answer, steps + answer, len(steps) + 1),
        }
        made.append((question, {name: own[name] for name in views}))
    return made


def plain_step(model, optimizer, made, view: str):
    """Return a step of plain fine-tuning: the stock model over the same rows and labels, every position in one pass."""
    base = model.base
    ids = torch.tensor([question + own[view].input_ids for question, own in made], device=DEVICE)
    labels = torch.tensor([[-100] * len(question) + own[view].labels for question, own in made], device=DEVICE)

    def step():
        base(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def latent_step(model, optimizer, made, objective, feedback="hidden", rollout="sequential", backprop="full", options=None):
    """Return a step of a latent method through the model's training path."""
    batch = LatentCollator(0)(made)
    batch["rows"] = torch.ones(len(made), dtype=torch.bool)
    batch = send_to_device(batch, DEVICE)
    counts = {"rows": len(made)}
    counts |= {f"{name}_tokens": int((view["labels"] != -100).sum()) for name, view in batch["views"].items()}

    def step():
        model.configure(feedback, None, rollout, backprop, options)
        outputs = model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            views=batch["views"],
            output_hidden_states=objective.needs_hidden_states,
        )
        if objective.statistics_view:
            counts["statistics"] = objective.statistics(outputs, batch)
        sum(objective(outputs, batch, counts).values()).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    """Measure and write results/benchmarks/training-SHAPE.json."""
    args = argument_parser(__doc__).parse_args()
    model = make_model(args.shape)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)  # its cost does not depend on the method
    latent_id, vocabulary = model.config.latent_token_id, model.config.vocab_size
    answer, distil = OBJECTIVES["answer"](), OBJECTIVES["self_distillation"]()

    def made(latents: int, *views: str):
        return rows(args.batch, vocabulary, latents, latent_id, views)

    def latent(number: int, **options):
        return latent_step(model, optimizer, made(number, "latent"), answer, **options)

    both = ("latent", "explicit")
    cot = compare(
        {
            "plain CoT fine-tuning": plain_step(model, optimizer, made(0, "explicit"), "explicit"),
            "CODI, 6 latents": latent_step(model, optimizer, made(6, *both), distil),
            "PCCoT, 24 latents, 3 iterations": latent_step(
                model, optimizer, made(24, *both), distil, rollout="jacobi", options={"iterations": 3}
            ),
        },
        "plain CoT fine-tuning",
        args.rounds,
    )
    same = compare(
        {
            "plain, the positions of 6 latents": plain_step(model, optimizer, made(6, "latent"), "latent"),
            "Coconut, 6 latents": latent(6),
        },
        "plain, the positions of 6 latents",
        args.rounds,
    )
    many = compare(
        {
            "plain, the positions of 30 latents": plain_step(model, optimizer, made(30, "latent"), "latent"),
            "answer-only, 30 latents, backprop last": latent(30, backprop="last"),
        },
        "plain, the positions of 30 latents",
        args.rounds,
    )
    config = {**vars(args), "question": QUESTION, "steps": STEPS, "answer": ANSWER}
    report(f"training-{args.shape}", cot | same | many, config)


if __name__ == "__main__":
    main()

"""How fast students are taught here.

Rates are per second of processor time, not of the clock, so that other work on the machine does not
count.
"""

from __future__ import annotations

import contextlib
import io
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from journeyman.models.catalog import resolve
from journeyman.models.students.causal import load_causal
from journeyman.models.students.chat import end_id, stop_ids
from journeyman.models.training.embedder import QueryLesson, train_embedder
from journeyman.models.training.generator_rows import PromptedAnswer, Row, to_rows
from journeyman.models.training.tagger import TaggedText, train_tagger
from journeyman.models.types import Span

BASE = "SmolLM2-135M-Instruct"
FIELDS = ("name", "city", "day", "time", "guests", "dish", "state", "country")
NUM_ROWS, BATCH = 8, 4
NUM_QUESTIONS, NUM_NEGATIVES, EPOCHS = 64, 3, 2
NUM_ORDERS, ORDERS_A_STEP = 256, 32


def bookings(num_rows: int) -> list[PromptedAnswer]:
    """Prompts of about 200 tokens, answers of about 60: the shape of an extraction."""
    told = "\n".join(f"- {field}: as it stands in the text, or null" for field in FIELDS)
    system = f"Extract fields from the text as one JSON object.\n{told}"
    rows = []
    for i in range(num_rows):
        text = f"Book a table for {i + 2} in Springfield on May {i + 1} at {i % 12}pm, please."
        values = ", ".join(f'"{field}": ' + ("null" if i % 3 else f'"{i}"') for field in FIELDS)
        messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
        rows.append(PromptedAnswer(messages, f"{{{values}}}"))
    return rows


def _adapted() -> tuple[Any, Any, list[Row]]:
    import peft
    import torch

    module, tokenizer = load_causal(resolve(BASE), "float32")
    end = end_id(tokenizer, stop_ids(module, tokenizer))
    rows = to_rows(tokenizer, bookings(NUM_ROWS), name=BASE, end=end)
    torch.manual_seed(0)
    settings = peft.LoraConfig(
        r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    return peft.get_peft_model(module, settings), tokenizer, rows


def _rate(trainer: Any, rows: list[Row]) -> float:
    start = time.process_time()
    trainer.train()
    return sum(row.num_tokens for row in rows) / (time.process_time() - start)


def _trl(folder: Path, **settings: Any) -> float:
    """TRL itself on the same rows."""
    import datasets
    import trl

    class Silent(trl.SFTTrainer):
        def _send_telemetry(self) -> None:
            """A measurement is nobody's usage."""

    model, tokenizer, rows = _adapted()
    data = [
        {"input_ids": [*row.prompt, *row.answer], "labels": [-100] * len(row.prompt) + row.answer}
        for row in rows
    ]
    trainer = Silent(
        model=model,
        args=trl.SFTConfig(
            output_dir=str(folder),
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            use_cpu=True,
            save_strategy="no",
            disable_tqdm=True,
            logging_strategy="no",
            **settings,
        ),
        train_dataset=datasets.Dataset.from_list(data),
        processing_class=tokenizer,
    )
    return _rate(trainer, rows)


def _ours(folder: Path, precision: str) -> float:
    from journeyman.models.training.generator_loops import Schedule, sft_trainer

    model, tokenizer, rows = _adapted()
    schedule = Schedule(
        epochs=1,
        batch_size=BATCH,
        learning_rate=1e-3,
        warmup_share=0.0,
        seed=0,
        device="cpu",
        folder=folder,
        precision=precision,
    )
    trainer = sft_trainer(model, tokenizer, rows, [], schedule, lambda *_: None)
    trainer.args.save_strategy = "no"
    return _rate(trainer, rows)


def generators() -> list[str]:
    """Tokens a second of teaching a generator, against TRL as it comes and with its traps off."""
    with tempfile.TemporaryDirectory() as folder:
        ours = _ours(Path(folder), "float32")
        half = _ours(Path(folder), "bfloat16")
        careful = _trl(Path(folder), bf16=False, gradient_checkpointing=False)
        plain = _trl(Path(folder))
    line = (
        f"generator ({BASE}, LoRA, {NUM_ROWS} rows): {ours:.0f} tokens a second of CPU time in "
        f"float32, {half:.0f} in bfloat16; TRL in float32 without checkpointing {careful:.0f} "
        f"({ours / careful:.2f}x), TRL as it comes, in bfloat16, {plain:.0f} ({half / plain:.2f}x)"
    )
    return [line]


def _questions() -> list[QueryLesson]:
    """Short questions, answers and hard negatives of about 100 tokens."""
    tail = "It was written down by those who keep the records, word for word as it was told. " * 5

    def text(number: int) -> str:
        return f"Entry {number} of the log says what happened to machine {number % 17}. {tail}"

    return [
        QueryLesson(
            f"what happened to machine {i % 17} in entry {i}",
            (text(i),),
            tuple(text(i + 17 * n) for n in range(1, 1 + NUM_NEGATIVES)),
        )
        for i in range(NUM_QUESTIONS)
    ]


def _taught_embedder(folder: Path) -> None:
    train_embedder(
        _questions(),
        out=folder / "student",
        epochs=EPOCHS,
        num_negatives=NUM_NEGATIVES,
        held_out_share=0,
        device="cpu",
    )


def _plain_embedder(folder: Path) -> None:
    """The library's own trainer and loss on the same texts, both sides learning."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    rows = [
        {"query": each.query, "positive": each.positives[0]}
        | {f"negative_{n}": text for n, text in enumerate(each.negatives)}
        for each in _questions()
    ]
    model = SentenceTransformer(str(resolve("all-MiniLM-L6-v2").path), device="cpu")
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(folder),
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=32,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
        ),
        train_dataset=Dataset.from_list(rows),
        loss=MultipleNegativesRankingLoss(model),
    )
    trainer.train()
    model[0].auto_model.save_pretrained(folder / "plain")


def cost_of(teach: Callable[[Path], None]) -> tuple[float, float]:
    """Seconds of CPU time, and the peak of this process's memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            teach(Path(folder))
        seconds = time.process_time() - start
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def embedders() -> list[str]:
    """Queries a second and peak memory of teaching an embedder, from texts to files.

    Against the library's own trainer, each in a process of its own, libraries loading included.
    """
    costs = {}
    for name, teach in (("ours", _taught_embedder), ("plain", _plain_embedder)):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            costs[name] = process.submit(cost_of, teach).result()
    (ours, our_peak), (plain, plain_peak) = costs["ours"], costs["plain"]
    num_pairs = NUM_QUESTIONS * EPOCHS
    line = (
        f"embedder (MiniLM, {NUM_QUESTIONS} queries with {NUM_NEGATIVES} hard negatives, {EPOCHS} "
        f"epochs): {num_pairs / ours:.1f} pairs a second of CPU time at {our_peak:.0f} MB; "
        f"sentence-transformers as it comes {num_pairs / plain:.1f} ({plain / ours:.2f}x the time) "
        f"at {plain_peak:.0f} MB"
    )
    return [line]


def orders() -> list[TaggedText]:
    """Requests of 6 to 20 words, as people type them."""
    tails = ("", " please", " and tell them that we may be a little late for it this time")
    rows = []
    for i in range(NUM_ORDERS):
        spans, text = [], ""
        for words, label in (("book", ""), (f"a table for {i + 2}", "guests"), ("at", "")):
            start = len(text) + bool(text)
            text = f"{text} {words}".strip()
            if label:
                spans.append(Span(label, start, len(text), words))
        rows.append(TaggedText(f"{text} the harbour inn number {i}{tails[i % 3]}", tuple(spans)))
    return rows


class _Clock:
    """CPU seconds from the end of the first step, which warms up, to the end of the last."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def tick(self) -> None:
        self.ends.append(time.process_time())

    def rows_a_second(self) -> float:
        steps = (len(self.ends) - 1) / len(self.ends)
        return steps * NUM_ORDERS * EPOCHS / (self.ends[-1] - self.ends[0])


def _taught_tagger(folder: Path) -> float:
    clock = _Clock()
    train_tagger(
        orders(),
        ("guests",),
        out=folder / "student",
        epochs=EPOCHS,
        batch_size=ORDERS_A_STEP,
        held_out_share=0,
        exchanged_share=0,  # the plain trainer below sees the texts as they are
        device="cpu",
        progress=lambda _: clock.tick(),
    )
    return clock.rows_a_second()


def _plain_tagger(folder: Path) -> float:
    """The library's own trainer on the same rows and tags."""
    import transformers

    base = resolve("all-MiniLM-L6-v2").path
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    model = transformers.AutoModelForTokenClassification.from_pretrained(base, num_labels=3)
    rows = []
    for order in orders():
        encoded = tokenizer(order.text, return_offsets_mapping=True)
        (span,) = order.spans
        places = encoded.pop("offset_mapping")
        held = [span.start <= start and end <= span.end for start, end in places]
        labels = [
            -100 if start == end else 1 + (start > span.start) if inside else 0
            for (start, end), inside in zip(places, held, strict=True)
        ]
        rows.append({**encoded, "labels": labels})
    clock = _Clock()

    class Ticking(transformers.TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.tick()

    transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=ORDERS_A_STEP,
            learning_rate=5e-4,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=rows,
        data_collator=transformers.DataCollatorForTokenClassification(tokenizer),
        callbacks=[Ticking()],
    ).train()
    return clock.rows_a_second()


def rate_of(teach: Callable[[Path], float]) -> tuple[float, float]:
    """What it gives, and the peak of this process's memory in MB."""
    quiet = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(quiet),
        contextlib.redirect_stderr(quiet),
    ):
        rate = teach(Path(folder))
    return rate, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def taggers() -> list[str]:
    """Rows a second and peak memory of teaching a tagger, against the library's own trainer."""
    rates = {}
    for name, teach in (("ours", _taught_tagger), ("plain", _plain_tagger)):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            rates[name] = process.submit(rate_of, teach).result()
    (ours, our_peak), (plain, plain_peak) = rates["ours"], rates["plain"]
    line = (
        f"tagger (MiniLM, {NUM_ORDERS} rows, batches of {ORDERS_A_STEP}): {ours:.0f} rows a second "
        f"of CPU time at {our_peak:.0f} MB; transformers' Trainer {plain:.0f} "
        f"({ours / plain:.2f}x its rate) at {plain_peak:.0f} MB"
    )
    return [line]


def measure() -> list[str]:
    """Lines of the report."""
    return [*generators(), *embedders(), *taggers()]

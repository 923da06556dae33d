"""One training, in a process of its own: `python -m gristmill.train.worker JOB.json`.

A process, so that its memory is given back, a stop ends it at once, and a crash of a library costs a round and not the
run. Reads a `WorkerJob`, trains through TRL, writes weights and tokenizer into its folder, and says how it goes on
stdout, a JSON object a line: {"step": 3, "of": 40, "loss": 2.1}, at the end {"measured": {...}} or {"error": "..."}.

A try that was cut short goes on from the last of its own saves, in `trainer/` within the folder.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec

from gristmill.models.training import Course, Lesson


class WorkerJob(msgspec.Struct):
    """`base`: a folder of weights, or a .gguf file; `folder`: where the checkpoint is made."""

    base: str
    folder: str
    course: Course
    device: str = ""


def main() -> int:
    job = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=WorkerJob)
    said = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # libraries print
        try:
            measured = train(job, said)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run must hear of it; the traceback is on stderr
            import traceback

            traceback.print_exc()
            say(said, error=f"{type(error).__name__}: {error}")
            return 1
    say(said, measured=measured)
    return 0


def say(to: Any, **values: Any) -> None:
    print(json.dumps(values), file=to, flush=True)


def train(job: WorkerJob, said: Any) -> dict[str, float]:
    os.environ["HF_HUB_OFFLINE"] = "1"  # weights are files here; nothing is fetched
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.set_seed(job.course.training.seed)  # before all: a reward model's head is made by chance
    course, saves = job.course, Path(job.folder) / "trainer"
    begun = saves.is_dir() and any(saves.glob("checkpoint-*"))
    trainer = {"sft": sft, "dpo": dpo, "reward": reward, "contrastive": contrastive}[course.method](job)
    watch = _watch(said)
    trainer.add_callback(watch)
    done = trainer.train(resume_from_checkpoint=begun or None)
    loss = watch.loss if watch.loss is not None else done.training_loss
    measured = {
        "loss": loss,
        "first_loss": watch.first if watch.first is not None else loss,
        "rows": len(course.lessons),
    }
    if math.isfinite(loss):
        model = trainer.model
        if course.training.lora_rank:
            model = model.merge_and_unload()
        model.save_pretrained(job.folder)
        if trainer.processing_class is not None:
            trainer.processing_class.save_pretrained(job.folder)
    shutil.rmtree(saves, ignore_errors=True)
    return {**measured, "steps": float(trainer.state.global_step)}


def sft(job: WorkerJob) -> Any:
    """Only the completion counts, and the end that follows it."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = load(job.base)
    rows = [{"prompt": _asked(lesson), "completion": _said(lesson, lesson.completion)} for lesson in job.course.lessons]
    settings = SFTConfig(**_arguments(job), max_length=job.course.training.max_tokens, completion_only_loss=True)
    return SFTTrainer(
        model=model,
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=_lora(job, "CAUSAL_LM"),
    )


def dpo(job: WorkerJob) -> Any:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    training = job.course.training
    model, tokenizer = load(job.base)
    reference = load(job.course.reference)[0] if job.course.reference else None
    settings = DPOConfig(
        **_arguments(job), max_length=training.max_tokens, beta=training.beta, loss_type=[training.loss]
    )
    return DPOTrainer(
        model=model,
        ref_model=reference,
        args=settings,
        train_dataset=Dataset.from_list(_pairs(job.course.lessons)),
        processing_class=tokenizer,
        peft_config=_lora(job, "CAUSAL_LM"),
    )


def reward(job: WorkerJob) -> Any:
    """A model with one number at its head: higher for the better answer (Bradley-Terry)."""
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification
    from trl import RewardConfig, RewardTrainer

    path, gguf = _where(job.base)
    model = AutoModelForSequenceClassification.from_pretrained(path, num_labels=1, **gguf)
    model = dense(model) if gguf else model
    tokenizer = load_tokenizer(job.base)
    model.config.pad_token_id = tokenizer.pad_token_id
    return RewardTrainer(
        model=model,
        args=RewardConfig(**_arguments(job), max_length=job.course.training.max_tokens),
        train_dataset=Dataset.from_list(_pairs(job.course.lessons)),
        processing_class=tokenizer,
        peft_config=_lora(job, "SEQ_CLS"),
    )


def contrastive(job: WorkerJob) -> Any:
    """An encoder that puts a query near its text and away from the others of the batch, and from `rejected`."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments

    model = SentenceTransformer(job.base, local_files_only=True)
    hard = all(lesson.rejected for lesson in job.course.lessons)
    rows = [
        {"anchor": lesson.prompt, "positive": lesson.completion} | ({"negative": lesson.rejected} if hard else {})
        for lesson in job.course.lessons
    ]
    return SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(**_arguments(job)),
        train_dataset=Dataset.from_list(rows),
        loss=MultipleNegativesRankingLoss(model),
    )


def load(base: str) -> tuple[Any, Any]:
    """A causal model in full precision, and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM

    path, gguf = _where(base)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, local_files_only=True, **gguf)
    return (dense(model) if gguf else model), load_tokenizer(base)


def dense(model: Any) -> Any:
    """A model that was read from a GGUF, whose weights are plain numbers by now, no longer called quantized: the trainer
    would refuse it, and a checkpoint would be read as if it were."""
    model.is_quantized, model.hf_quantizer = False, None
    for config in {id(config): config for config in (model.config, model.config.get_text_config())}.values():
        if hasattr(config, "quantization_config"):
            del config.quantization_config
    return model


def load_tokenizer(base: str) -> Any:
    from transformers import AutoTokenizer

    path, gguf = _where(base)
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, **gguf)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _where(base: str) -> tuple[str, dict[str, str]]:
    path = Path(base)
    return (str(path.parent), {"gguf_file": path.name}) if path.suffix == ".gguf" else (base, {})


def _arguments(job: WorkerJob) -> dict[str, Any]:
    """What all trainers of transformers take."""
    training = job.course.training
    return {
        "output_dir": str(Path(job.folder) / "trainer"),
        "learning_rate": training.learning_rate,
        "num_train_epochs": training.epochs,
        "max_steps": training.steps or -1,
        "per_device_train_batch_size": training.batch_size,
        "gradient_accumulation_steps": training.accumulation,
        "warmup_steps": training.warmup_steps,
        "lr_scheduler_type": training.schedule,
        "weight_decay": training.weight_decay,
        "seed": training.seed,
        "data_seed": training.seed,
        "bf16": training.precision == "bfloat16",
        "use_cpu": job.device == "cpu",
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # a loss that is no number must be seen
        "save_strategy": "steps",
        "save_steps": 0.1,  # of all steps: what a stop costs at most
        "save_total_limit": 1,
        "report_to": [],
        "disable_tqdm": True,
    }


def _lora(job: WorkerJob, task: str) -> Any:
    if not (rank := job.course.training.lora_rank):
        return None
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type=task)


def _pairs(lessons: list[Lesson]) -> list[dict[str, Any]]:
    return [
        {
            "prompt": _asked(lesson),
            "chosen": _said(lesson, lesson.completion),
            "rejected": _said(lesson, lesson.rejected),
        }
        for lesson in lessons
    ]


def _asked(lesson: Lesson) -> Any:
    return [{"role": "user", "content": lesson.prompt}] if lesson.chat else lesson.prompt


def _said(lesson: Lesson, text: str) -> Any:
    return [{"role": "assistant", "content": text}] if lesson.chat else text


def _watch(said: Any) -> Any:
    """Says each step, and ends the training where the loss is no number."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):  # type: ignore[misc]  # its base is Any to mypy
        loss: float | None = None
        """The last one."""
        first: float | None = None

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                self.loss = float(logs["loss"])
                self.first = self.loss if self.first is None else self.first
                say(said, step=state.global_step, of=state.max_steps, loss=self.loss)
                control.should_training_stop |= not math.isfinite(self.loss)

    return Watch()


if __name__ == "__main__":
    sys.exit(main())

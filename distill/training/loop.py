"""The training loop, shared by teachers and students."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from distill.console import Failure, note, progress
from distill.evaluation import Embeddings, agreement_at, compare_neighbours, embed_images, score
from distill.models.embedder import Embedder
from distill.training.config import RunConfig
from distill.training.data import Batch, load_batches
from distill.training.gather import gather_rows
from distill.training.head import centre_head, fit_head, head_features
from distill.training.logs import RunLog
from distill.training.optimiser import lr_factor, make_optimizer
from distill.training.sampler import ClassBatches
from distill.training.setup import Setup, prepare
from distill.training.state import RunFolder
from distill.training.teacher import PixelTeacher, to_input

__all__ = ["TrainingResult", "train_model"]

_CENTRE_IMAGES, _FIT_IMAGES = 256, 2048


@dataclass
class TrainingResult:
    """The trained network with the facts of its run.

    Attributes:
        setup: the parts of the run.
        model: the trained network, or its best epoch under ``--validation``.
        best_epoch: epoch of ``model``, counted from 1.
        metrics: part of the data (``"validation"``, ``"test"``) → metric → value.
    """

    setup: Setup
    model: Embedder
    best_epoch: int
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)


class _StudentPass(nn.Module):
    """Raw rows, embeddings and stage maps in one ``forward``, the method that DistributedDataParallel hooks."""

    def __init__(self, model: Embedder) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, stages: bool) -> tuple[Tensor, Tensor, list[Tensor]]:
        maps = self.model.backbone.stages(x) if stages else []
        raw = self.model.project_map(maps[-1] if stages else self.model.backbone(x))
        return raw, functional.normalize(raw, dim=1), maps


def train_model(config: RunConfig, run: RunFolder, overwrite: bool = False) -> TrainingResult:
    """Train by ``config``, continuing from the state in ``run`` if there is one.

    Args:
        run: folder of the run.
        overwrite: delete what ``run`` holds, once everything the new run needs has been opened.

    Raises:
        UsageFailure: options that do not go together.
        Failure: the loss is not finite, or data, weights or teacher cannot be used.
        KeyboardInterrupt: on Ctrl-C; the state of the last complete epoch stays.
    """
    setup = prepare(config, run.path)
    if setup.accelerator.is_main_process:
        run.claim(config, overwrite)
        if setup.teacher is not None:
            setup.teacher.keep(run.path)
    setup.accelerator.wait_for_everyone()
    return _Loop(config, setup, run).run()


class _Loop:
    """A run in progress: network, losses, optimiser and the best epoch so far."""

    def __init__(self, config: RunConfig, setup: Setup, run: RunFolder) -> None:
        self.config = config
        self.setup = setup
        self.folder = run
        self.device = setup.accelerator.device
        self.model = setup.model.to(self.device).to(memory_format=torch.channels_last)
        self.teacher = setup.teacher
        self.losses = setup.losses.to(self.device)
        self.views = self.losses.views
        self.optimizer = make_optimizer(self.model, self.model.linear, self.losses.parameter_groups(config.lr), config)
        self.step_model = setup.accelerator.prepare_model(_StudentPass(self.model))
        self.average = (
            AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True)
            if config.ema
            else None
        )
        ratio = config.distillation.unlabelled_ratio if config.distillation else 0.0
        self.sampler = ClassBatches(setup.images.labels, config.batch_size, config.images_per_class, config.seed, ratio)
        self.steps = config.epochs * len(self.sampler)
        self.best: dict[str, Any] = {"epoch": 0, "metric": "", "value": -1.0, "weights": None}
        self._taught: Embeddings | None = None
        if config.batch_size % setup.accelerator.num_processes:
            raise Failure(
                f"--batch-size {config.batch_size} does not divide among {setup.accelerator.num_processes} processes",
                "choose a multiple",
            )

    def run(self) -> TrainingResult:
        start = self._resume()
        if start == 0 and self.steps:
            self._start_head()
        if start:
            note(f"continuing at epoch {start + 1} of {self.config.epochs}")
        main = self.setup.accelerator.is_main_process
        log = RunLog(self.folder.path, start) if main else None
        try:
            with progress("training", self.steps, done=start * len(self.sampler)) as bar:
                for epoch in range(start, self.config.epochs):
                    # Checked before an epoch, so that a run killed after its last one does not add another.
                    if self._out_of_patience(epoch):
                        note(f"no better validation {self.best['metric']} for {self.config.patience} epochs: stopped")
                        break
                    row = self._epoch(epoch, bar)
                    self._validate(epoch, row)
                    if log:
                        log.write(row)
                        self.folder.save(self._state(epoch + 1))
        finally:
            if log:
                log.close()
        model = self._deployed()
        if self.best["weights"] is not None:
            model.load_state_dict(self.best["weights"])
        result = TrainingResult(self.setup, model.eval(), self.best["epoch"] or self.config.epochs)
        if self.best["epoch"]:
            result.metrics["validation"] = {self.best["metric"]: self.best["value"]}
        return result

    def _start_head(self) -> None:
        """Initialise the embedding layer from the features of the first batches, equally in every process."""
        setup, model = self.setup, self.model
        if model.linear is None or self.config.keep_head:
            return
        # Features of random weights predict nothing, and a layer fitted to them by chance is hard to unlearn.
        fitted = (
            self.config.weights and setup.teacher_info and setup.teacher_info.embedding_size == model.embedding_size
        )
        teacher = self.teacher if fitted else None
        # Stored embeddings cost nothing extra; a live teacher has to run for every image.
        wanted = _FIT_IMAGES if teacher is not None and teacher.source == "stored" else _CENTRE_IMAGES
        plan = [
            batch for batch, _ in zip(self.sampler.epoch(0), range(-(-wanted // self.config.batch_size)), strict=False)
        ]
        if teacher is not None:
            with setup.accelerator.main_process_first():
                teacher.prepare((0,))
        features, targets = [], []
        for batch in load_batches(
            setup.images,
            plan,
            (0,),
            setup.rule,
            setup.preprocessing.input_size,
            teacher.input_size if teacher else None,
            setup.degrade,
            0,
        ):
            features.append(head_features(model, to_input(batch.student, setup.preprocessing, self.device)))
            if teacher is not None:
                targets.append(teacher(batch, False)[0])
        if teacher is not None:
            fit_head(model, torch.cat(features), torch.cat(targets))
        else:
            centre_head(model, torch.cat(features))

    def _epoch(self, epoch: int, bar: Any) -> dict[str, float]:
        config, setup = self.config, self.setup
        torch.manual_seed((config.seed << 20) + epoch)  # dropout and stochastic depth of timm teachers
        views, mirrored = self._views(epoch)
        if self.teacher is not None:
            with setup.accelerator.main_process_first():
                self.teacher.prepare(views)
        self.step_model.train()
        sums: dict[str, float] = {}
        began = time.perf_counter()
        count = 0
        batches = load_batches(
            setup.images,
            self._process_share(epoch),
            views,
            setup.rule,
            setup.preprocessing.input_size,
            self.teacher.input_size if self.teacher else None,
            setup.degrade,
            setup.workers,
            mirrored,
        )
        for number, batch in enumerate(batches):
            step = epoch * len(self.sampler) + number
            parts = self._step(step, batch)
            loss = parts["loss"]
            if not math.isfinite(loss):
                raise Failure(
                    f"epoch {epoch + 1}, step {number + 1}: the loss is {loss}", "lower --lr, or limit it with --clip 1"
                )
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value
            count += 1
            bar.advance()
            bar.status(f"epoch {epoch + 1}/{config.epochs} loss {loss:.4f}")
        seconds = time.perf_counter() - began
        row = {"epoch": epoch + 1, "lr": self.optimizer.param_groups[0]["lr"], "seconds": round(seconds, 3)}
        return row | {name: value / count for name, value in sums.items()}

    def _step(self, step: int, batch: Batch) -> dict[str, float]:
        setup, losses = self.setup, self.losses
        factor = lr_factor(step, self.steps, self.config.schedule, self.config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
        scaled = to_input(batch.student, setup.preprocessing, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=setup.autocast):
            raw, embeddings, maps = self.step_model(scaled, losses.needs_stages)
        targets, target_maps = self.teacher(batch, losses.needs_stages) if self.teacher else (None, None)
        labels = torch.from_numpy(setup.images.labels[batch.indices]).repeat(self.views).to(self.device)
        joint_labels = self._joint(labels)
        parts = losses(
            self._joint(embeddings.float()),
            teacher=None if targets is None else self._joint(targets),
            labels=joint_labels,
            student_stages=[self._joint(m.float()) for m in maps] or None,
            teacher_stages=[None if m is None else self._joint(m.float()) for m in target_maps]
            if target_maps
            else None,
            labelled_mask=joint_labels >= 0,
            student_raw=self._joint(raw.float()) if losses.needs_raw else None,
        )
        self.optimizer.zero_grad(set_to_none=True)
        parts["loss"].backward()
        if self.config.clip:
            nn.utils.clip_grad_norm_([*self.model.parameters(), *losses.parameters()], self.config.clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return {name: float(value.detach()) for name, value in parts.items()}

    def _views(self, epoch: int) -> tuple[tuple[int, ...], tuple[bool, ...]]:
        """Return the crop numbers of this epoch, and for each whether it is mirrored.

        Cached crops are reused. They are mirrored every other time if the teacher's embedding is the same for
        both, which its stage maps are not.
        """
        numbers = range(epoch * self.views, (epoch + 1) * self.views)
        options = self.config.distillation if self.teacher is not None else None
        if options is None or self.teacher is None or not options.teacher_crops or self.teacher.stored:
            return tuple(numbers), (False,) * self.views
        crops = max(options.teacher_crops, self.views)
        mirror = options.teacher_mirror and not self.losses.needs_stages
        return tuple(number % crops for number in numbers), tuple(
            mirror and number // crops % 2 == 1 for number in numbers
        )

    def _process_share(self, epoch: int) -> Iterator[np.ndarray]:
        """Yield this process's rows of every batch; all processes get equally many."""
        accelerator = self.setup.accelerator
        for whole in self.sampler.epoch(epoch):
            even = len(whole) // accelerator.num_processes * accelerator.num_processes
            yield whole[:even][accelerator.process_index :: accelerator.num_processes]

    def _joint(self, rows: Tensor) -> Tensor:
        """Gather the rows [V·B, …] of all processes, ordered view by view for any number of processes."""
        processes = self.setup.accelerator.num_processes
        if processes == 1:
            return rows
        joint = gather_rows(rows)
        return joint.unflatten(0, (processes, self.views, -1)).transpose(0, 1).flatten(0, 2)

    def _deployed(self) -> Embedder:
        """Return the network that is evaluated and saved: the moving average if there is one."""
        return cast(Embedder, self.average.module) if self.average is not None else self.model

    def _validate(self, epoch: int, row: dict[str, float]) -> None:
        if self.setup.validation_set is None:
            return
        model = self._deployed()
        found = embed_images(model, self.setup.preprocessing, self.setup.validation_set, label="validating")
        metric, value = (
            ("recall@1", score(found, ks=(1,))["recall@1"]) if found.labels is not None else self._agree(found)
        )
        row[f"validation_{metric}"] = value
        if value > self.best["value"]:
            weights = copy.deepcopy(model.state_dict())
            self.best = {"epoch": epoch + 1, "metric": metric, "value": value, "weights": weights}

    def _agree(self, found: Embeddings) -> tuple[str, float]:
        """Return the validation metric of images without labels: agreement with the teacher's nearest neighbours."""
        assert self.teacher is not None and self.setup.validation_set is not None
        if self._taught is None:
            self._taught = self.teacher.live.index(self.setup.validation_set)
        taught = self._taught.only(found.indices)  # stored vectors may lack some images
        return agreement_at(compare_neighbours(found.only(taught.indices), taught))

    def _out_of_patience(self, epochs_done: int) -> bool:
        return bool(self.config.patience) and epochs_done - self.best["epoch"] >= self.config.patience

    def _state(self, epochs_done: int) -> dict[str, Any]:
        return {
            "epochs_done": epochs_done,
            "inputs": self._inputs(),
            "model": self.model.state_dict(),
            "losses": self.losses.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "best": self.best,
            "maps": self.teacher.source if self.teacher is not None else "stored",
        }

    def _inputs(self) -> dict[str, str]:
        """Identify what the options name by path only, so that a run never continues with other images or another teacher."""
        teacher = self.setup.teacher_info
        return {"images": self.setup.images.fingerprint, "teacher": teacher.id if teacher else ""}

    def _keep_teacher(self, maps: str) -> None:
        """Continue with the source of stage maps that the run began with: stored maps are rounded, live ones are not."""
        if self.teacher is None or not self.losses.needs_stages or maps == self.teacher.source:
            return
        if maps == "live":
            note("this run began with a live teacher and continues with it")
            live = self.teacher.live
            assert isinstance(live, PixelTeacher)  # others have no stage maps
            self.teacher = live
        else:
            note("this run began with stored maps of the teacher: the result will differ by their rounding")

    def _resume(self) -> int:
        state = self.folder.load(self.device)
        if state is None:
            return 0
        for name, value in self._inputs().items():
            if state["inputs"][name] != value:
                raise Failure(
                    f"{self.folder.path}: the {name} changed since this run began", "start again with --overwrite"
                )
        self.model.load_state_dict(state["model"])
        self.losses.load_state_dict(state["losses"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.best = state["best"]
        if "value" not in self.best:  # written by a version that knew one metric
            self.best |= {"metric": "recall@1", "value": self.best.pop("recall@1")}
        self._keep_teacher(state.get("maps", "live"))
        return int(state["epochs_done"])

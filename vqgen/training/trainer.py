"""The training loop: every stage that trains uses this one.

A step's batch, its randomness and its learning rate follow from (seed, stage, step), so a loop that starts at
the saved step is the loop that never stopped. Figures stay on the device until they are written.
"""

import json
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from vqgen.config import TrainConfig
from vqgen.errors import Interrupted, VQGenError
from vqgen.models.checkpoint import load_weights
from vqgen.runtime.collective import all_reduce_max
from vqgen.runtime.prefetching import one_ahead
from vqgen.runtime.progress import ProgressBar
from vqgen.runtime.randomness import derive_seed
from vqgen.runtime.signals import PendingSignal
from vqgen.storage.tensors import load_tensors, save_tensors
from vqgen.training.metrics_log import MetricsLog
from vqgen.training.micro_batches import length_of, pinned, split_batch, to_device
from vqgen.training.objective import Batches, Objective, Session
from vqgen.training.optimization import check_compiler, learning_rate_at, make_optimizer
from vqgen.training.state import Progress, below, exact_number, load_moments, moments, state_path


class Trainer:
    """Trains an objective to its last step, from wherever the saved state says it is.

        share of the batch --> micro-batches --> loss, backward --> clip, optimizer step --> end_step --> moving average
                                                                          |
                              metrics.jsonl <-- figures of every step <---+-----> validate, keep best, save state

    Args:
        objective: What to train.
        batches: This process's training data.
        config: How to train.
        total_steps: Optimizer steps of the whole training.
        session: Where and as what.
        snapshot_step: After how many steps to keep the weights; None for not at all.

    Attributes:
        snapshot: The model's state after `snapshot_step` steps, with the moving average where there is one; empty until
            then.
    """

    def __init__(
        self,
        objective: Objective,
        batches: Batches,
        config: TrainConfig,
        total_steps: int,
        session: Session,
        *,
        snapshot_step: int | None = None,
    ) -> None:
        self.objective, self.batches, self.config, self.session = objective, batches, config, session
        self.total_steps, self.snapshot_step = total_steps, snapshot_step
        self.accelerator = session.accelerator
        if session.double:
            objective.double()
        # the layout in which convolutions are fast, measured on CPUs; `masked_conv` and matrices do not care
        objective.to(self.accelerator.device).to(memory_format=torch.channels_last)
        if config.compile:
            check_compiler(self.accelerator.device)
            for part in objective.compiled_parts():
                part.compile()  # in place, so that weights keep their names
        optimizer = make_optimizer(objective.model, config)
        self.parameters: list[Tensor] = [p for p in objective.model.parameters() if p.requires_grad]
        self.wrapped, self.optimizer = self.accelerator.prepare(objective, optimizer)
        self.average = [p.detach().clone() for p in self.parameters] if config.ema_decay else None
        self.best: dict[str, Tensor] = {}
        self.snapshot: dict[str, Tensor] = {}
        self.progress = Progress()
        self._since = time.perf_counter()
        self.log = MetricsLog(session.folder / "metrics.jsonl", self.accelerator)

    @property
    def state_path(self) -> Path:
        """The file from which a cut run goes on."""
        return state_path(self.session.folder)

    def train(self) -> dict[str, float]:
        """Trains to the end and leaves the best weights in the objective's model.

        Returns:
            The figures of the validation that chose these weights, and `best_step` and `steps`.

        Raises:
            Interrupted: A signal came; the state is saved.
            DataError: From reading images.
        """
        for _ in self.steps():
            pass
        self._save()
        self.objective.model.load_state_dict(self.best)
        self.wrapped.eval()
        return {**self.progress.best_figures, "best_step": self.progress.best_step, "steps": self.progress.step}

    def steps(self) -> Iterator[int]:
        """Trains from the saved state on, and yields after each step how many are done; raises what `train` raises."""
        self._resume()
        self._since = time.perf_counter()
        self.wrapped.train()
        with PendingSignal() as pending, self._bar() as bar, closing(self._batches_ahead()) as batches:
            while not self._is_over():
                with _unlike_others():
                    batch = next(batches)
                self._after_step(self._step(batch), bar)
                self._stop_if_asked(pending)
                yield self.progress.step

    def _batches_ahead(self) -> Generator[Any, None, None]:
        """The batches from here on, each made and pinned while the step before it runs."""
        batches = self.batches.steps(self.progress.step)
        is_pinned = self.accelerator.device.type == "cuda"
        yield from one_ahead(pinned(batch) for batch in batches) if is_pinned else one_ahead(batches)

    def _step(self, batch: Any) -> dict[str, Tensor]:
        """One optimizer step; returns this process's part of the step's mean figures, still on the device."""
        step, world = self.progress.step, self.accelerator.num_processes
        # the same in all processes for what they do together, apart for what each does alone
        torch.manual_seed(derive_seed(self.session.seed, self.session.stage, step, self.accelerator.process_index))
        self.objective.begin_step(step, derive_seed(self.session.seed, self.session.stage, step))
        for group in self.optimizer.optimizer.param_groups:
            group["lr"] = learning_rate_at(step, self.total_steps, self.config)
        global_size = self.batches.global_size(step)
        parts = split_batch(batch, self.config.micro_batches)
        figures: dict[str, Tensor] = {}
        for number, part in enumerate(parts):
            share = length_of(part) / global_size
            with self.accelerator.no_sync(self.wrapped) if number < len(parts) - 1 else nullcontext():
                loss, parts_of_loss = self.wrapped(*to_device(part, self.accelerator.device))
                # processes average their gradients: the mean over the whole batch is their sum
                self.accelerator.backward(loss * (share * world))
            for name, value in {"loss": loss.detach(), **parts_of_loss}.items():
                figures[name] = figures.get(name, 0.0) + value * share
        if self.config.gradient_clip:
            self.accelerator.clip_grad_norm_(self.parameters, self.config.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.objective.end_step()
        self._update_average(step)
        return figures

    def _after_step(self, figures: dict[str, Tensor], bar: ProgressBar) -> None:
        self.progress.step += 1
        step = self.progress.step
        self.log.add(step, figures, learning_rate_at(step - 1, self.total_steps, self.config))
        if step == self.snapshot_step:
            with self._averaged():
                self.snapshot = self._copy_of_model()
        validated = step % self.config.validate_every == 0 or step == self.total_steps
        if validated:
            self._validate()
        if validated or step % self.config.log_every == 0 or step % self.config.save_every == 0:
            latest = self.log.flush()
            shown = ("loss", f"val_{self.objective.monitor}")
            bar.note({name: latest[name] for name in shown if name in latest})
        if step % self.config.save_every == 0:
            self._save()
        bar.update()

    def _validate(self) -> None:
        """Judges the weights to be kept (the moving average, where there is one) and keeps the best."""
        with self._averaged():
            self._validate_averaged()

    def _validate_averaged(self) -> None:
        self.wrapped.eval()
        with torch.no_grad(), _unlike_others():
            figures = self.objective.validate()
        self.wrapped.train()
        self.log.add_validation(figures)
        value = figures[self.objective.monitor]
        if not self.best or value < self.progress.best_value:
            best_figures = {f"val_{name}": number for name, number in figures.items()}
            self.progress.best_value, self.progress.best_step, self.progress.waited = value, self.progress.step, 0
            self.progress.best_figures = best_figures
            self.best = self._copy_of_model()
        else:
            self.progress.waited += 1

    def _copy_of_model(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.objective.model.state_dict().items()}

    def _is_over(self) -> bool:
        is_patience_over = bool(self.config.patience) and self.progress.waited >= self.config.patience
        return is_patience_over or self.progress.step >= self.total_steps

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Has the moving average in the model, where there is one."""
        raw = [p.detach().clone() for p in self.parameters] if self.average else None
        self._put(self.average)
        yield
        self._put(raw)

    def _put(self, values: list[Tensor] | None) -> None:
        """Copies values into the parameters, without replacing the tensors that the optimizer holds."""
        if values is not None:
            with torch.no_grad():
                for parameter, value in zip(self.parameters, values, strict=True):
                    parameter.copy_(value)

    def _update_average(self, step: int) -> None:
        """Moves the average of the weights; early on it forgets faster, so that the start leaves no trace."""
        if self.average is not None:
            decay = min(self.config.ema_decay, (1 + step) / (10 + step))
            get_ema_multi_avg_fn(decay)(self.average, self.parameters, step)

    def _save(self) -> None:
        self.log.flush()
        now = time.perf_counter()
        self.progress.seconds, self._since = self.progress.seconds + now - self._since, now
        if self.accelerator.is_main_process:
            save_tensors(self.state_path, self._state(), json.dumps(vars(self.progress)))
        self.accelerator.wait_for_everyone()

    def _state(self) -> dict[str, Tensor]:
        """All tensors that the next step depends on."""
        state = {f"model.{name}": tensor for name, tensor in self.objective.model.state_dict().items()}
        state |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        state |= {f"snapshot.{name}": tensor for name, tensor in self.snapshot.items()}
        for number, value in enumerate(self.average or []):
            state[f"average.{number}"] = value
        state |= {f"optimizer.{name}": value for name, value in moments(self.optimizer.optimizer).items()}
        if self.accelerator.scaler is not None:  # of the loss, in float16
            scaler = self.accelerator.scaler.state_dict()
            state |= {f"scaler.{name}": exact_number(value) for name, value in scaler.items()}
        return state

    def _resume(self) -> None:
        """Takes up the saved state, where there is one."""
        if not self.state_path.exists():
            self.log.truncate(0)
            return
        state, text = load_tensors(self.state_path)
        self.progress = Progress.read(text, self.state_path)
        load_weights(self.objective.model, below(state, "model."), origin=self.state_path)
        self.best, self.snapshot = (
            {name: tensor.to(self.accelerator.device) for name, tensor in below(state, prefix).items()}
            for prefix in ("best.", "snapshot.")
        )
        for number, value in enumerate(self.average or []):
            value.copy_(state[f"average.{number}"])
        load_moments(self.optimizer.optimizer, below(state, "optimizer."))
        scaler = {name: tensor.item() for name, tensor in below(state, "scaler.").items()}
        if self.accelerator.scaler is not None and scaler:
            self.accelerator.scaler.load_state_dict(scaler)
        self.log.truncate(self.progress.step)

    def _stop_if_asked(self, pending: PendingSignal) -> None:
        """Saves and stops when any process received a signal; several processes ask each other now and then."""
        if self.accelerator.num_processes == 1:
            asked = pending.number
        elif self._is_over() or self.progress.step % self.config.log_every == 0:
            asked = int(all_reduce_max(torch.tensor(pending.number, device=self.accelerator.device)))
        else:
            asked = 0
        if asked:
            self._save()
            raise Interrupted(asked)

    def _bar(self) -> ProgressBar:
        return ProgressBar(
            self.total_steps,
            self.session.stage,
            "step",
            done=self.progress.step,
            show=self.accelerator.is_main_process and not self.session.quiet,
        )


@contextmanager
def _unlike_others() -> Iterator[None]:
    """Marks errors inside as this process's own: others read other images."""
    try:
        yield
    except VQGenError as error:
        error.alike = False
        raise

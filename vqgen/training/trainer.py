"""The training loop: every stage that trains uses this one.

A step's batch, randomness and learning rate follow from (seed, stage, step). So a loop that starts at the saved step
equals a loop that never stopped. Metrics stay on the device until they are written.
"""

import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqgen.config import TrainConfig
from vqgen.errors import Interrupted, VQGenError
from vqgen.models.checkpoint import load_weights
from vqgen.runtime.collective import all_reduce_max, on_main
from vqgen.runtime.prefetching import one_ahead
from vqgen.runtime.progress import ProgressBar
from vqgen.runtime.randomness import derive_seed
from vqgen.runtime.signals import PendingSignal
from vqgen.storage.tensors import load_tensors, save_tensors
from vqgen.training.best_weights import BestWeights, copied_weights
from vqgen.training.metrics_log import MetricsLog
from vqgen.training.micro_batches import length_of, pinned, split_batch, to_device
from vqgen.training.moving_average import average_of, holding
from vqgen.training.objective import Batches, Objective, Session
from vqgen.training.opponent import OpponentTraining
from vqgen.training.optimization import check_compiler, learning_rate_at, make_optimizer, renew_scaler
from vqgen.training.pace import Pacer
from vqgen.training.state import Progress, below, exact_number, load_moments, moments, state_path


class Trainer:
    """The training of an objective to its last step, from its start or from its saved state.

        share of the batch --> micro-batches --> loss, backward --> clip, optimizer step --> end_step --> moving average
                                                                    (also of the opponent)
                                                                          |
                              metrics.jsonl <-- metrics of every step <---+-----> validate, keep best, save state

    Args:
        objective: The model and its loss.
        batches: The training data of this process.
        config: The settings of the training.
        total_steps: Optimizer steps of the whole training.
        session: Processes, seed and folder.
        snapshot_step: Number of steps after which a snapshot of the model is taken; None takes none.

    Attributes:
        snapshot: The model's state after `snapshot_step` steps, with the moving average of its weights if the training
            has one; empty before.
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
        self.objective = objective
        self.batches = batches
        self.config = config
        self.session = session
        self.total_steps = total_steps
        self.snapshot_step = snapshot_step
        self.accelerator = session.accelerator
        if session.double:
            objective.double()
        if session.start is not None and not self.state_path.exists():  # of a cut training, the state has all weights
            session.start(objective.model)
        # In this layout convolutions are faster (measured on CPUs); for `masked_conv` and matrices it does not matter.
        objective.to(self.accelerator.device).to(memory_format=torch.channels_last)
        if config.compile:
            check_compiler(self.accelerator.device)
            for part in objective.compiled_parts():
                # In place, so that weights keep their names. Levels share code and differ in their grids: with dynamic
                # shapes, which torch would choose for them, its compiler for CPUs fails (torch 2.14).
                part.compile(dynamic=False)
        optimizer = make_optimizer(objective.model, config)
        self.parameters: list[Tensor] = [p for p in objective.model.parameters() if p.requires_grad]
        self.opponent = None if objective.opponent is None else OpponentTraining(objective.opponent, config)
        renew_scaler(self.accelerator)
        self.wrapped, self.optimizer = self.accelerator.prepare(objective, optimizer)
        self.average = average_of(objective, self.parameters, config.ema_decay)
        self.best = BestWeights(objective)
        self.snapshot: dict[str, Tensor] = {}
        self.progress = Progress()
        self.pacer = Pacer(total_steps, config, session, batches)
        self._since = time.perf_counter()
        path = session.folder / "metrics.jsonl"
        self.log = MetricsLog(path, self.accelerator, session.stage, objective.limits)

    @property
    def state_path(self) -> Path:
        """The file from which a cut run goes on."""
        return state_path(self.session.folder)

    def train(self) -> dict[str, float]:
        """Trains to the end and leaves the best weights in the objective's model.

        Returns:
            The metrics of the validation that chose these weights, and `best_step` and `steps`. If no validation
            counted, they are of the last weights.

        Raises:
            Interrupted: A signal asked the program to stop; the state is saved.
            DataError: An image cannot be read, or the loss is not finite.
        """
        for _ in self.steps():
            pass
        self._save()
        self.objective.model.load_state_dict(self.best.weights)
        self.wrapped.eval()
        return {**self.progress.best_metrics, "best_step": self.progress.best_step, "steps": self.progress.step}

    def steps(self) -> Iterator[int]:
        """Trains from the saved state on and yields the number of finished steps after each; errors as in `train`."""
        self._resume()
        self._since = time.perf_counter()
        self.pacer.start(self.progress.step, self._elapsed, self.progress.pace)
        self.wrapped.train()
        with PendingSignal() as pending, self._bar() as bar, closing(self._batches_ahead()) as batches:
            while not self._is_over():
                with _errors_of_one_process():
                    batch = next(batches)
                self._after_step(self._step(batch), bar)
                self._stop_if_asked(pending)
                yield self.progress.step

    def _batches_ahead(self) -> Generator[Any, None, None]:
        """Yields the batches from here on; each is made and pinned while the step before it runs."""
        batches = self.batches.steps(self.progress.step)
        is_pinned = self.accelerator.device.type == "cuda"
        yield from one_ahead(pinned(batch) for batch in batches) if is_pinned else one_ahead(batches)

    def _step(self, batch: Any) -> dict[str, Tensor]:
        """Does one optimizer step and returns this process's part of the step's mean metrics, on the device."""
        step = self.progress.step
        place = self.pacer.pace.at(step)
        # Each process draws its own dropout. The seed without a rank is for draws that all processes must share, for
        # example the restarts of codes.
        torch.manual_seed(derive_seed(self.session.seed, self.session.stage, step, self.accelerator.process_index))
        self.objective.begin_step(int(place), derive_seed(self.session.seed, self.session.stage, step))
        rate = learning_rate_at(place, self.total_steps, self.config)
        for group in self.optimizer.optimizer.param_groups:
            group["lr"] = rate
        global_size = self.batches.global_size(step)
        parts = split_batch(batch, self.config.micro_batches)
        metrics: dict[str, Tensor] = {}
        for number, part in enumerate(parts):
            share = length_of(part) / global_size
            # Processes exchange gradients once a step, with the last micro-batch.
            with self.accelerator.no_sync(self.wrapped) if number < len(parts) - 1 else nullcontext():
                loss, parts_of_loss = self.wrapped(*to_device(part, self.accelerator.device))
                # The loss is a mean over its images: times `share` it becomes their part of the mean over the whole
                # batch, however unequal the parts are. DDP averages the gradients of the processes; the factor of
                # their number turns that average into the sum of all parts.
                self.accelerator.backward(loss * (share * self.accelerator.num_processes))
            for name, value in {"loss": loss.detach(), **parts_of_loss}.items():
                metrics[name] = metrics.get(name, 0.0) + value * share
        if self.config.gradient_clip:
            self.accelerator.clip_grad_norm_(self.parameters, self.config.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.opponent is not None:
            self.opponent.step(rate)
        self.objective.end_step()
        if self.average is not None:
            self.average.update(step, self.objective.statistics_steps())
        return metrics

    def _after_step(self, metrics: dict[str, Tensor], bar: ProgressBar) -> None:
        self.progress.step += 1
        step = self.progress.step
        place = self.pacer.pace.at(step - 1)  # of this step, whatever pace is decided after it
        self.log.add(step, metrics, learning_rate_at(place, self.total_steps, self.config))
        self.progress.pace = self.pacer.keep(step, self._elapsed)
        if self.snapshot_step is not None and not self.snapshot and self.pacer.pace.at(step) >= self.snapshot_step:
            with holding(self.average, self.objective):
                self.snapshot = copied_weights(self.objective.model)
        # The last step is always validated: otherwise a short training would have no best weights.
        validated = step % self.config.validate_every == 0 or step == self.pacer.pace.end
        if validated:
            with holding(self.average, self.objective):
                self._validate(place)
        if validated or step % self.config.log_every == 0 or step % self.config.save_every == 0:
            latest = self.log.flush()
            shown = ("loss", f"val_{self.objective.monitor}")
            bar.note({name: latest[name] for name in shown if name in latest})
        if step % self.config.save_every == 0:
            self._save()
        bar.update()

    def _validate(self, place: int | float) -> None:
        """Validates the weights in the model, and judges them. `place` is that of the last step in the schedule."""
        begin = time.perf_counter()
        self.wrapped.eval()
        with torch.no_grad(), _errors_of_one_process():
            metrics = self.objective.validate()
            self.log.add_pictures(self.objective.pictures)
        self.wrapped.train()
        self.pacer.add_validation(time.perf_counter() - begin)
        self.log.add_validation(metrics)
        self.best.judge(self.progress, metrics, place, is_last=self.progress.step == self.pacer.pace.end)

    def _is_over(self) -> bool:
        is_patience_over = bool(self.config.patience) and self.progress.waited >= self.config.patience
        return is_patience_over or self.progress.step >= self.pacer.pace.end

    @property
    def _elapsed(self) -> float:
        """Seconds of all steps so far, with their validations, over all sessions."""
        return self.progress.seconds + time.perf_counter() - self._since

    def _save(self) -> None:
        self.log.flush()
        now = time.perf_counter()
        self.progress.seconds = self.progress.seconds + now - self._since
        self._since = now
        # No process goes on, or ends, before the state is on disk. All of them end if it cannot be written.
        on_main(lambda: save_tensors(self.state_path, self._state(), self.progress.as_json()))

    def _state(self) -> dict[str, Tensor]:
        """Collects all tensors that the next step or the result depends on, by name (see `state`)."""
        state = {f"model.{name}": tensor for name, tensor in self.objective.model.state_dict().items()}
        state |= {f"best.{name}": tensor for name, tensor in self.best.weights.items()}
        state |= {f"snapshot.{name}": tensor for name, tensor in self.snapshot.items()}
        for number, value in enumerate(self.average.values if self.average else []):
            state[f"average.{number}"] = value
        state |= {f"optimizer.{name}": value for name, value in moments(self.optimizer.optimizer).items()}
        if self.opponent is not None:
            state |= self.opponent.state()
        if self.accelerator.scaler is not None:  # of the loss, in float16
            scaler = self.accelerator.scaler.state_dict()
            state |= {f"scaler.{name}": exact_number(value) for name, value in scaler.items()}
        return state

    def _resume(self) -> None:
        """Loads the saved state, if there is one."""
        if not self.state_path.exists():
            self.log.truncate(0)
            return
        state, text = load_tensors(self.state_path)
        self.progress = Progress.read(text, self.state_path)
        if self.progress.step == self.session.continued_from:
            self.progress.begin_again()
        load_weights(self.objective.model, below(state, "model."), origin=self.state_path)
        self.best.weights, self.snapshot = (
            {name: tensor.to(self.accelerator.device) for name, tensor in below(state, prefix).items()}
            for prefix in ("best.", "snapshot.")
        )
        if self.average is not None:
            self.average.load(below(state, "average."))
        load_moments(self.optimizer.optimizer, below(state, "optimizer."))
        if self.opponent is not None:
            self.opponent.load(state, self.state_path)
        # A state from a float32 training has no scale; a new one then finds its value in a few steps.
        scaler = {name: tensor.item() for name, tensor in below(state, "scaler.").items()}
        if self.accelerator.scaler is not None and scaler:
            self.accelerator.scaler.load_state_dict(scaler)
        # A killed run logged steps after its last saved state; they are done again.
        self.log.truncate(self.progress.step)

    def _stop_if_asked(self, pending: PendingSignal) -> None:
        """Saves and stops if any process received a signal."""
        # Processes must stop at the same step, or the rest would wait for them forever. They exchange the signal every
        # `log_every` steps: an exchange in every step would wait for the device each time.
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
def _errors_of_one_process() -> Iterator[None]:
    """Marks errors inside the block as those of one process: every process reads other images."""
    try:
        yield
    except VQGenError as error:
        error.alike = False
        raise

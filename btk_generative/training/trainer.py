"""Fits a network: schedule, averaged weights, early stopping, logs, checkpoints, resumption."""

import json
from pathlib import Path

import keras
import numpy as np
from tensorboardX import SummaryWriter
from tqdm import tqdm

from btk_generative.errors import ModelError
from btk_generative.runs.files import new_file, write_text
from btk_generative.training.batches import Stream
from btk_generative.training.settings import FitSettings
from btk_generative.training.trainable import Trainable


def fit(model: Trainable, stream: Stream, settings: FitSettings, folder: Path) -> dict:
    """Fits a network, or goes on from the last checkpoint in the folder.

    Everything that the fit depends on (weights, their averages, optimiser, random state, history)
    is saved after every epoch, so a run that is killed ends as if it had not been. At the end the
    model has the averaged weights of its best epoch (of the last one without `patience`).

    Args:
        model: Fitted in place; it has been called once, so that its weights are there.
        stream: Its data.
        settings: Length and speed.
        folder: For ``checkpoint.npz``, ``history.json`` and ``logs`` (for TensorBoard).

    Returns:
        History: a list per logged value, an entry per epoch; ``val_`` for validation, which is
        with the averaged weights.

    Raises:
        ModelError: If the loss stops being a number; the last good checkpoint stays.
        OutputError: If the checkpoint cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    total = settings.epochs * stream.steps
    rate = keras.optimizers.schedules.CosineDecay(
        0.01 * settings.learning_rate,
        total,
        warmup_target=settings.learning_rate,
        warmup_steps=min(200, total // 10),
    )
    optimizer = keras.optimizers.Adam(rate, clipnorm=1.0, use_ema=True, ema_momentum=settings.ema)
    model.compile(optimizer=optimizer, jit_compile=_worth_compiling())
    optimizer.build(model.trainable_variables)
    checkpoint = _Checkpoint(model, settings, folder, stream.steps)
    if not checkpoint.finished:
        model.fit(
            stream.train(checkpoint.epoch),
            steps_per_epoch=stream.steps,
            initial_epoch=checkpoint.epoch,
            epochs=settings.epochs,
            validation_data=stream.validation(),
            callbacks=[checkpoint, keras.callbacks.SwapEMAWeights()],
            verbose=0,
            shuffle=False,
        )
    checkpoint.use_best()
    return checkpoint.history


class _Checkpoint(keras.callbacks.Callback):
    """Saves the state of a fit after every epoch, and watches over it."""

    def __init__(self, model: Trainable, settings: FitSettings, folder: Path, steps: int) -> None:
        super().__init__()
        self._fitted, self._settings, self._folder, self._steps = model, settings, folder, steps
        self.epoch = 0
        self.history: dict[str, list[float]] = {}
        self._best: list[np.ndarray] = []
        path = folder / "checkpoint.npz"
        if path.exists():
            self._load(path)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.epoch >= self._settings.epochs or self._waited_enough()

    def _waited_enough(self):
        patience, losses = self._settings.patience, self.history.get("val_loss", [])
        return bool(patience and losses and len(losses) - 1 - np.argmin(losses) >= patience)

    def _variables(self):
        return [*self._fitted.variables, *self._fitted.optimizer.variables]

    def use_best(self):
        """Gives the model the weights that the fit ends with."""
        for variable, value in zip(self._fitted.trainable_variables, self._best, strict=True):
            variable.assign(value)

    def on_train_begin(self, logs=None):
        self._log = SummaryWriter(str(self._folder / "logs"))
        self._bar = tqdm(
            total=self._settings.epochs * self._steps,
            initial=self.epoch * self._steps,
            desc=f"Fitting {self._folder.name}",
            unit="step",
            disable=None,
        )

    def on_train_batch_end(self, batch, logs=None):
        self._bar.update()
        if not np.isfinite(logs["loss"]):
            self._bar.close()
            kept = (
                f"the state after epoch {self.epoch} is kept" if self.epoch else "nothing is kept"
            )
            raise ModelError(
                f"{self._folder}: the loss is not a number any more, in epoch {self.epoch + 1}, "
                f"step {batch + 1}; {kept}; lower the learning_rate and go on with --resume"
            )

    def on_test_end(self, logs=None):
        # The averaged weights are in their place only during validation.
        self._candidate = [keras.ops.convert_to_numpy(v) for v in self._fitted.trainable_variables]

    def on_epoch_end(self, epoch, logs=None):
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))
            self._log.add_scalar(name, float(value), epoch)
        losses = self.history["val_loss"]
        if not self._best or not self._settings.patience or losses[-1] <= min(losses):
            self._best = self._candidate
        self.epoch = epoch + 1
        self._bar.set_postfix(loss=f"{losses[-1]:.5g}", best=f"{min(losses):.5g}")
        self._save()
        self.model.stop_training = self._waited_enough()

    def on_train_end(self, logs=None):
        self._bar.close()
        self._log.close()

    def _save(self):
        arrays = {
            f"variable_{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(self._variables())
        }
        arrays |= {f"best_{i}": value for i, value in enumerate(self._best)}
        history = json.dumps(self.history, indent=1)
        arrays["history"] = np.array(history)
        with new_file(self._folder / "checkpoint.npz") as partial, open(partial, "wb") as file:
            np.savez(file, **arrays)
        write_text(self._folder / "history.json", history)

    def _load(self, path):
        try:
            with np.load(path) as arrays:
                for i, variable in enumerate(self._variables()):
                    variable.assign(arrays[f"variable_{i}"])
                count = len(self._fitted.trainable_variables)
                self._best = [arrays[f"best_{i}"] for i in range(count)]
                self.history = json.loads(str(arrays["history"]))
        except (OSError, KeyError, ValueError) as error:
            raise ModelError(
                f"{path}: is not a checkpoint of this model ({error}); train into a new folder"
            ) from error
        self.epoch = len(self.history["val_loss"])


def _worth_compiling() -> bool:
    """Whether XLA speeds this backend up: on the CPU it slows TensorFlow's convolutions down."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return any("gpu" in name.lower() for name in keras.distribution.list_devices())
    return backend == "jax"

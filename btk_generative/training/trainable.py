"""What a network must be for `btk_generative.training.trainer.fit` to fit it."""

from typing import Any

import keras
from keras import ops

from btk_generative.training.tensors import Tensor


class Trainable(keras.Model):
    """A model that returns its own loss, with whatever else is worth a curve.

    ``call`` takes a dictionary of arrays and returns a dictionary of values, ``[n]`` each, one
    of them named ``loss``; all of them are averaged over an epoch and logged.
    """

    def __init__(self, *logged: str):
        """Prepares the averages.

        Args:
            logged: Names of the values that ``call`` returns.
        """
        super().__init__()
        self._averages = {name: keras.metrics.Mean(name) for name in logged}

    def build(self, input_shape: Any = None) -> None:
        """Does nothing: weights are made on construction and by the first call."""

    @property
    def metrics(self) -> list:
        """The averages; Keras resets them every epoch."""
        return list(self._averages.values())

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Returns the mean loss of a batch."""
        for name, average in self._averages.items():
            average.update_state(y_pred[name])
        return ops.mean(y_pred["loss"])


class TrainableFlow(Trainable):
    """A flow fitted by maximum likelihood to ``variables`` given ``context``."""

    def __init__(self, flow):
        """Wraps a flow, which is fitted in place."""
        super().__init__("loss")
        self.flow = flow

    def call(self, inputs: dict, training: bool = False) -> dict:
        """Returns minus the logarithm of the density."""
        return {"loss": -self.flow.log_prob(inputs["variables"], inputs["context"])}

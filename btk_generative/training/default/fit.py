"""Fitting a flow."""

import keras
import numpy as np

from btk_generative.errors import ModelError
from btk_generative.training.default.config import FlowConfig
from btk_generative.training.flow import CouplingFlow


def fit_flow(
    flow: CouplingFlow, variables, context, held_out, options: FlowConfig, bar: bool = True
) -> keras.callbacks.History:
    """Fits a flow by maximum likelihood, with Adam and a cosine decay of the learning rate.

    Args:
        flow: Flow to fit, in place.
        variables: Data, shape ``[n, d]``.
        context: Conditions, shape ``[n, c]``.
        held_out: Which rows only measure the fit, boolean, shape ``[n]``.
        options: Length and speed of the fit.
        bar: Whether to show progress.

    Returns:
        Keras's history; ``val_loss`` is the mean negative log density of held-out rows.

    Raises:
        ModelError: If the loss stops being a number.
    """
    training = ~held_out
    steps = options.epochs * -(-np.count_nonzero(training) // options.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(options.learning_rate, steps)
    flow.compile(optimizer=keras.optimizers.Adam(rate, clipnorm=1.0), loss=negative_log_likelihood)
    unused = np.zeros(len(variables), np.float32)
    history = flow.fit(
        (variables[training], context[training]),
        unused[training],
        batch_size=options.batch_size,
        epochs=options.epochs,
        validation_data=((variables[held_out], context[held_out]), unused[held_out]),
        validation_batch_size=4096,
        callbacks=[keras.callbacks.TerminateOnNaN()],
        verbose="auto" if bar else 0,
    )
    if not np.isfinite(history.history["loss"]).all():
        raise ModelError("the loss of the flow is not a number; try a lower learning_rate")
    return history


def negative_log_likelihood(_, log_density):
    """Returns the loss of a model that gives log densities."""
    return -keras.ops.mean(log_density)

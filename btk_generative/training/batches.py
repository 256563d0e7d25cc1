"""Batches of a data set, in an order that a seed and an epoch fix."""

from collections.abc import Callable, Iterator

import keras
import numpy as np

from btk_generative.randomness import stream
from btk_generative.training.dataset import Dataset
from btk_generative.training.inputs import Inputs
from btk_generative.training.observation import flip_x, flip_y


def network_inputs(
    dataset: Dataset, records: np.ndarray, inputs: Inputs, flips: np.ndarray | None = None
) -> dict:
    """Returns what the networks take of records, float32 arrays of ``n`` entries.

    Args:
        dataset: Where the records are from.
        records: Of `Dataset.read`, ``[n]``.
        inputs: Names and scaling of the conditions.
        flips: Whether each is mirrored in x and in y, boolean ``[n, 2]``; image and PSF are
            mirrored alike (the power spectrum of noise is even in each axis up to its rotation).
    """
    image, transfer, power = (records[name] for name in ("image", "transfer", "power"))
    if flips is not None:
        x, y = flips[:, 0, None, None], flips[:, 1, None, None]
        image = np.where(x, image[:, :, ::-1], image)
        image = np.where(y, image[:, ::-1], image)
        transfer = np.where(x, flip_x(transfer), transfer)
        transfer = np.where(y, flip_y(transfer), transfer)
        power = np.where(x ^ y, flip_y(power), power)
    size = image.shape[-1]
    psf = np.fft.fftshift(np.fft.irfft2(transfer, s=(size, size)), axes=(1, 2))
    values = inputs.values(dataset.table_of(records["conditions"]))
    return {
        "image": np.ascontiguousarray(image),
        "psf": psf.astype(np.float32),
        "transfer_real": np.ascontiguousarray(transfer.real),
        "transfer_imaginary": np.ascontiguousarray(transfer.imag),
        "power": np.ascontiguousarray(power),
        "context": keras.ops.convert_to_numpy(inputs.encode(values)),
    }


class Stream:
    """Batches for training without end, and batches for validation."""

    def __init__(
        self,
        read: Callable[[str, np.ndarray, np.random.Generator | None], dict],
        train_size: int,
        validation_size: int,
        batch_size: int,
        seed: int,
    ) -> None:
        """Says what to read.

        Args:
            read: Function of (split, indices, rng) that returns a dictionary of arrays; rng is
                None for validation.
            train_size: Number of training rows.
            validation_size: Number of validation rows.
            batch_size: Rows of a batch.
            seed: Of order and augmentation.
        """
        self._read, self._seed = read, seed
        self._train_size, self._validation_size = train_size, validation_size
        self._batch_size = min(batch_size, train_size)

    @property
    def steps(self) -> int:
        """Batches of an epoch; what is left over has its turn in another one."""
        return self._train_size // self._batch_size

    def train(self, epoch: int) -> Iterator[tuple[dict]]:
        """Yields the batches of this epoch, of the next, and so on."""
        while True:
            rng = np.random.default_rng(stream(self._seed, epoch))
            order = rng.permutation(self._train_size)
            for step in range(self.steps):
                rows = order[step * self._batch_size : (step + 1) * self._batch_size]
                yield (self._read("train", np.sort(rows), rng),)
            epoch += 1

    def validation(self) -> "keras.utils.PyDataset":
        """Returns the validation batches."""
        return _Validation(self._read, self._validation_size, self._batch_size)


class _Validation(keras.utils.PyDataset):
    def __init__(self, read, size, batch_size):
        super().__init__()
        self._read, self._size, self._batch_size = read, size, batch_size

    def __len__(self):
        return -(-self._size // self._batch_size)

    def __getitem__(self, number):
        rows = np.arange(self._size)[number * self._batch_size : (number + 1) * self._batch_size]
        return (self._read("validation", rows, None),)

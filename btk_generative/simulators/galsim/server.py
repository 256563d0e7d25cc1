"""A process of its own for the network, where the one that asks was forked too late to have it.

It is started as ``python -m btk_generative.simulators.galsim.server``. It reads pickled requests
from its standard input and writes pickled answers to its standard output, until the input ends.
"""

import os
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from btk_generative.galaxies import Galaxies


class Server:
    """The other end of such a process."""

    def __init__(self) -> None:
        """Starts the process."""
        self.owner = os.getpid()  # a fork of the owner would mix its requests with the owner's
        self._process = subprocess.Popen(
            [sys.executable, "-m", "btk_generative.simulators.galsim.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def draw(
        self, file_name: str, out_of_domain: str, conditions: list[dict], normal: np.ndarray
    ) -> "Galaxies":
        """Returns galaxies; see `GenerativeGalaxyModel.draw`.

        Raises:
            ModelError: If the model cannot be loaded or does not take the conditions.
        """
        questions, answers = self._process.stdin, self._process.stdout
        assert questions is not None
        assert answers is not None  # both are pipes
        pickle.dump((file_name, out_of_domain, conditions, normal), questions)
        questions.flush()
        answer = pickle.load(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


def main() -> None:
    """Answers requests."""
    from btk_generative.errors import GenerativeError
    from btk_generative.galaxies import GalaxySampler
    from btk_generative.simulators.galsim.conditions import table

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing but answers goes to the pipe
    samplers: dict[tuple[str, str], GalaxySampler] = {}
    while True:
        try:
            *key, conditions, normal = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer: object
        try:
            sampler = samplers.get(tuple(key)) or GalaxySampler(*key)
            samplers[tuple(key)] = sampler
            candidates = sampler.from_conditions(table(conditions))
            answer = sampler.draw(candidates, random_normal=normal)
        except GenerativeError as error:
            answer = error
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()

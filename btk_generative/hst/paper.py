"""The galaxies of GalSim's COSMOS sample that every training keeps for validation.

`btk-generative validate` measures those that Lanusse et al. 2021 (arXiv:2008.03833) drew: the first
10,240 of the 25.2 sample, GalSim's 'marginal' ones left out.
"""

import numpy as np

from btk_generative.errors import ConfigError

PAPER_ROWS = 10_240
"""Their number."""

_MARKS = (
    1286742,
    279067,
    414989,
    38094,
    186053,
    92334,
    100591,
    74602,
    1188394,
    53350,
    43533,
    106933,
    73235,
    520424,
    46848,
    64840,
    1407051,
    668608,
    1001041,
    22655,
    237817,
)
"""``IDENT`` of some of them, from the first to the last, in the order of the sample."""


def paper_rows(ident: np.ndarray) -> int:
    """Returns how many rows of a catalogue end with the last galaxy of the paper.

    Args:
        ident: Column ``IDENT`` of the catalogue, shape ``[n]``.

    Returns:
        `PAPER_ROWS` for the 25.2 sample without its marginal galaxies, some more with them, 0 for
        a catalogue that does not hold the paper's galaxies.

    Raises:
        ConfigError: If it holds some of them, or has them in another order: what is to be kept
            cannot be told.
    """
    found = [np.flatnonzero(np.asarray(ident) == mark) for mark in _MARKS]
    rows = [places[0] for places in found if len(places)]
    if len(rows) < 2:  # one may be another survey's galaxy of that number
        return 0
    if len(rows) < len(_MARKS) or rows != sorted(rows):
        raise ConfigError(
            "data.first_row: the catalogue holds galaxies of Lanusse et al. 2021, which are kept"
            " for validation, but not all of them in the order of the COSMOS 25.2 sample; say from"
            " which row on it is to be trained on (0 for all)"
        )
    return int(rows[-1]) + 1

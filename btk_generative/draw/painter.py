"""What a painter of galaxies is: a generator asks it for profiles, and to draw them."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from astropy.table import Table
from btk.survey import Survey
from numpy.typing import NDArray

from btk_generative.surveys import pixel_scale


@dataclass(frozen=True)
class Placement:
    """Where galaxies lie in their stamps, and how; row by row, n of them."""

    x: NDArray[np.float64]
    """Position to the right of the stamp's centre, arcsec."""

    y: NDArray[np.float64]
    """Position above the stamp's centre, arcsec."""

    rotation: NDArray[np.float64]
    """Counter-clockwise rotation of the profile before any shear, radians."""

    g1: NDArray[np.float64]
    """Reduced shear along the axes."""

    g2: NDArray[np.float64]
    """Reduced shear along the diagonals."""

    def __getitem__(self, rows: Any) -> "Placement":
        """Returns the placement of some rows (a slice, an index array or a mask)."""
        return Placement(*(column[rows] for column in vars(self).values()))


@dataclass(frozen=True)
class Canvas:
    """Where some galaxies are drawn, as one survey sees them."""

    survey: Survey
    """The survey."""

    bands: list[str]
    """Names of the bands."""

    psfs: list
    """PSF of every band, GalSim objects."""

    images: NDArray[np.float64]
    """Electrons per pixel, shape ``[..., bands, N, N]``, to be filled in."""

    slot: NDArray[np.int_]
    """Which of the images is each galaxy's, shape ``[n]``."""

    flux: NDArray[np.float64]
    """Electrons of each galaxy in every band, shape ``[n, bands]``."""

    @property
    def pixel_scale(self) -> float:
        """Size of a pixel, arcsec."""
        return pixel_scale(self.survey)

    def __getitem__(self, rows: Any) -> "Canvas":
        """Returns the canvas of some of the galaxies."""
        return Canvas(
            self.survey, self.bands, self.psfs, self.images, self.slot[rows], self.flux[rows]
        )


class Painter(Protocol):
    """Draws galaxies of a batch; several threads may call `profiles` and `paint` at a time."""

    def prepare(self, table: Table) -> Any:
        """Returns what profiles follow from, in a form of the painter's own.

        This is for what is better done for a whole batch than galaxy by galaxy.

        Args:
            table: Catalogue rows with ``btk_rotation``, ``blend_index`` and ``galaxy_index``;
                columns for the truth tables may be added.
        """

    def profiles(self, prepared: Any, rows: slice) -> Any:
        """Returns the profiles of some rows, whatever the survey, in a form of its own.

        Args:
            prepared: What `prepare` returned.
            rows: Which rows of the table.
        """

    def paint(self, profiles: Any, canvas: Canvas) -> None:
        """Draws galaxies.

        Args:
            profiles: What `profiles` returned.
            canvas: Where to, for the same rows.
        """

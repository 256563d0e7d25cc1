"""Light profiles: what a model gives and a renderer takes."""

from dataclasses import dataclass

import galsim
import numpy as np

from btk_generative.models.photons import ProfileImage


@dataclass(frozen=True)
class LightProfiles:
    """Unconvolved light profiles of ``n`` galaxies on square frames.

    A profile is centred on the pixel coordinate ``(S - 1) / 2`` of both axes, counted from zero,
    and is not convolved by any PSF. Each may have its own pixel scale, so a model can work at a
    fixed scale or in a frame scaled to the galaxy.
    """

    images: np.ndarray
    """Surface brightness, float32, shape ``[n, S, S]`` (row is y), each summing to 1."""

    pixel_scale: np.ndarray
    """Size of a frame's pixel, arcsec, float64, shape ``[n]``."""

    oriented: bool = True
    """Whether the major axis of every profile lies along +x."""

    def __post_init__(self) -> None:
        images = np.asarray(self.images, dtype=np.float32)
        scale = np.asarray(self.pixel_scale, dtype=np.float64)
        if images.ndim != 3 or images.shape[1] != images.shape[2]:
            raise ValueError(f"images must have shape [n, S, S], not {list(images.shape)}")
        if scale.shape != images.shape[:1]:
            raise ValueError(
                f"pixel_scale must have shape [{len(images)}], not {list(scale.shape)}"
            )
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "pixel_scale", scale)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice | np.ndarray) -> "LightProfiles":
        """Returns the profiles of some rows (a slice, an index array or a mask)."""
        return LightProfiles(self.images[rows], self.pixel_scale[rows], self.oriented)

    def position_angle(self) -> np.ndarray:
        """Returns the angle of each profile's major axis, from +x towards +y.

        It comes from the unweighted second moments of the image.

        Returns:
            Angles in radians in (-pi/2, pi/2], shape ``[n]``.
        """
        x = np.arange(self.images.shape[-1], dtype=np.float64)
        images = self.images.astype(np.float64)
        along_x, along_y = images.sum(1), images.sum(2)
        total = along_x.sum(1)
        mean_x, mean_y = along_x @ x / total, along_y @ x / total
        xx = along_x @ x**2 / total - mean_x**2
        yy = along_y @ x**2 / total - mean_y**2
        xy = np.einsum("nyx,y,x->n", images, x, x) / total - mean_x * mean_y
        return 0.5 * np.arctan2(2 * xy, xx - yy)

    def to_galsim(self, gsparams: galsim.GSParams | None = None) -> list[galsim.InterpolatedImage]:
        """Returns each profile as a GalSim object of flux 1.

        The interpolants are GalSim's defaults, quintic in real and in Fourier space. Photons are
        shot without negative ones (see `ProfileImage`), so that sums have the right flux.

        Args:
            gsparams: Accuracy settings, GalSim's defaults where not given.
        """
        return [
            ProfileImage(
                galsim.Image(np.ascontiguousarray(image), scale=scale),
                normalization="flux",
                flux=1.0,
                gsparams=gsparams,
            )
            for image, scale in zip(self.images, self.pixel_scale, strict=True)
        ]

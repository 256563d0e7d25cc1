"""The model: a smooth galaxy, and structure that multiplies it."""

import numpy as np
from keras import ops

from btk_generative.training.default.constraints import shape_weights
from btk_generative.training.default.moments import INDICES, SersicMoments
from btk_generative.training.default.sersic import BulgeDiskDecoder
from btk_generative.training.default.shape import RANDOM_SIZE, ShapeModel
from btk_generative.training.default.structure import StructureModel, concentration

_THIN, _THICK = 0.15, 0.35  # axis ratios between which structure sets in


class GalaxyModel:
    """Draws galaxies from named conditions and normal random numbers."""

    def __init__(self, shape: ShapeModel, structure: StructureModel):
        """Puts the two parts together.

        Args:
            shape: Draws the smooth galaxy.
            structure: Draws what multiplies it.
        """
        self.shape, self.structure = shape, structure
        self.decoder, self.moments = BulgeDiskDecoder(), SersicMoments()

    @property
    def random_size(self) -> int:
        """Number of normal random numbers that a galaxy takes."""
        return RANDOM_SIZE + self.structure.random_size

    def draw(self, random_normal, **inputs):
        """Returns ``image`` ``[n, 64, 64]`` and ``pixel_scale`` ``[n]`` in arcsec.

        Args:
            random_normal: Shape ``[n, random_size]``.
            inputs: A tensor ``[n]`` per name.
        """
        components = self.shape.components(inputs, random_normal[:, :RANDOM_SIZE])
        share, radius, axis_ratio, angle, index = components
        smooth, pixel_scale, ellipse, zoom = self.decoder(*components)
        flattening = ops.sum(share * axis_ratio, axis=1)
        # Of thin galaxies the frame does not resolve the structure across.
        resolved = ops.clip((flattening - _THIN) / (_THICK - _THIN), 0.0, 1.0)
        scaled = radius / pixel_scale[:, None]
        meant = 0 * index + np.array(INDICES, np.float32)
        weights = shape_weights(ellipse, pixel_scale, concentration(share, meant))
        shape = share, scaled, axis_ratio, angle
        # A bulge has the size of its own index, which scatters about the one that is meant.
        sized = ops.stack([index[:, 0], meant[:, 1]], axis=1)
        ellipticity = [self.moments(*shape, meant, weight)[:, :2] for weight in weights]
        size = [self.moments(*shape, sized, weight)[:, 2:] for weight in weights]
        drawn = [self.moments(*shape, index, weight) for weight in weights]
        near = ops.concatenate([ellipticity[0], size[0] - drawn[0][:, 2:]], axis=1)
        far = ops.concatenate([ellipticity[1], size[1]], axis=1) - drawn[1]
        image, growth = self.structure.draw(
            smooth,
            ellipse,
            weights,
            (near, far),
            zoom,
            ops.exp(ops.sum(share * ops.log(radius), axis=1)),
            flattening,
            concentration(share, index),
            random_normal[:, RANDOM_SIZE:],
            self.shape.domain.known(inputs) * resolved[:, None],
        )
        return {"image": image, "pixel_scale": pixel_scale / growth}

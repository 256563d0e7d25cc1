"""The few parts of descwl that the builder uses, written after its documentation."""

import sys
import types
from dataclasses import dataclass

import numpy as np


class SourceNotVisible(Exception):
    pass


class Galaxy:
    def get_transformed_model(self, dx=0.0, dy=0.0, ds=0.0, dg1=0.0, dg2=0.0):
        dilated = self.profile.dilate(1 + ds)
        sheared = dilated.shear(g1=self.cosmic_shear_g1 + dg1, g2=self.cosmic_shear_g2 + dg2)
        return sheared.shift(self.dx_arcsecs + dx, self.dy_arcsecs + dy)


def sheared_second_moments(moments, g1, g2):
    shear = np.array([[1 + g1, g2], [g2, 1 - g1]]) / (1 - g1**2 - g2**2)
    return shear @ moments @ shear.T


@dataclass
class Survey:
    cosmic_shear_g1: float = 0.02
    cosmic_shear_g2: float = -0.01

    def get_flux(self, ab_magnitude):
        return 1000 * 10 ** (-0.4 * (ab_magnitude - 24))


def install(monkeypatch):
    package, model = types.ModuleType("descwl"), types.ModuleType("descwl.model")
    for part in (SourceNotVisible, Galaxy, sheared_second_moments):
        setattr(model, part.__name__, part)
    package.model = model
    monkeypatch.setitem(sys.modules, "descwl", package)
    monkeypatch.setitem(sys.modules, "descwl.model", model)
    return model, Survey()

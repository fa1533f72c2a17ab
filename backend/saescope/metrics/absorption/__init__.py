"""Feature absorption: whether other features have taken over what a letter's main features should say."""

from saescope.metrics.absorption.measurement import Absorption, unmeasured_letters

__all__ = ["Absorption", "unmeasured_letters"]

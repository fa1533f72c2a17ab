"""One prompt or one picture: which features of an SAE fire at each of its positions."""

from saescope.probing.probe import Probe
from saescope.probing.result import ProbeResult

__all__ = ["Probe", "ProbeResult"]

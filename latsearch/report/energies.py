"""The front's energy under other profiles, where it follows from what the study stores."""

from __future__ import annotations

import math
from collections.abc import Mapping

from latsearch.config.energy import PROFILES, EnergyProfile
from latsearch.objectives import READOUT, OperatingPoint
from latsearch.search.trials import TrialRecord

_ENCODER_SHARE = "energy_share_encoder"


def encoder_energy(record: TrialRecord) -> float | None:
    """Energy of a trial's encoder in nJ: its share at T, which is stored, times the energy at T.

    None where the share or the readout's energy is not stored.
    """
    last = record.last
    if last is None or READOUT not in last.curve.kind:
        return None
    whole = float(last.curve.energy[last.curve.kind.index(READOUT)])
    energy = last.metrics.get(_ENCODER_SHARE, math.nan) * whole
    return energy if math.isfinite(energy) else None


def repriced(
    energy: float, encoder: float, measured: EnergyProfile, wanted: EnergyProfile
) -> float | None:
    """An energy in nJ under another profile; None where it does not follow.

    ``E' = (E - E_enc) · ac' / ac + E_enc · mac' / mac``: the encoder is multiply-accumulates alone,
    the rest accumulates and neuron updates, which scale alike where both profiles price a neuron
    update at the same number of accumulates.

    Args:
        energy: under the measured profile.
        encoder: the part of it that the encoder takes.
        measured: the profile that the study counted with.
        wanted: the other one.

    Example:
        >>> fp32, fp16 = PROFILES["horowitz-45nm-fp32"], PROFILES["horowitz-45nm-fp16"]
        >>> round(repriced(4.6 + 0.9, 4.6, fp32, fp16), 6)
        1.9
    """
    if not math.isclose(measured.neuron * wanted.ac, wanted.neuron * measured.ac):
        return None
    rest = energy - encoder
    return rest * wanted.ac / measured.ac + encoder * wanted.mac / measured.mac


def energies(
    point: OperatingPoint, record: TrialRecord, measured: EnergyProfile
) -> Mapping[str, float | None]:
    """A point's energy in nJ by profile; None where it does not follow from what is stored."""
    energy, encoder = point.metrics["energy"], encoder_energy(record)
    return {
        name: energy
        if name == measured.name
        else (None if encoder is None else repriced(energy, encoder, measured, profile))
        for name, profile in PROFILES.items()
    }

"""The front's energy under other profiles, where it follows from what the study stores."""

from __future__ import annotations

import math
from collections.abc import Mapping

from latsearch.config.energy import PROFILES, EnergyProfile
from latsearch.objectives import READOUT, OperatingPoint
from latsearch.search.trials import TrialRecord


def stored_energy(record: TrialRecord, part: str) -> float | None:
    """Energy in nJ that a part of a trial's network takes at T: its stored share of the energy.

    None where the share or the readout's energy is not stored.

    Args:
        record: the trial.
        part: ``encoder``, ``hidden``, ``neurons`` or ``output``.
    """
    last = record.last
    if last is None or READOUT not in last.curve.kind:
        return None
    whole = float(last.curve.energy[last.curve.kind.index(READOUT)])
    energy = last.metrics.get(f"energy_share_{part}", math.nan) * whole
    return energy if math.isfinite(energy) else None


def repriced(
    energy: float, encoder: float, neurons: float, measured: EnergyProfile, wanted: EnergyProfile
) -> float | None:
    """An energy in nJ under another profile; None where it does not follow.

    ``E' = (E - E_enc - E_n) · ac' / ac + E_enc · mac' / mac + E_n · n' / n``: the encoder is
    multiply-accumulates alone, the neurons updates, the rest accumulates. Where memory is priced by
    its size, or pooled inputs are counted otherwise, nothing follows.

    Args:
        energy: under the measured profile.
        encoder: the part of it that the encoder takes.
        neurons: the part of it that the neurons' updates take.
        measured: the profile that the study counted with.
        wanted: the other one.

    Example:
        >>> fp32, fp16 = PROFILES["horowitz-45nm-fp32"], PROFILES["horowitz-45nm-fp16"]
        >>> round(repriced(4.6 + 0.9 + 0.9, 4.6, 0.9, fp32, fp16), 6)
        2.3
    """
    if measured.sram or wanted.sram or measured.pooled_mac != wanted.pooled_mac:
        return None
    if measured.neuron == 0.0 and wanted.neuron > 0.0:
        return None
    rest = (energy - encoder - neurons) * wanted.ac / measured.ac
    updates = neurons * wanted.neuron / measured.neuron if measured.neuron else 0.0
    return rest + encoder * wanted.mac / measured.mac + updates


def energies(
    point: OperatingPoint, record: TrialRecord, measured: EnergyProfile
) -> Mapping[str, float | None]:
    """A point's energy in nJ by profile; None where it does not follow from what is stored."""
    energy, encoder = point.metrics["energy"], stored_energy(record, "encoder")
    neurons = _neurons(point, record)
    found: dict[str, float | None] = dict.fromkeys(PROFILES)
    if encoder is not None and neurons is not None:
        for name, profile in PROFILES.items():
            found[name] = repriced(energy, encoder, neurons, measured, profile)
    return found | {measured.name: energy}


def _neurons(point: OperatingPoint, record: TrialRecord) -> float | None:
    """Energy in nJ of the neurons' updates up to a point's decisions: it grows with their time."""
    last, whole = record.last, stored_energy(record, "neurons")
    if last is None or whole is None or last.metrics.get("delay", 0.0) > 0.0:
        return None
    latest = float(last.curve.latency[last.curve.kind.index(READOUT)])
    return whole * point.metrics["latency"] / latest

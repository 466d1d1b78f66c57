"""Paths that others import by: errors are caught where they have always been caught."""

from mcoherence.gradients import capture, evidence
from mcoherence.gradients.batch.evidence import Evidence, IdentityError
from mcoherence.gradients.given.refusal import UnsupportedModelError


def test_errors_and_evidence_stand_by_their_old_paths_too():
    assert capture.UnsupportedModelError is UnsupportedModelError
    assert evidence.IdentityError is IdentityError
    assert evidence.Evidence is Evidence

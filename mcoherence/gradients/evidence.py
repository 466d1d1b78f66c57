"""Evidence of a result, and the error of one that breaks an identity, by the path where they have always been found."""

from mcoherence.gradients.batch.evidence import Evidence as Evidence
from mcoherence.gradients.batch.evidence import IdentityError as IdentityError

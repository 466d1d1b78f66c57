"""Which claims a study can speak to, before anything runs.

The claims themselves are asked, on tables that have the rows of the study's own and no numbers
(`audit.planned_tables`). So what a claim needs stands nowhere but in the claim. What only outcomes decide cannot be
said: runs that diverge.
"""

from collections.abc import Sequence

from mcoherence.audit.planned_tables import planned_tables
from mcoherence.claims.registry import claims_of
from mcoherence.claims.settings import ClaimSettings
from mcoherence.claims.testing import Claim, Description, check_claims
from mcoherence.study.runs import Config
from mcoherence.study.settings import claim_settings


def claims_ahead(config: Config, descriptions: Sequence[Description]) -> list[Claim]:
    """The claims as they would be tested on the study's tables; what counts is `missing`, the numbers mean nothing.

    Args:
        config: of the study, with its defaults.
        descriptions: the claims, see `mcoherence.claims.registry`.
    """
    wanted = dict.fromkeys(name for description in descriptions for name in description.tables)
    return check_claims(planned_tables(config, wanted), ClaimSettings(**claim_settings(config)), descriptions)


def describe_claims(config: Config, package: str = "mcoherence.claims") -> str:
    """The plan's lines on claims: those that the study can speak to, and for each other one what it would need."""
    claims = claims_ahead(config, claims_of(package))
    spoken = [claim.id for claim in claims if claim.missing is None]
    lines = [f"Claims that it can speak to, unless runs diverge: {', '.join(spoken) or 'none'}."]
    reasons: dict[str, list[str]] = {}
    for claim in claims:
        if claim.missing is not None:
            reasons.setdefault(claim.missing, []).append(claim.id)
    if reasons:
        lines.append("Claims that it cannot speak to:")
    lines += [f"  {', '.join(ids)}: {missing}." for missing, ids in reasons.items()]
    return "\n".join(lines)

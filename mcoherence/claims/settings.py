"""The thresholds that claims are tested with, as the section `claims` of a config sets them, and what they mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MEANINGS = {
    "confidence": "level of the intervals, and of the nulls",
    "first_step": "peaks of coherence are looked for from this step on",
    "target_accuracy": "training accuracy whose first time is compared",
    "equivalence_margin": "difference of accuracies up to which two count as equal",
    "near": "factor within which m-coherence is near another value; beyond it, much larger",
    "fitted": "training accuracy that counts as about 100%",
    "same_shape": "correlation of two curves that counts as the same shape",
    "far_above_limit": "m-coherence from which it should grow with the size of the sample",
    "least_clipping": "c in percent from which winsorised SGD is said not to memorise",
    "early_epochs": "epochs that count as early in training",
    "equal_fit": "accuracy on pristine examples at which accuracies on corrupt ones are compared",
}


@dataclass(frozen=True)
class ClaimSettings:
    """The thresholds of the tests, and what the entries of a study are.

    confidence: level of the intervals; first_step: peaks are looked for from this step on, past the transient;
    target_accuracy: training accuracy whose first time is compared; methods: optimiser entry -> method;
    robust: the optimiser entries that are said not to memorise random labels, whatever their settings;
    architectures: model entry -> architecture; image_sides: data set entry -> pixels along the longer side;
    experiments: table -> the experiment that makes it; the other thresholds: `MEANINGS`.
    """

    confidence: float
    first_step: int
    target_accuracy: float
    methods: Mapping[str, str]
    robust: Sequence[str] = ()
    architectures: Mapping[str, str] = field(default_factory=dict)
    image_sides: Mapping[str, int] = field(default_factory=dict)
    experiments: Mapping[str, str] = field(default_factory=dict)
    equivalence_margin: float = 0.02
    near: float = 3.0
    fitted: float = 0.999
    same_shape: float = 0.9
    far_above_limit: float = 10.0
    least_clipping: float = 2.0
    early_epochs: float = 5.0
    equal_fit: float = 0.95

    def entries(self, method: str) -> list[str]:
        """Names of the optimiser entries that use `method`."""
        return [name for name, used in self.methods.items() if used == method]

    def thresholds(self) -> dict[str, float]:
        """The thresholds by name, in the order of `MEANINGS`, which says what each is."""
        return {name: getattr(self, name) for name in MEANINGS}

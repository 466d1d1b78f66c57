"""The thresholds that claims are tested with, as the section `claims` of a config sets them, and what they mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log2

from mcoherence.tables.curves import DEFAULT, Reading

MEANINGS = {
    "confidence": "level of the intervals, and of the nulls",
    "first_step": "step at which the transients of all runs end; without it the curve of each run says where",
    "peak_window": "octaves of the step that a smoothed m-coherence is a mean over",
    "transient_start": "m-coherence above which a curve starts high enough for a transient",
    "transient_factor": "by which it falls in a transient at least, and rises again after it",
    "target_accuracy": "training accuracy whose first time is compared",
    "equivalence_margin": "difference of accuracies up to which two count as equal",
    "near": "factor within which m-coherence is near another value; beyond it, much larger",
    "fitted": "training accuracy that counts as about 100%",
    "same_shape": "correlation of two curves that counts as the same shape",
    "far_above_limit": "m-coherence from which it should grow with the size of the sample",
    "least_clipping": "c in percent from which winsorised SGD is said not to memorise",
    "early_share": "of the way from the accuracy before training to the target, until which training is early",
    "stable_fall": "fall of the training accuracy between checkpoints up to which a rate is stable",
    "equal_fit": "accuracy on pristine examples at which accuracies on corrupt ones are compared",
    "other_fits": "other accuracies on pristine examples at which those on corrupt ones are reported beside it",
    "delay_factor": "factor of SGD's time up to which another time counts as equal",
    "least_noise": "fraction of random labels from which test labels should be predicted better than noisy ones",
    "loss_levels": "shares of the training loss before training at which curves are compared",
    "early_loss_levels": "such shares that are early in training",
    "drop_steps": "steps from the start within which m-coherence should fall from near m",
    "drop_below": "m-coherence below which it should fall within them",
    "learning_share": "of the way from the accuracy before training to 1, from where on a fall of it counts; but no "
    "further than to twice that accuracy",
}


@dataclass(frozen=True)
class ClaimSettings:
    """The thresholds of the tests, and what the entries of a study are.

    confidence: level of the intervals; first_step: where all transients end, None where each curve says it;
    target_accuracy: training accuracy whose first time is compared; methods: optimiser entry -> method;
    rates: optimiser entry -> network -> learning rate, the first of a schedule;
    robust: the optimiser entries that are said not to memorise random labels, whatever their settings;
    suppressing: those that are meant to keep back what the gradients of few examples have in common;
    architectures: model entry -> architecture; image_sides: data set entry -> pixels along the longer side;
    experiments: table -> the experiment that makes it; cover: what intervals over the study's seeds cover, in words;
    the other thresholds: `MEANINGS`.
    """

    confidence: float
    first_step: int | None
    target_accuracy: float
    methods: Mapping[str, str]
    robust: Sequence[str] = ()
    suppressing: Sequence[str] = ()
    architectures: Mapping[str, str] = field(default_factory=dict)
    image_sides: Mapping[str, int] = field(default_factory=dict)
    experiments: Mapping[str, str] = field(default_factory=dict)
    rates: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    cover: str = ""
    equivalence_margin: float = 0.02
    near: float = 3.0
    fitted: float = 0.999
    same_shape: float = 0.9
    far_above_limit: float = 10.0
    least_clipping: float = 2.0
    early_share: float = 0.5
    stable_fall: float = 0.02
    peak_window: float = DEFAULT.peak_window
    transient_start: float = DEFAULT.transient_start
    transient_factor: float = DEFAULT.transient_factor
    equal_fit: float = 0.95
    other_fits: Sequence[float] = (0.8, 0.9, 0.99)
    delay_factor: float = 1.25
    least_noise: float = 0.5
    loss_levels: Sequence[float] = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
    early_loss_levels: Sequence[float] = (0.9, 0.8, 0.7, 0.6, 0.5)
    drop_steps: int = 25
    drop_below: float = 10.0
    learning_share: float = 1 / 9

    def entries(self, method: str) -> list[str]:
        """Names of the optimiser entries that use `method`."""
        return [name for name, used in self.methods.items() if used == method]

    @property
    def reading(self) -> Reading:
        """How curves of m-coherence are read."""
        return Reading(self.first_step, self.peak_window, self.transient_start, self.transient_factor)

    @property
    def delay(self) -> float:
        """How many doublings of SGD's time another time may be off and still count as equal: log2 of delay_factor."""
        return log2(self.delay_factor)

    def same_rate(self, one: str, other: str, model: str) -> bool:
        """Whether two optimiser entries train a network at the same learning rate, as far as the study says them.

        Two methods are compared like with like at one rate only: at a lower one all of them memorise later.
        """
        rates = [self.rates.get(entry, {}).get(model) for entry in (one, other)]
        return None in rates or rates[0] == rates[1]

    def thresholds(self) -> dict[str, float | list[float]]:
        """The thresholds that the study has by name, in the order of `MEANINGS`, which says what each is."""
        found = {name: getattr(self, name) for name in MEANINGS}
        return {
            name: list(value) if isinstance(value, Sequence) else value
            for name, value in found.items()
            if value is not None
        }

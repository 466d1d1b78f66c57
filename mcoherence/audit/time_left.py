"""How long a run of a study has still to go: the plan's seconds of each job, corrected by what this run's jobs took.

    left = max over resources of  sum_i s_i u_i / c  +  (1 - 1/c) L

s_i: seconds that job i still needs; u_i: how much it uses of a resource of which there is c; L: the longest chain of
jobs that wait for each other. For one resource of which each job uses one this is Graham's bound on jobs that start as
soon as they can (Graham 1969, Bounds on multiprocessing timing anomalies): exact where all wait for each other, and too
long by less than the longest job where none does.

Nothing here imports Snakemake or torch.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter

OF_THE_PLAN = 0.05  # of a run's planned seconds: so much weighs the plan's own word for jobs of which none has ended
OVERDUE = 0.1  # of the time that a job has run which is longer than it was thought to take: it needs so much more
# From when on it is not the plan's word: so much of what is left is of kinds of jobs that this run has timed, and so
# much of the work is done, for the first jobs of a run tell little.
TIMED, DONE = 0.5, 0.03
CORES = "cores"


@dataclass(frozen=True)
class WeighedJob:
    """A job that is to run.

    kind: jobs of a kind tell of each other how far the plan is off; seconds: that it takes by the plan; needs: numbers
    of the jobs that it waits for; uses: how much of each resource.
    """

    kind: str
    seconds: float
    needs: Collection[int] = ()
    uses: Mapping[str, float] = field(default_factory=lambda: {CORES: 1})


@dataclass(frozen=True)
class Left:
    """What is left of a run.

    seconds: until its end; share: of the work that is done, 0 to 1; measured: whether it is known by what
    jobs of this run took, or else by the plan for the most part.
    """

    seconds: float
    share: float
    measured: bool


class TimeLeft:
    """What is left of the jobs of a run, which are told of by their numbers as they start and end.

    Example:
        >>> clock = TimeLeft({1: WeighedJob("train", 60), 2: WeighedJob("evaluate", 10, needs=[1])}, {"cores": 2})
        >>> clock.left(now=0).seconds  # a chain: the second core is of no use
        70.0
        >>> clock.start(1, now=0)
        >>> clock.end(1, now=30)  # in half of the plan's time; the plan's word for the other counts with 0.05 x 70
        >>> round(clock.left(now=30).seconds, 2)  # 10 x (30 + 3.5) / (60 + 3.5)
        5.28
    """

    def __init__(self, jobs: Mapping[int, WeighedJob], there_is: Mapping[str, float]) -> None:
        """Of the jobs of a run, each with a number, on a machine with so much of each resource."""
        waits = TopologicalSorter({number: [n for n in job.needs if n in jobs] for number, job in jobs.items()})
        self._order = list(waits.static_order())
        self._jobs = dict(jobs)
        self._there_is = dict(there_is)
        self._started: dict[int, float] = {}
        self._took: dict[int, float] = {}
        self._failed: set[int] = set()

    def plan(self, seconds: Mapping[int, float]) -> None:
        """Take the plan's word for so many seconds of these jobs, which may come after some have run."""
        for number in seconds.keys() & self._jobs.keys():
            self._jobs[number] = replace(self._jobs[number], seconds=seconds[number])

    def start(self, number: int, now: float) -> None:
        """A job has started, maybe once more after a failure; `now` in seconds of any clock."""
        self._started[number] = now
        self._failed.discard(number)

    def end(self, number: int, now: float) -> None:
        """A job has ended well."""
        if number in self._started:
            self._took[number] = now - self._started.pop(number)

    def fail(self, number: int) -> None:
        """A job has failed: unless it is started again, those that wait for it do not run."""
        self._started.pop(number, None)
        self._failed.add(number)

    def not_to_run(self) -> int:
        """How many jobs wait for some that failed."""
        return len(self._blocked() - self._failed)

    def left(self, now: float) -> Left:
        """What is left at this time; takes time in proportion to the number of jobs."""
        factors, others = self._factors()
        blocked = self._blocked()
        ends: dict[int, float] = {}  # of chains of jobs, in seconds from now
        work = dict.fromkeys(self._there_is, 0.0)
        seconds_left = timed = running = 0.0
        for number in self._order:
            if number in self._took or number in blocked:
                continue
            job = self._jobs[number]
            seconds = job.seconds * factors.get(job.kind, others)
            if number in self._started:
                since = now - self._started[number]
                seconds = seconds - since if since <= seconds else OVERDUE * since
                running += since
            for resource, amount in self._there_is.items():
                work[resource] += seconds * min(job.uses.get(resource, 0), amount)
            ends[number] = seconds + max((ends.get(other, 0.0) for other in job.needs), default=0.0)
            seconds_left += seconds
            timed += seconds if job.kind in factors else 0.0
        longest = max(ends.values(), default=0.0)
        until_end = max((work[one] / amount + (1 - 1 / amount) * longest for one, amount in self._there_is.items()))
        spent = sum(self._took.values()) + running
        share = spent / (spent + seconds_left) if seconds_left else 1.0
        return Left(until_end, share, timed >= TIMED * seconds_left and share >= DONE)

    def _factors(self) -> tuple[dict[str, float], float]:
        """By how much jobs take longer than planned: of each kind of which some have ended, and of all others."""
        took: dict[str, float] = {}
        planned: dict[str, float] = {}
        for number, seconds in self._took.items():
            if number in self._jobs:
                job = self._jobs[number]
                took[job.kind] = took.get(job.kind, 0.0) + seconds
                planned[job.kind] = planned.get(job.kind, 0.0) + job.seconds
        of_kinds = {kind: took[kind] / planned[kind] for kind in took if planned[kind] > 0}
        weight = OF_THE_PLAN * sum(job.seconds for job in self._jobs.values())
        of_all = sum(planned.values()) + weight
        return of_kinds, (sum(took.values()) + weight) / of_all if of_all else 1.0

    def _blocked(self) -> set[int]:
        """The jobs that failed, and those that wait for one."""
        blocked = set(self._failed)
        for number in self._order if blocked else ():
            if any(other in blocked for other in self._jobs[number].needs):
                blocked.add(number)
        return blocked


def left_in_words(left: Left) -> str:
    """What is left, no finer than it is known; "by the plan" while that says so, which can be off by some times.

    Example:
        >>> left_in_words(Left(200, 0.1, measured=True)), left_in_words(Left(4000, 0, measured=False))
        ('about 3 min left', '65 min left by the plan')
    """
    if left.seconds < 45:
        about = "half a minute"
    elif left.seconds < 9.5 * 60:
        about = f"{max(1, round(left.seconds / 60))} min"
    elif left.seconds < 100 * 60:
        about = f"{5 * round(left.seconds / 300)} min"
    elif left.seconds < 48 * 3600:
        about = f"{round(left.seconds / 3600)} h"
    else:
        about = f"{round(left.seconds / 86400)} days"
    if left.measured and left.seconds < 20:
        return "some seconds left"
    return f"about {about} left" if left.measured else f"{about} left by the plan"

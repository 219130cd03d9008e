"""What graders may call beyond their process; where nothing is given, each call is an error."""

from __future__ import annotations

from dataclasses import dataclass, field

from graders.kinds.endpoint.calling import EndpointCaller, NoEndpoints
from graders.kinds.judging.judges import JudgeCaller, NoJudges


@dataclass(frozen=True, kw_only=True)
class Outside:
    """The judges and endpoints of one run or trial."""

    judges: JudgeCaller = field(default_factory=NoJudges)
    endpoints: EndpointCaller = field(default_factory=NoEndpoints)

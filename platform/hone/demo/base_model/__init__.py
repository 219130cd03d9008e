"""The demo's tiny base model: how it is made, and where its weights are."""

from pathlib import Path

WEIGHTS = Path(__file__).with_name("weights")
PROBE = "probe.json"

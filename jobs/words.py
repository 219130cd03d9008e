"""How the pages name states, stops, flags and outcomes of calls."""

from __future__ import annotations

STOP_WORDS = {
    "final_answer": "final answer",
    "turn_limit": "turn limit",
    "call_limit": "call limit",
    "turn_token_limit": "token limit of a turn",
    "token_limit": "token limit",
    "context_limit": "context limit",
    "time_limit": "out of time",
    "token_loop": "loop (tokens)",
    "tool_loop": "loop (tools)",
    "tool_fault": "tool fault",
    "grader_fault": "grader fault",
}
FLAG_WORDS = {
    "looped": "looped",
    "ungraded": "ungraded",
    "malformed_call": "call not understood",
    "tool_error": "tool error",
    "tool_fault": "tool fault",
    "no_signal": "no signal",
    "audit_differs": "audit differs",
}
CALL_WORDS = {
    "ok": "ok",
    "tool_error": "tool error, shown to the model (trains)",
    "malformed": "not a readable call, shown to the model (trains)",
    "fault": "tool fault, ended the rollout (never trains)",
    "pending": "not made: the rollout ended first",
}
ASKED = "asked, no answer yet"
NO_SUCH_TOOL = "no such tool, shown to the model (trains)"
NO_SIGNAL = "no learning signal"
PHASE_WORDS = {
    "loading": "Loading the model",
    "evaluation": "Evaluating",
    "rollout": "Sampling attempts",
    "learning": "Learning",
    "checkpoint": "Saving a checkpoint",
    "export": "Exporting the adapter",
}
STATUS_ICONS = {
    "validating_files": ("◔", "info"),
    "queued": ("○", "idle"),
    "running": ("●", "info"),
    "paused": ("‖", "warn"),
    "succeeded": ("✓", "ok"),
    "failed": ("✗", "bad"),
    "cancelled": ("⊘", "idle"),
}

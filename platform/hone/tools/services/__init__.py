"""Changes to tools, their secrets and tests, to MCP servers and recordings, and calls of tools."""

from hone.tools.services.calling import TRIAL_S
from hone.tools.services.checks import (
    check_arguments,
    tool_check_ask,
    tool_check_run,
    tool_checks_due,
    tool_schedule_set,
)
from hone.tools.services.contract import example_text, load_calls
from hone.tools.services.mcp import (
    Offer,
    mcp_offers,
    mcp_server_archive,
    mcp_server_ask,
    mcp_server_create,
    mcp_server_refresh,
    mcp_servers_due,
    mcp_tools_import,
)
from hone.tools.services.recordings import recording_add, recording_archive
from hone.tools.services.register import (
    HIGHEST_RATE,
    LONGEST_TIMEOUT_S,
    MOST_CONCURRENT,
    USUAL_RATE,
    ToolFields,
    tool_archive,
    tool_create,
    tool_problems,
    tool_version_add,
)
from hone.tools.services.secrets import secret_rotate, secret_withdraw
from hone.tools.services.trial import TriedCall, address_warning, allow_entry, tool_call

__all__ = [
    "HIGHEST_RATE",
    "LONGEST_TIMEOUT_S",
    "MOST_CONCURRENT",
    "TRIAL_S",
    "USUAL_RATE",
    "Offer",
    "ToolFields",
    "TriedCall",
    "address_warning",
    "allow_entry",
    "check_arguments",
    "example_text",
    "load_calls",
    "mcp_offers",
    "mcp_server_archive",
    "mcp_server_ask",
    "mcp_server_create",
    "mcp_server_refresh",
    "mcp_servers_due",
    "mcp_tools_import",
    "recording_add",
    "recording_archive",
    "secret_rotate",
    "secret_withdraw",
    "tool_archive",
    "tool_call",
    "tool_check_ask",
    "tool_check_run",
    "tool_checks_due",
    "tool_create",
    "tool_problems",
    "tool_schedule_set",
    "tool_version_add",
]

"""Pages of tools: parse, call one service or selector, render."""

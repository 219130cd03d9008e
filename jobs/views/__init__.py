"""Pages of jobs: parse, call one service or selector, render."""

"""The workbench measured: the sandbox for graders, and datasets at real size."""

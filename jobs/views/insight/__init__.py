"""The tabs Credit, Graders and Loops & tails: sums of steps, with links to the rows behind them."""

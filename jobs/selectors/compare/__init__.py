"""Jobs side by side: what each reached, its curves on a common axis, and paired tasks."""

"""The ledger desk: companies, their archives, tools and questions."""

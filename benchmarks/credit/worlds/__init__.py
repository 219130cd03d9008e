"""Three tiny worlds: each shows one thing about credit, and was chosen before it was measured."""
